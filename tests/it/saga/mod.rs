//! Sagas, in memory and under paused time unless the point needs more.

mod admin;
mod course;
mod definition;
mod journal;
pub(crate) mod world;
