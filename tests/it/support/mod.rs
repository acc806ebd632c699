//! What several of these tests need.

pub(crate) mod allocations;
#[allow(dead_code, reason = "each policy's tests need some of it")]
pub(crate) mod body;
pub(crate) mod events;
pub(crate) mod gate;
#[allow(dead_code, reason = "each policy's tests need some of it")]
pub(crate) mod grpc;
