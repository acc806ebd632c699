//! Sagas, in memory and under paused time unless the point needs more.

mod course;
mod journal;
pub(crate) mod world;
