//! The time by which an exchange must have ended.

use std::{fmt, time::Duration};

use tokio::time::Instant;

use crate::name::Name;

tokio::task_local! {
    static CURRENT: Deadline;
}

/// The time by which an exchange must have ended: a point on this process's monotonic clock.
///
/// It rides in a request's extensions, and in the task while a handler runs, so that the clients called there inherit
/// it without being handed it. On the wire it is always what is left, never a point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline at `instant`.
    pub const fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// The deadline of the handler or call this task is running in.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|deadline| *deadline).ok()
    }

    /// The point in time.
    pub const fn instant(self) -> Instant {
        self.0
    }

    /// How long is left at `now`; zero once it has passed.
    pub fn remaining(self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }

    /// Runs `f`, usually the polling of a future, so that it finds this deadline as the [current](Self::current) one.
    pub fn sync_scope<R>(self, f: impl FnOnce() -> R) -> R {
        CURRENT.sync_scope(self, f)
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
}

impl Elapsed {
    /// The time set by the policy called `name` ran out.
    pub fn new(name: impl Into<Name>) -> Self {
        Self { name: name.into() }
    }

    /// The policy whose time ran out.
    pub fn name(&self) -> &Name {
        &self.name
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: request timed out", self.name)
    }
}

impl std::error::Error for Elapsed {}
