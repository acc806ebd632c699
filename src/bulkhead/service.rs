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
        sort::{Alike, Scope, Sort},
        state::Standing,
        wait::{Wait, Waiter},
    },
    clock,
    protocol::Protocol,
    rejection::Rejection,
};

/// Calls the inner service with a permit, or not at all. Made by [`BulkheadLayer`](crate::BulkheadLayer).
///
/// The inner service has to be `Clone`: a call that queues takes the instance that is ready along, and leaves a clone
/// behind for the next. Nothing is cloned for a call that gets its permit at once.
pub struct BulkheadService<S, P, K = Alike> {
    inner: S,
    bulkhead: Bulkhead,
    protocol: P,
    sort: K,
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

impl<S, P, K> BulkheadService<S, P, K> {
    pub(super) fn new(inner: S, bulkhead: Bulkhead, protocol: P, sort: K) -> Self {
        Self { inner, bulkhead, protocol, sort, in_turn: false, place: None }
    }

    define_inner_service_accessors!();

    /// What a service gets that is to wait for a permit; nothing if too many wait already.
    #[cold]
    fn line_up(&self) -> Option<Place> {
        Some(match self.bulkhead.enter_or_wait(Standing::default(), clock::now()).ok()? {
            Admission::Admitted(permit) => Place::Reserved(permit),
            Admission::Queued(waiter) => Place::Paused(Box::new(waiter)),
        })
    }

    #[cold]
    fn poll_place(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(Place::Paused(waiter)) = &mut self.place {
            // Turned away, if the settings were changed meanwhile: then the call finds out.
            self.place = ready!(waiter.poll(cx)).ok().map(Place::Reserved);
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
            Some(Place::Paused(_)) | None => self.bulkhead.enter(Standing::default()),
        }
    }
}

impl<S, Req, P, K> Service<Req> for BulkheadService<S, P, K>
where
    S: Service<Req> + Clone,
    P: Protocol<S::Response, S::Error> + Clone,
    K: Sort<P, Req>,
{
    type Response = P::Response<Permit>;
    type Error = P::Error;
    type Future = ResponseFuture<S, Req, P, K::Scope>;

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
    fn call(&mut self, mut request: Req) -> Self::Future {
        self.in_turn = false;
        // First the partition: whoever tells it sees the request as it came.
        let slot = self.sort.slot(&request, &self.bulkhead);
        let (priority, scope) = self.sort.priority(&self.protocol, &mut request);
        let standing = Standing { priority, slot };
        let permit = if self.place.is_some() { self.take_place() } else { self.bulkhead.enter(standing) };
        match permit {
            Some(permit) => {
                let inner = scope.run(|| self.inner.call(request));
                ResponseFuture::called(inner, self.protocol.clone(), permit, scope)
            }
            None => self.call_when_full(request, standing, scope),
        }
    }
}

impl<S, P: Clone, K> BulkheadService<S, P, K> {
    #[cold]
    fn call_when_full<Req, C: Scope>(
        &mut self,
        request: Req,
        standing: Standing,
        scope: C,
    ) -> ResponseFuture<S, Req, P, C>
    where
        S: Service<Req> + Clone,
    {
        let admission = self.bulkhead.queue_or_refuse(standing);
        call_as_admitted(&mut self.inner, admission, request, self.protocol.clone(), scope)
    }
}

/// Calls with the permit, lets the call queue, or refuses it.
pub(super) fn call_as_admitted<S, Req, P, C>(
    inner: &mut S,
    admission: Result<Admission<Wait>, Rejection>,
    request: Req,
    protocol: P,
    scope: C,
) -> ResponseFuture<S, Req, P, C>
where
    S: Service<Req> + Clone,
    C: Scope,
{
    match admission {
        Ok(Admission::Admitted(permit)) => {
            let inner = scope.run(|| inner.call(request));
            ResponseFuture::called(inner, protocol, permit, scope)
        }
        Ok(Admission::Queued(wait)) => {
            let clone = inner.clone();
            let ready = mem::replace(inner, clone);
            ResponseFuture::queued(wait, ready, request, protocol, scope)
        }
        Err(rejection) => ResponseFuture::refused(Box::new(rejection), protocol, scope),
    }
}

impl<S: Clone, P: Clone, K: Clone> Clone for BulkheadService<S, P, K> {
    fn clone(&self) -> Self {
        // A clone has neither readiness nor a permit: it takes its own turn.
        Self::new(self.inner.clone(), self.bulkhead.clone(), self.protocol.clone(), self.sort.clone())
    }
}

impl<S: fmt::Debug, P, K> fmt::Debug for BulkheadService<S, P, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadService")
            .field("inner", &self.inner)
            .field("bulkhead", &self.bulkhead)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService, P, K> tonic::server::NamedService for BulkheadService<S, P, K> {
    const NAME: &'static str = S::NAME;
}
