//! How calls come in, and which don't.

use std::time::Duration;

use tokio::time::Instant;

use super::Bulkhead;
use crate::{
    bulkhead::{
        POLICY,
        config::WhenFull,
        event,
        permit::Permit,
        stamp::Stamp,
        state::{Entry, Standing},
        wait::{Patience, Wait, Waiter},
    },
    clock,
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

/// Why somebody neither came in nor into the queue.
#[derive(Debug)]
pub(in crate::bulkhead) enum Away {
    /// Is to be refused.
    Refused(Reason),
    /// The bulkhead isn't its key's any more; there is another one, or can be. Whoever has a handle never finds it so.
    Retired,
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
        match self.wait_within(longest, standing).map_err(|away| self.turn_away(away))? {
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
            gate.try_enter_sorted(standing, clock::now()).then(|| self.counted_permit(standing.slot))
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

    /// Comes in, or into the queue.
    pub(in crate::bulkhead) fn enter_or_wait(
        &self,
        standing: Standing,
        now: Instant,
    ) -> Result<Admission<Waiter>, Away> {
        match self.gate().enter_or_wait(self.shared.settings.max_queue(), standing, now) {
            Entry::Admitted => Ok(Admission::Admitted(self.counted_permit(standing.slot))),
            Entry::Queued(ticket) => {
                let waiter = Waiter::new(self.clone(), ticket, Stopwatch::started(now));
                event::queued(self);
                Ok(Admission::Queued(waiter))
            }
            Entry::QueueFull => Err(Away::Refused(Reason::QueueFull)),
            Entry::Retired => Err(Away::Retired),
        }
    }

    /// For a call that has found no permit, and can't be paused any more.
    pub(in crate::bulkhead) fn queue_or_refuse(&self, standing: Standing) -> Result<Admission<Wait>, Rejection> {
        match self.when_full() {
            WhenFull::Reject => {
                let longest = Some(self.shared.settings.max_wait());
                self.wait_within(longest, standing).map_err(|away| self.turn_away(away))
            }
            // Its service was ready only because there was no place among the paused.
            WhenFull::Pause => Err(self.refuse(Reason::QueueFull)),
        }
    }

    /// For a call that has found no permit of a key's bulkhead at once, and won't wait. Nothing if that isn't the key's any
    /// more.
    pub(in crate::bulkhead) fn enter_or_refuse_unless_retired(
        &self,
        standing: Standing,
    ) -> Option<Result<Permit, Rejection>> {
        match self.enter(standing) {
            Some(permit) => Some(Ok(permit)),
            None if self.gate().is_retired() => None,
            None => Some(Err(self.refuse(Reason::BulkheadFull))),
        }
    }

    /// For a call that has found no permit of a key's bulkhead at once. Nothing if that isn't the key's any more.
    pub(in crate::bulkhead) fn queue_or_refuse_unless_retired(
        &self,
        standing: Standing,
    ) -> Option<Result<Admission<Wait>, Rejection>> {
        if let Some(permit) = self.enter(standing) {
            return Some(Ok(Admission::Admitted(permit)));
        }
        if self.gate().is_retired() {
            return None;
        }
        match self.wait_within(Some(self.shared.settings.max_wait()), standing) {
            Ok(admission) => Some(Ok(admission)),
            Err(Away::Refused(reason)) => Some(Err(self.refuse(reason))),
            Err(Away::Retired) => None,
        }
    }

    fn wait_within(&self, longest: Option<Duration>, standing: Standing) -> Result<Admission<Wait>, Away> {
        if longest == Some(Duration::ZERO) {
            return Err(Away::Refused(Reason::BulkheadFull));
        }
        let (now, deadline) = (clock::now(), Deadline::current());
        if deadline.is_some_and(|deadline| deadline.has_passed(now)) {
            return Err(Away::Refused(Reason::DeadlinePassed));
        }
        Ok(match self.enter_or_wait(standing, now)? {
            Admission::Admitted(permit) => Admission::Admitted(permit),
            Admission::Queued(waiter) => {
                let patience = Patience::new(longest, deadline, self.gate().is_sorted(), now);
                Admission::Queued(Wait::new(waiter, patience, now))
            }
        })
    }

    fn turn_away(&self, away: Away) -> Rejection {
        match away {
            Away::Refused(reason) => self.refuse(reason),
            Away::Retired => self.refuse(Reason::BulkheadFull),
        }
    }

    #[cold]
    pub(in crate::bulkhead) fn refuse(&self, reason: Reason) -> Rejection {
        self.shared.rejected.count(reason);
        if let Some(of) = &self.shared.of {
            of.rejected.count(reason);
        }
        self.meter().refused(reason);
        event::refused(self, reason);
        Rejection::new(POLICY, self.name().clone(), reason)
    }
}
