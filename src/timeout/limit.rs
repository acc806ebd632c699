//! The deadline of one exchange, and the timer that watches it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    task::coop::unconstrained,
    time::{Sleep, sleep_until},
};

use crate::{
    clock,
    deadline::{Deadline, Elapsed},
    meter::{Stopwatch, Unsettled},
    timeout::{Timeout, event},
};

/// The deadline one exchange has to keep, and the policy that sees to it.
#[derive(Debug)]
pub(crate) struct Limit {
    deadline: Deadline,
    /// Somebody further out set it, earlier than ours would have been.
    inherited: bool,
    policy: Timeout,
    begun: Stopwatch,
    /// The exchange isn't over.
    unsettled: Unsettled,
    /// Nobody has begun to read the body, whose head says all.
    unread: Unsettled,
}

impl Limit {
    /// The earlier of the two. What is inherited can only shorten, so a caller can't grant itself more time than ours.
    pub(crate) fn new(policy: Timeout, own: Deadline, inherited: Option<Deadline>, begun: Stopwatch) -> Self {
        let (deadline, inherited) = match inherited {
            Some(inherited) if inherited < own => (inherited, true),
            _ => (own, false),
        };
        Self { deadline, inherited, policy, begun, unsettled: Unsettled::new(), unread: Unsettled::settled() }
    }

    pub(crate) fn deadline(&self) -> Deadline {
        self.deadline
    }

    pub(crate) fn has_passed(&self) -> bool {
        self.deadline.has_passed(clock::now())
    }

    /// The head of the answer is there.
    #[inline]
    pub(crate) fn answered(&self) {
        self.policy.meter().first_byte.since(self.begun);
    }

    /// The head was handed on, and says how the exchange went, if nobody wants to know more.
    #[inline]
    pub(crate) fn may_stay_unread(&mut self) {
        self.unread = Unsettled::new();
    }

    /// Somebody reads the body.
    #[inline]
    pub(crate) fn reading(&mut self) {
        self.unread.settle();
    }

    /// The exchange is over.
    #[inline]
    pub(crate) fn ended(&mut self) {
        self.unsettled.settle();
        self.policy.meter().end.since(self.begun);
    }

    /// The time is up: counts it, tells it, and says what to answer.
    pub(crate) fn elapsed(&mut self) -> Elapsed {
        self.policy.count_elapsed(self.inherited);
        self.ended();
        event::elapsed(self.policy.name(), self.inherited);
        let name = self.policy.name().clone();
        if self.inherited { Elapsed::inherited(name) } else { Elapsed::new(name) }
    }

    pub(crate) fn sleep(&self) -> Sleep {
        sleep_until(self.deadline.instant())
    }
}

/// Dropped before the exchange is over, it was cancelled; but a body that nobody began to read is over when it is dropped, as
/// who looks at the status alone, or tries again, has cancelled nothing.
impl Drop for Limit {
    #[inline]
    fn drop(&mut self) {
        if self.unsettled.settle() {
            match self.unread.settle() {
                true => self.ended(),
                false => self.policy.meter().cancelled.increment(),
            }
        }
    }
}

/// Polls the timer outside the task's budget: work that uses the budget up on every poll must not starve it.
pub(crate) fn poll_sleep(sleep: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
    let mut sleep = unconstrained(sleep);
    Pin::new(&mut sleep).poll(cx)
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_earlier_deadline_counts_and_only_a_strictly_earlier_one_is_inherited() {
        let now = Instant::now();
        let at = |millis| Deadline::at(now + Duration::from_millis(millis));
        for (own, inherited, deadline, is_inherited) in [
            (at(10), None, at(10), false),
            (at(10), Some(at(20)), at(10), false),
            (at(10), Some(at(10)), at(10), false),
            (at(10), Some(at(9)), at(9), true),
        ] {
            let limit = Limit::new(Timeout::new("lookup"), own, inherited, Stopwatch::started(now));
            assert_eq!((limit.deadline, limit.inherited), (deadline, is_inherited));
        }
    }
}
