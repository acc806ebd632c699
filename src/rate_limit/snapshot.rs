//! What can be seen of a rate limit.

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

/// What is counted of a rate limit.
#[derive(Debug, Clone, Copy)]
pub(super) enum Count {
    Allowed,
    Refused,
    Waited,
}
