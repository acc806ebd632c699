//! Sagas, in memory and under paused time unless the point needs more.

mod admin;
mod course;
mod definition;
pub(crate) mod world;
