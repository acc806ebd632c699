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
    rate_limit::{
        handle::RateLimit,
        queue::{Ticket, Turn},
    },
    rejection::Rejection,
};

/// Somebody in the queue. Dropped, it leaves, and all behind move up.
#[derive(Debug)]
struct Waiter {
    limit: RateLimit,
    weight: u32,
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
    pub(super) fn new(limit: RateLimit, weight: u32, ticket: Ticket, until: Instant) -> Self {
        Self { waiter: Waiter { limit, weight, ticket: Some(ticket) }, until, timer: sleep_until(until) }
    }
}

impl Future for Wait {
    type Output = Result<(), Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let now = Instant::now();
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
        Ok(())
    }

    fn give_up(&mut self, now: Instant) -> Rejection {
        self.leave();
        self.limit.refuse(self.weight, now)
    }

    fn leave(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.limit.leave(ticket);
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.leave();
    }
}
