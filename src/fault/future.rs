//! The future of a call.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tower_service::Service;

use crate::fault::protocol::{Failure, Inject};

pin_project! {
    /// The response, or what went wrong instead. Made by [`FaultService`](crate::fault::FaultService).
    pub struct ResponseFuture<S, Req, P>
    where
        S: Service<Req>,
    {
        #[pin]
        step: Step<S, Req, S::Future>,
        protocol: P,
    }
}

pin_project! {
    #[project = StepProj]
    enum Step<S, Req, F> {
        // Will be called later. Boxed, so that other calls don't pay for the room.
        Late { call: Pin<Box<Late<S, Req>>> },
        // Has been called.
        Called { #[pin] inner: F, then: Option<Then> },
        // Fails without having been called.
        Fails { failure: Option<Failure> },
        // Won't end. A request that was not sent is kept: who sends a body isn't to see that nobody reads it.
        Silent { request: Option<Req> },
    }
}

pin_project! {
    /// A call that is late, with the instance that was made ready for it.
    struct Late<S, Req> {
        #[pin]
        sleep: Sleep,
        call: Option<(S, Req)>,
    }
}

/// What becomes of the service's answer.
#[derive(Debug)]
pub(super) enum Then {
    Pass,
    Drop,
    Fail(Failure),
    BreakOff(Failure),
}

impl<S, Req, P> ResponseFuture<S, Req, P>
where
    S: Service<Req>,
{
    #[inline]
    pub(super) fn called(inner: S::Future, then: Then, protocol: P) -> Self {
        Self { step: Step::Called { inner, then: Some(then) }, protocol }
    }

    pub(super) fn late(by: Duration, ready: S, request: Req, protocol: P) -> Self {
        let late = Late { sleep: sleep(by), call: Some((ready, request)) };
        Self { step: Step::Late { call: Box::pin(late) }, protocol }
    }

    pub(super) fn fails(failure: Failure, protocol: P) -> Self {
        Self { step: Step::Fails { failure: Some(failure) }, protocol }
    }

    pub(super) fn silent(request: Req, protocol: P) -> Self {
        Self { step: Step::Silent { request: Some(request) }, protocol }
    }
}

impl<S, Req, P> Future for ResponseFuture<S, Req, P>
where
    S: Service<Req>,
    P: Inject<S::Response, S::Error>,
{
    type Output = Result<P::Response, P::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.step.as_mut().project() {
                StepProj::Late { call } => {
                    let inner = ready!(call.as_mut().poll(cx));
                    this.step.set(Step::Called { inner, then: Some(Then::Pass) });
                }
                StepProj::Called { inner, then } => {
                    let result = ready!(inner.poll(cx));
                    match then.take().expect("polled after it was ready") {
                        Then::Pass => return Poll::Ready(this.protocol.pass(result)),
                        Then::BreakOff(failure) => return Poll::Ready(this.protocol.break_off(result, failure)),
                        // What failed by itself needn't be made to.
                        Then::Fail(failure) => {
                            return Poll::Ready(match result {
                                Ok(_) => this.protocol.fail(failure),
                                Err(error) => Err(this.protocol.error(error)),
                            });
                        }
                        Then::Drop => this.step.set(Step::Silent { request: None }),
                    }
                }
                StepProj::Fails { failure } => {
                    let failure = failure.take().expect("polled after it was ready");
                    return Poll::Ready(this.protocol.fail(failure));
                }
                StepProj::Silent { .. } => return Poll::Pending,
            }
        }
    }
}

impl<S, Req> Future for Late<S, Req>
where
    S: Service<Req>,
{
    type Output = S::Future;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<S::Future> {
        let this = self.project();
        ready!(this.sleep.poll(cx));
        let (mut ready, request) = this.call.take().expect("polled after it was ready");
        Poll::Ready(ready.call(request))
    }
}

impl<S, Req, P> fmt::Debug for ResponseFuture<S, Req, P>
where
    S: Service<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match &self.step {
            Step::Late { .. } => "late",
            Step::Called { .. } => "called",
            Step::Fails { .. } => "fails",
            Step::Silent { .. } => "silent",
        };
        f.debug_struct("ResponseFuture").field("step", &step).finish_non_exhaustive()
    }
}
