//! What can be seen of a rate limit.

use crate::sync::{AtomicU64, Ordering};

/// A rate limit at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimitSnapshot {
    /// How many calls were let through so far, those that waited included.
    pub allowed: u64,
    /// How many calls were refused so far.
    pub refused: u64,
    /// How many calls have waited for their turn so far, whether it came or not.
    pub waited: u64,
    /// How many calls are waiting.
    pub waiting: u32,
    /// How many calls, of weight 1, would be let through at once now.
    pub available: u32,
}

/// Counts, beside the meter's word on a line of the cache of their own.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) allowed: Counter,
    pub(super) refused: Counter,
    pub(super) waited: Counter,
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(super) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
