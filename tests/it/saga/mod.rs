//! Sagas, in memory and under paused time unless the point needs more.

mod admin;
mod counting;
mod course;
mod definition;
mod grpc;
mod idempotency;
mod journal;
mod layer;
mod served;
pub(crate) mod world;
