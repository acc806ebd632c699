//! Waiting for a permit.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};

use crate::{
    bulkhead::{handle::Bulkhead, permit::Permit, state::Ticket},
    rejection::{Reason, Rejection},
};

/// Somebody in the queue. Dropped, it leaves; had it been let in without having noticed, the permit is given back.
#[derive(Debug)]
pub(super) struct Waiter {
    bulkhead: Bulkhead,
    /// Its place in the queue. Gone when it has a permit instead, or has given up.
    ticket: Option<Ticket>,
}

impl Waiter {
    pub(super) fn new(bulkhead: Bulkhead, ticket: Ticket) -> Self {
        Self { bulkhead, ticket: Some(ticket) }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Permit> {
        let ticket = self.ticket.as_ref().expect("polled after it was ready");
        if !self.bulkhead.gate().is_admitted(ticket, cx.waker()) {
            return Poll::Pending;
        }
        self.ticket = None;
        Poll::Ready(self.bulkhead.permit())
    }

    /// Leaves the queue; the permit, if one was handed over meanwhile.
    fn give_up(&mut self) -> Option<Permit> {
        let ticket = self.ticket.take()?;
        self.bulkhead.gate().leave(&ticket).then(|| self.bulkhead.permit())
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
        #[pin]
        expiry: Option<Sleep>,
    }
}

impl Wait {
    pub(super) fn new(waiter: Waiter, longest: Option<Duration>) -> Self {
        Self { waiter, expiry: longest.map(sleep) }
    }
}

impl Future for Wait {
    type Output = Result<Permit, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(permit) = this.waiter.poll(cx) {
            return Poll::Ready(Ok(permit));
        }
        match this.expiry.as_pin_mut().map(|expiry| expiry.poll(cx)) {
            // A permit that came at the last moment is as good as any.
            Some(Poll::Ready(())) => Poll::Ready(match this.waiter.give_up() {
                Some(permit) => Ok(permit),
                None => Err(this.waiter.bulkhead.refuse(Reason::WaitExpired)),
            }),
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }
}
