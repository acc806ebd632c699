//! What several of these tests need.

#[allow(dead_code, reason = "each policy's tests need some of it")]
pub(crate) mod grpc;
