//! Sagas, in memory and under paused time unless the point needs more.

mod course;
pub(crate) mod world;
