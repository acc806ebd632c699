//! The right to make one call.

use std::{fmt, sync::Arc, time::Duration};

use super::{breaker::Shared, status::Ticket};
use crate::{outcome::Outcome, protocol::Observer};

/// The right to make one call, and the duty to tell how it ended.
///
/// Dropped without having been told, the call counts as cancelled: neither success nor failure, and a probe may go in
/// its place. An outcome that comes after the breaker's state has changed is not counted.
#[must_use = "a permit that is dropped says that the call was cancelled"]
pub struct Permit {
    shared: Arc<Shared>,
    ticket: Ticket,
}

impl Permit {
    #[inline]
    pub(super) fn new(shared: Arc<Shared>, ticket: Ticket) -> Self {
        Self { shared, ticket }
    }

    /// The call succeeded.
    #[inline]
    pub fn success(self) {
        self.finish(Outcome::Success);
    }

    /// The call failed.
    #[inline]
    pub fn failure(self) {
        self.finish(Outcome::FAILURE);
    }

    /// The call says nothing of the service's health.
    #[inline]
    pub fn ignore(self) {
        self.finish(Outcome::Ignored);
    }

    /// The call ended with this outcome and took this long, which decides whether it was slow.
    pub fn record(mut self, outcome: Outcome, took: Duration) {
        self.shared.record(self.ticket.take(), outcome, Some(took));
    }
}

impl Observer for Permit {
    // Always, because a call to it makes the permit go through memory, which costs half as much as all the rest.
    #[inline(always)]
    fn finish(mut self, outcome: Outcome) {
        self.shared.record(self.ticket.take(), outcome, None);
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if !self.ticket.is_spent() {
            self.shared.cancel(self.ticket);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}
