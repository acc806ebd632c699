//! Waiting for one's turn.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    clock,
    meter::{COUNTS, Stopwatch},
    rate_limit::{
        handle::RateLimit,
        meter::Why,
        queue::{Ticket, Turn},
    },
    rejection::Rejection,
};

/// Somebody in the queue. Dropped, it leaves, and all behind move up.
#[derive(Debug)]
struct Waiter {
    limit: RateLimit,
    weight: u32,
    since: Stopwatch,
    /// Whether it may wait for as long as the settings let it, and not for less because of its deadline.
    in_time: bool,
    /// Its place in the queue. Gone when its turn has come, or it has given up.
    ticket: Option<Ticket>,
}

pin_project! {
    /// Waits for its turn, for as long as it may.
    #[derive(Debug)]
    pub(super) struct Wait {
        waiter: Waiter,
        until: Instant,
        #[pin]
        timer: Sleep,
    }
}

impl Wait {
    pub(super) fn new(
        limit: RateLimit,
        weight: u32,
        ticket: Ticket,
        now: Instant,
        longest: Duration,
        in_time: bool,
    ) -> Self {
        let (since, until) = (Stopwatch::started(now), now + longest);
        let waiter = Waiter { limit, weight, since, in_time, ticket: Some(ticket) };
        Self { waiter, until, timer: sleep_until(until) }
    }
}

impl Future for Wait {
    type Output = Result<(), Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let now = clock::now();
            let turn = match this.waiter.poll(now, cx) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(turn) => turn,
            };
            // A turn that comes at the last moment is as good as any, so the time is looked at after it.
            if turn == Turn::Never || now >= *this.until {
                return Poll::Ready(Err(this.waiter.give_up(now)));
            }
            let until = match turn {
                Turn::In(nanos) => (now + Duration::from_nanos(nanos)).min(*this.until),
                _ => *this.until,
            };
            if this.timer.deadline() != until {
                this.timer.as_mut().reset(until);
            }
            if this.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Waiter {
    fn poll(&mut self, now: Instant, cx: &mut Context<'_>) -> Result<(), Turn> {
        let ticket = self.ticket.expect("polled after it was ready");
        self.limit.poll_turn(ticket, now, cx.waker())?;
        self.ticket = None;
        self.limit.watch().waited.since(self.since);
        Ok(())
    }

    fn give_up(&mut self, now: Instant) -> Rejection {
        self.leave();
        self.limit.watch().waited.since(self.since);
        let why = if self.in_time { Why::Rate } else { Why::Deadline };
        self.limit.refuse_at(why, self.weight, now)
    }

    /// Whether it hadn't yet.
    fn leave(&mut self) -> bool {
        let ticket = self.ticket.take();
        ticket.inspect(|ticket| self.limit.leave(*ticket)).is_some()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.leave() && COUNTS {
            self.limit.watch().cancelled.increment();
        }
    }
}
