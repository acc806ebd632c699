//! Sagas, in memory and under paused time unless the point needs more.

mod admin;
mod bounded;
mod cancel;
mod controlled;
mod course;
mod definition;
mod drain;
mod grpc;
mod idempotency;
mod journal;
mod layer;
mod pressure;
mod recovery;
mod served;
mod suspects;
pub(crate) mod world;
