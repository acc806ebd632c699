//! What several of these tests need.

pub(crate) mod allocations;
pub(crate) mod body;
pub(crate) mod events;
pub(crate) mod gate;
pub(crate) mod grpc;
pub(crate) mod script;
