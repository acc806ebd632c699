//! What can be seen of a keyed bulkhead.

use crate::{bulkhead::snapshot::Rejections, name::Name};

/// A keyed bulkhead at one moment, over all its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedBulkheadSnapshot {
    /// The policy's name.
    pub name: Name,
    /// How many keys there are. More than `max_keys` for a while after that was lowered, if so many have calls.
    pub keys: usize,
    /// How many there can be.
    pub max_keys: usize,
    /// Of how many keys no other call would come in now.
    pub full: usize,
    /// How many calls of the keys there are may be inside.
    pub limit: usize,
    /// How many permits are out.
    pub in_flight: usize,
    /// How many calls queue.
    pub waiting: usize,
    /// How many calls were refused so far, also of keys that are forgotten.
    pub rejected: Rejections,
    /// How many of those that were refused as `full` found no room for their key, because all others had calls.
    pub crowded_out: u64,
    /// How many keys were forgotten so far, to make room for others.
    pub forgotten: u64,
}
