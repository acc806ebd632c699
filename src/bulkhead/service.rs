//! The service.

use std::{
    fmt, mem,
    task::{Context, Poll, ready},
};

use tower_service::Service;

use crate::{
    bulkhead::{
        config::WhenFull,
        future::ResponseFuture,
        handle::{Admission, Bulkhead},
        permit::Permit,
        wait::Waiter,
    },
    protocol::Protocol,
};

/// Calls the inner service with a permit, or not at all. Made by [`BulkheadLayer`](crate::BulkheadLayer).
///
/// The inner service has to be `Clone`: a call that queues takes the instance that is ready along, and leaves a clone
/// behind for the next. Nothing is cloned for a call that gets its permit at once.
pub struct BulkheadService<S, P> {
    inner: S,
    bulkhead: Bulkhead,
    protocol: P,
    /// What `poll_ready` has reserved, for `call` to spend. Dropping it gives the permit back or leaves the queue.
    turn: Turn,
}

/// Where a service is on its way to the next call.
#[derive(Debug)]
enum Turn {
    /// `poll_ready` has yet to be called. Idle => Paused | Reserved | Unreserved
    Idle,
    /// Waits for a permit. Paused => Reserved
    Paused(Waiter),
    /// Has a permit for the next call. Reserved => Idle
    Reserved(Permit),
    /// The next call will see whether there is a permit. It stays so until that call is made, for a service that was
    /// ready has to stay ready. Unreserved => Idle
    Unreserved,
}

impl<S, P> BulkheadService<S, P> {
    pub(super) fn new(inner: S, bulkhead: Bulkhead, protocol: P) -> Self {
        Self { inner, bulkhead, protocol, turn: Turn::Idle }
    }

    define_inner_service_accessors!();

    /// What a service gets that is to wait for a permit.
    fn line_up(&self) -> Turn {
        match self.bulkhead.enter_or_wait() {
            Some(Admission::Admitted(permit)) => Turn::Reserved(permit),
            Some(Admission::Queued(waiter)) => Turn::Paused(waiter),
            None => Turn::Unreserved,
        }
    }
}

impl<S, Req, P> Service<Req> for BulkheadService<S, P>
where
    S: Service<Req> + Clone,
    P: Protocol<S::Response, S::Error> + Clone,
{
    type Response = P::Response<Permit>;
    type Error = P::Error;
    type Future = ResponseFuture<S, Req, P>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // The permit first: who waits for one should not sit meanwhile on what the inner service may reserve.
        if let Turn::Idle = self.turn {
            match self.bulkhead.when_full() {
                WhenFull::Reject => self.turn = Turn::Unreserved,
                WhenFull::Pause => self.turn = self.line_up(),
            }
        }
        if let Turn::Paused(waiter) = &mut self.turn {
            self.turn = Turn::Reserved(ready!(waiter.poll(cx)));
        }
        let result = ready!(self.inner.poll_ready(cx));
        Poll::Ready(result.map_err(|error| {
            // There will be no call to spend the permit on.
            self.turn = Turn::Idle;
            self.protocol.error(error)
        }))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let permit = match mem::replace(&mut self.turn, Turn::Idle) {
            Turn::Reserved(permit) => Some(permit),
            Turn::Idle | Turn::Unreserved | Turn::Paused(_) => self.bulkhead.enter(),
        };
        match permit {
            Some(permit) => ResponseFuture::called(self.inner.call(request), self.protocol.clone(), permit),
            None => self.call_when_full(request),
        }
    }
}

impl<S, P: Clone> BulkheadService<S, P> {
    #[cold]
    fn call_when_full<Req>(&mut self, request: Req) -> ResponseFuture<S, Req, P>
    where
        S: Service<Req> + Clone,
    {
        match self.bulkhead.queue_or_refuse() {
            Ok(Admission::Admitted(permit)) => {
                ResponseFuture::called(self.inner.call(request), self.protocol.clone(), permit)
            }
            Ok(Admission::Queued(wait)) => {
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                ResponseFuture::queued(wait, ready, request, self.protocol.clone())
            }
            Err(rejection) => ResponseFuture::refused(Box::new(rejection), self.protocol.clone()),
        }
    }
}

impl<S: Clone, P: Clone> Clone for BulkheadService<S, P> {
    fn clone(&self) -> Self {
        // A clone has neither readiness nor a permit: it takes its own turn.
        Self::new(self.inner.clone(), self.bulkhead.clone(), self.protocol.clone())
    }
}

impl<S: fmt::Debug, P> fmt::Debug for BulkheadService<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadService")
            .field("inner", &self.inner)
            .field("bulkhead", &self.bulkhead)
            .field("turn", &self.turn)
            .finish_non_exhaustive()
    }
}

forward_named_service!(BulkheadService);
