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
    /// Whether `poll_ready` has looked how the bulkhead takes calls. It stays so until the call is made, for a service
    /// that was ready has to stay ready.
    in_turn: bool,
    /// What `poll_ready` has reserved, for `call` to spend. Dropping it gives the permit back or leaves the queue.
    place: Option<Place>,
}

/// What a bulkhead that pauses has given a service on its way to the next call.
#[derive(Debug)]
enum Place {
    /// Waits for a permit. Paused => Reserved
    Paused(Box<Waiter>),
    /// Has a permit for the next call.
    Reserved(Permit),
}

impl<S, P> BulkheadService<S, P> {
    pub(super) fn new(inner: S, bulkhead: Bulkhead, protocol: P) -> Self {
        Self { inner, bulkhead, protocol, in_turn: false, place: None }
    }

    define_inner_service_accessors!();

    /// What a service gets that is to wait for a permit; nothing if too many wait already.
    #[cold]
    fn line_up(&self) -> Option<Place> {
        Some(match self.bulkhead.enter_or_wait()? {
            Admission::Admitted(permit) => Place::Reserved(permit),
            Admission::Queued(waiter) => Place::Paused(Box::new(waiter)),
        })
    }

    #[cold]
    fn poll_place(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(Place::Paused(waiter)) = &mut self.place {
            self.place = Some(Place::Reserved(ready!(waiter.poll(cx))));
        }
        Poll::Ready(())
    }

    #[cold]
    fn take_place(&mut self) -> Option<Permit> {
        match self.place.take() {
            Some(Place::Reserved(mut permit)) => {
                permit.begin();
                Some(permit)
            }
            Some(Place::Paused(_)) | None => self.bulkhead.enter(),
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

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // The permit first: who waits for one should not sit meanwhile on what the inner service may reserve.
        if !self.in_turn {
            self.in_turn = true;
            if self.bulkhead.when_full() == WhenFull::Pause {
                self.place = self.line_up();
            }
        }
        if self.place.is_some() {
            ready!(self.poll_place(cx));
        }
        let result = ready!(self.inner.poll_ready(cx));
        Poll::Ready(result.map_err(|error| {
            // There will be no call to spend the permit on.
            self.in_turn = false;
            self.place = None;
            self.protocol.error(error)
        }))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        self.in_turn = false;
        let permit = if self.place.is_some() { self.take_place() } else { self.bulkhead.enter() };
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
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

forward_named_service!(BulkheadService);
