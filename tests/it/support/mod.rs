//! What several of these tests need.

pub(crate) mod allocations;
pub(crate) mod events;
pub(crate) mod gate;
