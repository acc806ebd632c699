//! The time by which an exchange must have ended.

#[cfg(any(feature = "step", feature = "timeout"))]
pub(crate) mod header;
mod scope;

use std::{fmt, time::Duration};

use tokio::time::Instant;

pub use self::scope::Scoped;
use crate::{clock, config::LONGEST, name::Name};

/// The time by which an exchange must have ended: a point on this process's monotonic clock.
///
/// It rides in a request's extensions, and in the task while a handler runs, so that the clients called there inherit
/// it without being handed it. On the wire it is always what is left, never a point in time, for no two machines agree
/// on what time it is.
///
/// A deadline by itself stops nothing: it is carried here, and enforced by [`timeout`](crate::timeout).
///
/// # Examples
///
/// A task of its own knows nothing of the one that spawned it. To let it inherit the deadline all the same, hand it
/// on by [`carry`](Self::carry):
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use std::time::Duration;
///
/// use buttress::Deadline;
///
/// async fn handler() {
///     let audit = tokio::spawn(Deadline::carry(async {
///         assert!(Deadline::current().is_some());
///     }));
///     audit.await.unwrap();
/// }
///
/// Deadline::after(Duration::from_secs(2)).scope(handler()).await;
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline at `instant`.
    pub const fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// A deadline `left` from now; beyond a year, it is a year.
    pub fn after(left: Duration) -> Self {
        Self::after_at(left, clock::now())
    }

    /// As [`after`](Self::after), with the clock read. Bounded, so that nothing read from a header overflows the clock.
    pub(crate) fn after_at(left: Duration, now: Instant) -> Self {
        Self(now + left.min(LONGEST))
    }

    /// The point in time.
    pub const fn instant(self) -> Instant {
        self.0
    }

    /// Whether it has passed at `now`.
    pub fn has_passed(self, now: Instant) -> bool {
        self.0 <= now
    }

    /// How long is left at `now`; zero once it has passed.
    pub fn remaining(self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }
}

/// The time ran out after the call had been made: it may have been carried out.
///
/// In the plain flavour it is the error, or somewhere among its sources; in the HTTP and gRPC flavours the answer is a
/// 504 or `DEADLINE_EXCEEDED`, with this value in its extensions. A call that was refused *before* it was made is a
/// [`Rejection`](crate::Rejection).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elapsed {
    name: Name,
    inherited: bool,
}

impl Elapsed {
    /// The time set by the policy called `name` ran out.
    pub fn new(name: impl Into<Name>) -> Self {
        Self { name: name.into(), inherited: false }
    }

    /// The time ran out while the policy called `name` was waiting, but somebody further out had set it: an outer
    /// timeout, or the caller over the wire.
    pub fn inherited(name: impl Into<Name>) -> Self {
        Self { name: name.into(), inherited: true }
    }

    /// The policy that was waiting when the time ran out.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Whether the time that ran out was set further out, and not by [`name`](Self::name) itself.
    pub fn is_inherited(&self) -> bool {
        self.inherited
    }

    /// What happened, without the name.
    pub(crate) fn title(&self) -> &'static str {
        if self.inherited { "inherited deadline passed" } else { "request timed out" }
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.title())
    }
}

impl std::error::Error for Elapsed {}
