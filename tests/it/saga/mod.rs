//! Sagas, in memory and under paused time unless the point needs more.

mod admin;
mod cancel;
mod counting;
mod course;
mod definition;
mod drain;
mod journal;
mod layer;
mod recovery;
mod shaky;
pub(crate) mod world;
