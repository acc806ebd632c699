//! What happened of late, counted without a lock, in fixed memory, at a fixed price a call.

#[cfg(feature = "circuit-breaker")]
mod count;
mod ring;
#[cfg(feature = "circuit-breaker")]
mod time;

pub(crate) use self::ring::Ring;
#[cfg(feature = "circuit-breaker")]
pub(crate) use self::{
    count::{CountWindow, unpack, update},
    time::TimeWindow,
};

/// What is recorded of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) failed: bool,
    pub(crate) slow: bool,
}

impl Record {
    pub(crate) const GOOD: Self = Self { failed: false, slow: false };
}

/// What a window holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) calls: u64,
    pub(crate) failures: u64,
    pub(crate) slow: u64,
}
