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
    protocol::{Protocol, future::Exchange},
    rate_limit::{
        announce::{Announce, Tell},
        handle::RateLimit,
        wait::Wait,
    },
    rejection::Rejection,
};

pin_project! {
    /// The response, or the refusal. Made by [`RateLimitService`](crate::rate_limit::RateLimitService).
    ///
    /// Dropped while the call waits for its turn, it gives its place up, with all that is due to it.
    pub struct ResponseFuture<S, Req, P>
    where
        S: Service<Req>,
    {
        #[pin]
        step: Step<S, Req, S::Future, P>,
        // The limit that the answer is to speak of: every refusal does, and what was let through where that is set.
        announced: Option<Announced<P>>,
    }
}

pin_project! {
    #[project = StepProj]
    enum Step<S, Req, F, P> {
        // Waits for its turn. Boxed, so that a call that needn't wait doesn't pay for the room.
        Queued { call: Pin<Box<Queued<S, Req, P>>> },
        // Has been called, or refused.
        Settled { #[pin] exchange: Exchange<F, P, ()> },
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

struct Announced<P> {
    limit: RateLimit,
    protocol: P,
}

impl<S, Req, P> ResponseFuture<S, Req, P>
where
    S: Service<Req>,
    P: Clone,
{
    #[inline]
    pub(super) fn called(inner: S::Future, protocol: P, limit: &RateLimit) -> Self {
        let announced = limit.announces().then(|| Announced { limit: limit.clone(), protocol: protocol.clone() });
        Self { step: Step::Settled { exchange: Exchange::called(inner, protocol, ()) }, announced }
    }

    pub(super) fn refused(rejection: Box<Rejection>, protocol: P, limit: &RateLimit) -> Self {
        let announced = Some(Announced { limit: limit.clone(), protocol: protocol.clone() });
        Self { step: Step::Settled { exchange: Exchange::refused(rejection, protocol) }, announced }
    }

    pub(super) fn queued(wait: Wait, ready: S, request: Req, protocol: P, limit: &RateLimit) -> Self {
        let announced = Some(Announced { limit: limit.clone(), protocol: protocol.clone() });
        Self {
            step: Step::Queued { call: Box::pin(Queued { wait, call: Some((ready, request, protocol)) }) },
            announced,
        }
    }
}

impl<S, Req, P> Future for ResponseFuture<S, Req, P>
where
    S: Service<Req>,
    P: Protocol<S::Response, S::Error>,
    P: Announce<<P as Protocol<S::Response, S::Error>>::Response<()>>,
{
    type Output = Result<<P as Protocol<S::Response, S::Error>>::Response<()>, P::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let StepProj::Queued { call } = this.step.as_mut().project() {
            let (exchange, is_called) = ready!(call.as_mut().poll(cx));
            if is_called {
                this.announced.take_if(|announced| !announced.limit.announces());
            }
            this.step.set(Step::Settled { exchange });
        }
        let StepProj::Settled { exchange } = this.step.project() else { unreachable!("settled above") };
        let mut result = ready!(exchange.poll(cx));
        if let (Some(Announced { limit, protocol }), Ok(response)) = (this.announced, &mut result) {
            protocol.announce(response, Tell(limit));
        }
        Poll::Ready(result)
    }
}

impl<S, Req, P> Future for Queued<S, Req, P>
where
    S: Service<Req>,
{
    /// And whether the service was called.
    type Output = (Exchange<S::Future, P, ()>, bool);

    #[cold]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let turn = ready!(this.wait.poll(cx));
        let (mut ready, request, protocol) = this.call.take().expect("polled after it was ready");
        Poll::Ready(match turn {
            Ok(()) => (Exchange::called(ready.call(request), protocol, ()), true),
            Err(rejection) => (Exchange::refused(Box::new(rejection), protocol), false),
        })
    }
}

impl<S, Req, P> fmt::Debug for ResponseFuture<S, Req, P>
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
