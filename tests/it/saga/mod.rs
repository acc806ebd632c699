//! Sagas, in memory and under paused time unless the point needs more.

mod course;
mod definition;
pub(crate) mod world;
