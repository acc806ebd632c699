//! How calls come in, and which don't.

use std::time::Duration;

use tokio::time::Instant;

use super::Bulkhead;
use crate::{
    bulkhead::{
        config::WhenFull,
        event,
        permit::Permit,
        stamp::Stamp,
        state::{Entry, Standing},
        wait::{Patience, Wait, Waiter},
    },
    deadline::Deadline,
    meter::Stopwatch,
    rejection::{Reason, Rejection},
};

/// How the bulkhead took a call that it did not refuse.
#[derive(Debug)]
pub(in crate::bulkhead) enum Admission<W> {
    Admitted(Permit),
    Queued(W),
}

impl Bulkhead {
    pub(super) async fn acquire_with(&self, standing: Standing) -> Result<Permit, Rejection> {
        if let Some(permit) = self.enter(standing) {
            return Ok(permit);
        }
        let longest = match self.when_full() {
            WhenFull::Reject => Some(self.shared.settings.max_wait()),
            WhenFull::Pause => None,
        };
        match self.wait_within(longest, standing)? {
            Admission::Admitted(permit) => Ok(permit),
            Admission::Queued(wait) => wait.await,
        }
    }

    #[inline]
    pub(in crate::bulkhead) fn when_full(&self) -> WhenFull {
        self.shared.settings.when_full()
    }

    #[inline]
    pub(in crate::bulkhead) fn enter(&self, standing: Standing) -> Option<Permit> {
        if self.gate().try_enter() {
            return Some(Permit::of(self.clone(), Stamp::PLAIN));
        }
        if self.gate().is_marked() { self.enter_marked(standing) } else { None }
    }

    /// For a gate that has more to it than a limit.
    #[cold]
    #[inline(never)]
    fn enter_marked(&self, standing: Standing) -> Option<Permit> {
        let gate = self.gate();
        if gate.is_sorted() {
            gate.try_enter_sorted(standing, Instant::now()).then(|| self.counted_permit(standing.slot))
        } else if gate.is_measured() {
            gate.try_enter_measured().then(|| Permit::of(self.clone(), self.begun(Stamp::PLAIN)))
        } else {
            None
        }
    }

    /// A permit for somebody whom the gate has let in by way of its lock.
    pub(in crate::bulkhead) fn counted_permit(&self, slot: u8) -> Permit {
        Permit::of(self.clone(), self.begun(Stamp::PLAIN.counted_in(slot)))
    }

    /// As of a call that begins now.
    pub(in crate::bulkhead) fn begun(&self, stamp: Stamp) -> Stamp {
        if self.gate().is_measured() { stamp.begun(self.age()) } else { stamp }
    }

    /// Comes in, or into the queue. `None` if that is full too.
    pub(in crate::bulkhead) fn enter_or_wait(&self, standing: Standing, now: Instant) -> Option<Admission<Waiter>> {
        match self.gate().enter_or_wait(self.shared.settings.max_queue(), standing, now) {
            Entry::Admitted => Some(Admission::Admitted(self.counted_permit(standing.slot))),
            Entry::Queued(ticket) => {
                let waiter = Waiter::new(self.clone(), ticket, Stopwatch::started(now));
                event::queued(self);
                Some(Admission::Queued(waiter))
            }
            Entry::QueueFull => None,
        }
    }

    /// For a call that has found no permit, and can't be paused any more.
    pub(in crate::bulkhead) fn queue_or_refuse(&self, standing: Standing) -> Result<Admission<Wait>, Rejection> {
        match self.when_full() {
            WhenFull::Reject => self.wait_within(Some(self.shared.settings.max_wait()), standing),
            // Its service was ready only because there was no place among the paused.
            WhenFull::Pause => Err(self.refuse(Reason::QueueFull)),
        }
    }

    fn wait_within(&self, longest: Option<Duration>, standing: Standing) -> Result<Admission<Wait>, Rejection> {
        if longest == Some(Duration::ZERO) {
            return Err(self.refuse(Reason::BulkheadFull));
        }
        let (now, deadline) = (Instant::now(), Deadline::current());
        if deadline.is_some_and(|deadline| deadline.has_passed(now)) {
            return Err(self.refuse(Reason::DeadlinePassed));
        }
        match self.enter_or_wait(standing, now) {
            Some(Admission::Admitted(permit)) => Ok(Admission::Admitted(permit)),
            Some(Admission::Queued(waiter)) => {
                let patience = Patience::new(longest, deadline, self.gate().is_sorted(), now);
                Ok(Admission::Queued(Wait::new(waiter, patience, now)))
            }
            None => Err(self.refuse(Reason::QueueFull)),
        }
    }

    #[cold]
    pub(in crate::bulkhead) fn refuse(&self, reason: Reason) -> Rejection {
        self.shared.rejected.count(reason);
        self.meter().refused(reason);
        event::refused(self, reason);
        Rejection::new("bulkhead", self.name().clone(), reason)
    }
}
