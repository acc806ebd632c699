//! The future of a call.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    bulkhead::{permit::Permit, sort::Scope, wait::Wait},
    protocol::{Protocol, future::Exchange},
    rejection::Rejection,
};

pin_project! {
    /// The response, or the refusal. Made by [`BulkheadService`](crate::bulkhead::BulkheadService).
    pub struct ResponseFuture<S, Req, P, C = ()>
    where
        S: Service<Req>,
    {
        #[pin]
        step: Step<S, Req, S::Future, P>,
        scope: C,
    }
}

pin_project! {
    #[project = StepProj]
    enum Step<S, Req, F, P> {
        // Waits for a permit. Boxed, so that a call that needn't wait doesn't pay for the room.
        Queued { call: Pin<Box<Queued<S, Req, P>>> },
        // Has a permit and has been called; or has been refused.
        Settled { #[pin] exchange: Exchange<F, P, Permit> },
    }
}

pin_project! {
    /// A call in the queue, with the instance that was made ready for it.
    struct Queued<S, Req, P> {
        #[pin]
        wait: Wait,
        call: Option<(S, Req, P)>,
    }
}

impl<S, Req, P, C> ResponseFuture<S, Req, P, C>
where
    S: Service<Req>,
{
    #[inline]
    pub(super) fn called(inner: S::Future, protocol: P, permit: Permit, scope: C) -> Self {
        Self { step: Step::Settled { exchange: Exchange::called(inner, protocol, permit) }, scope }
    }

    pub(super) fn refused(rejection: Box<Rejection>, protocol: P, scope: C) -> Self {
        Self { step: Step::Settled { exchange: Exchange::refused(rejection, protocol) }, scope }
    }

    pub(super) fn queued(wait: Wait, ready: S, request: Req, protocol: P, scope: C) -> Self {
        Self { step: Step::Queued { call: Box::pin(Queued { wait, call: Some((ready, request, protocol)) }) }, scope }
    }
}

impl<S, Req, P, C> Future for ResponseFuture<S, Req, P, C>
where
    S: Service<Req>,
    P: Protocol<S::Response, S::Error>,
    C: Scope,
{
    type Output = Result<P::Response<Permit>, P::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut step = this.step;
        this.scope.run(|| {
            if let StepProj::Queued { call } = step.as_mut().project() {
                let exchange = ready!(call.as_mut().poll(cx));
                step.set(Step::Settled { exchange });
            }
            match step.project() {
                StepProj::Settled { exchange } => exchange.poll(cx),
                StepProj::Queued { .. } => unreachable!("settled above"),
            }
        })
    }
}

impl<S, Req, P> Future for Queued<S, Req, P>
where
    S: Service<Req>,
{
    type Output = Exchange<S::Future, P, Permit>;

    #[cold]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let permit = ready!(this.wait.poll(cx));
        let (mut ready, request, protocol) = this.call.take().expect("polled after it was ready");
        Poll::Ready(match permit {
            Ok(permit) => Exchange::called(ready.call(request), protocol, permit),
            Err(rejection) => Exchange::refused(Box::new(rejection), protocol),
        })
    }
}

impl<S, Req, P, C> fmt::Debug for ResponseFuture<S, Req, P, C>
where
    S: Service<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match &self.step {
            Step::Queued { .. } => "queued",
            Step::Settled { .. } => "settled",
        };
        f.debug_struct("ResponseFuture").field("step", &step).finish_non_exhaustive()
    }
}
