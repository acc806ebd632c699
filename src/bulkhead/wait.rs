//! Waiting for a permit.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    bulkhead::{
        handle::Bulkhead,
        permit::Permit,
        state::{KEPT_FOR, Ticket, Turn},
    },
    clock,
    deadline::Deadline,
    meter::Stopwatch,
    rejection::{Reason, Rejection},
};

/// Somebody in the queue. Dropped, it leaves; had it been let in without having noticed, the permit is given back.
#[derive(Debug)]
pub(super) struct Waiter {
    bulkhead: Bulkhead,
    /// Its place in the queue. Gone when it has a permit instead, or has given up.
    ticket: Option<Ticket>,
    since: Stopwatch,
}

impl Waiter {
    pub(super) fn new(bulkhead: Bulkhead, ticket: Ticket, since: Stopwatch) -> Self {
        Self { bulkhead, ticket: Some(ticket), since }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Permit, Reason>> {
        let ticket = self.ticket.as_ref().expect("polled after it was ready");
        match self.bulkhead.gate().ask(ticket, cx.waker()) {
            Turn::Waiting => Poll::Pending,
            turn => {
                self.waited();
                Poll::Ready(self.settle(turn).expect("it waits no longer"))
            }
        }
    }

    /// Leaves the queue: a permit, if one was handed over meanwhile; or why it was turned away, if it was.
    fn give_up(&mut self) -> Option<Result<Permit, Reason>> {
        let turn = self.bulkhead.gate().leave(self.ticket.as_ref()?);
        self.settle(turn)
    }

    /// It has waited for as long as it had to, or might. Who goes away by itself tells nothing of the queue.
    fn waited(&self) {
        self.bulkhead.meter().queued.since(self.since);
    }

    fn settle(&mut self, turn: Turn) -> Option<Result<Permit, Reason>> {
        let ticket = self.ticket.take()?;
        match turn {
            Turn::Waiting => None,
            Turn::Admitted => Some(Ok(self.bulkhead.counted_permit(ticket.slot()))),
            Turn::TurnedAway(reason) => Some(Err(reason)),
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        drop(self.give_up());
    }
}

pin_project! {
    /// Waits for a permit, if need be not for ever.
    #[derive(Debug)]
    pub(super) struct Wait {
        waiter: Waiter,
        patience: Patience,
        #[pin]
        alarm: Option<Sleep>,
    }
}

/// How long somebody waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Until then, and why not longer; none for as long as it takes.
    until: Option<(Instant, Reason)>,
    /// By when the call has to be done, and so begun.
    deadline: Option<Deadline>,
    /// How often to look whether what was kept for others has come free, which nobody tells.
    look_every: Option<Duration>,
}

impl Patience {
    pub(super) fn new(longest: Option<Duration>, deadline: Option<Deadline>, sorted: bool, now: Instant) -> Self {
        let wait = longest.map(|longest| (now + longest, Reason::WaitExpired));
        let deadline_at = deadline.map(|deadline| (deadline.instant(), Reason::DeadlinePassed));
        let until = [deadline_at, wait].into_iter().flatten().min_by_key(|(until, _)| *until);
        Self { until, deadline, look_every: sorted.then_some(KEPT_FOR) }
    }

    fn alarm(&self, now: Instant) -> Option<Instant> {
        let look = self.look_every.map(|every| now + every);
        [self.until.map(|(until, _)| until), look].into_iter().flatten().min()
    }
}

impl Wait {
    pub(super) fn new(waiter: Waiter, patience: Patience, now: Instant) -> Self {
        Self { waiter, alarm: patience.alarm(now).map(sleep_until), patience }
    }
}

impl Future for Wait {
    type Output = Result<Permit, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let turn = loop {
            if let Poll::Ready(turn) = this.waiter.poll(cx) {
                break turn;
            }
            let Some(mut alarm) = this.alarm.as_mut().as_pin_mut() else { return Poll::Pending };
            ready!(alarm.as_mut().poll(cx));
            let now = clock::now();
            match this.patience.until {
                // A permit that came at the last moment is as good as any.
                Some((until, reason)) if now >= until => {
                    this.waiter.waited();
                    break this.waiter.give_up().unwrap_or(Err(reason));
                }
                _ => {
                    this.waiter.bulkhead.gate().hand_over(|| now);
                    alarm.reset(this.patience.alarm(now).expect("there was one before"));
                }
            }
        };
        Poll::Ready(match turn {
            // But not to a call that can't be done in time any more: it goes to the next.
            Ok(permit) if this.patience.deadline.is_some_and(|deadline| deadline.has_passed(clock::now())) => {
                permit.unused();
                Err(this.waiter.bulkhead.refuse(Reason::DeadlinePassed))
            }
            Ok(permit) => Ok(permit),
            Err(reason) => Err(this.waiter.bulkhead.refuse(reason)),
        })
    }
}
