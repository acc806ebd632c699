//! The futures that keep an exchange to its deadline.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::Sleep;

use crate::{
    deadline::Elapsed,
    name::Name,
    rejection::Rejection,
    timeout::{
        expire::{Expire, Guard},
        limit::{Limit, poll_sleep},
    },
};

pin_project! {
    /// The future of [`TimeoutService`](crate::timeout::TimeoutService).
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the inner future, and counts as cancelled. The inner future is dropped as soon as the time is up.
    #[derive(Debug)]
    pub struct ResponseFuture<F, P> {
        #[pin]
        step: Step<F>,
        protocol: P,
    }
}

pin_project! {
    #[project = StepProj]
    #[derive(Debug)]
    enum Step<F> {
        // The inner service has been called.
        Called { #[pin] timed: Timed<F> },
        // The inner service has not been called.
        Refused { rejection: Option<Box<Rejection>> },
        // The time was up, and the inner service's future has been dropped.
        CutOff,
    }
}

impl<F, P> ResponseFuture<F, P> {
    #[inline]
    pub(crate) fn called(inner: F, limit: Limit, protocol: P) -> Self {
        Self { step: Step::Called { timed: Timed::new(inner, limit) }, protocol }
    }

    pub(crate) fn refused(rejection: Box<Rejection>, protocol: P) -> Self {
        Self { step: Step::Refused { rejection: Some(rejection) }, protocol }
    }
}

impl<F, P, Res, E> Future for ResponseFuture<F, P>
where
    F: Future<Output = Result<Res, E>>,
    P: Expire<Res, E>,
{
    type Output = Result<P::Response, P::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        Poll::Ready(match this.step.as_mut().project() {
            StepProj::Called { timed } => match ready!(timed.poll(cx)) {
                Ok((result, limit)) => this.protocol.guard(result, Guard(limit)),
                Err(elapsed) => {
                    this.step.set(Step::CutOff);
                    this.protocol.expire(elapsed)
                }
            },
            StepProj::Refused { rejection } => {
                this.protocol.refuse(rejection.take().expect("polled after it was ready"))
            }
            StepProj::CutOff => panic!("polled after it was ready"),
        })
    }
}

pin_project! {
    /// The future of [`Timeout::run`](crate::timeout::Timeout::run).
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct Run<F> {
        #[pin]
        step: RunStep<F>,
    }
}

pin_project! {
    #[project = RunStepProj]
    #[derive(Debug)]
    enum RunStep<F> {
        // Under way.
        Running { #[pin] timed: Timed<F> },
        // The deadline had passed before it began.
        Refused { name: Name },
        // The time was up, and the future has been dropped.
        CutOff,
    }
}

impl<F> Run<F> {
    pub(crate) fn limited(future: F, limit: Limit) -> Self {
        Self { step: RunStep::Running { timed: Timed::new(future, limit) } }
    }

    pub(crate) fn refused(name: Name) -> Self {
        Self { step: RunStep::Refused { name } }
    }
}

impl<F: Future> Future for Run<F> {
    type Output = Result<F::Output, Elapsed>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut step = self.project().step;
        Poll::Ready(match step.as_mut().project() {
            RunStepProj::Running { timed } => match ready!(timed.poll(cx)) {
                Ok((output, mut limit)) => {
                    limit.ended();
                    Ok(output)
                }
                Err(elapsed) => {
                    step.set(RunStep::CutOff);
                    Err(elapsed)
                }
            },
            RunStepProj::Refused { name } => Err(Elapsed::inherited(name.clone())),
            RunStepProj::CutOff => panic!("polled after it was ready"),
        })
    }
}

pin_project! {
    /// A future under its deadline: gives its output and the limit back, or says that the time is up.
    #[derive(Debug)]
    struct Timed<F> {
        #[pin]
        inner: F,
        limit: Option<Limit>,
        // Made only when the inner future keeps us waiting: most answers of a cache, and all refusals, are there at once.
        #[pin]
        sleep: Option<Sleep>,
    }
}

impl<F> Timed<F> {
    #[inline]
    fn new(inner: F, limit: Limit) -> Self {
        Self { inner, limit: Some(limit), sleep: None }
    }
}

impl<F: Future> Future for Timed<F> {
    type Output = Result<(F::Output, Limit), Elapsed>;

    /// The inner future first: an answer that is there is given, however late it is, and of two timeouts, one within
    /// the other, the inner one tells what happened, so that the policies between them learn it.
    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let limit = this.limit.as_ref().expect("polled after it was ready");
        if let Poll::Ready(output) = limit.deadline().sync_scope(|| this.inner.poll(cx)) {
            let limit = this.limit.take().expect("it was there a moment ago");
            limit.answered();
            return Poll::Ready(Ok((output, limit)));
        }
        if this.sleep.is_none() {
            this.sleep.set(Some(limit.sleep()));
        }
        let sleep = this.sleep.as_pin_mut().expect("it was made above");
        ready!(poll_sleep(sleep, cx));
        let limit = this.limit.as_mut().expect("it was there a moment ago");
        Poll::Ready(Err(limit.elapsed()))
    }
}
