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
        Refused { rejection: Option<Rejection> },
        // Answered; whatever was left of the inner service's future is dropped.
        Done,
    }
}

impl<F, P> ResponseFuture<F, P> {
    pub(crate) fn called(inner: F, limit: Limit, protocol: P) -> Self {
        Self { step: Step::Called { timed: Timed::new(inner, limit) }, protocol }
    }

    pub(crate) fn refused(rejection: Rejection, protocol: P) -> Self {
        Self { step: Step::Refused { rejection: Some(rejection) }, protocol }
    }
}

impl<F, P, Res, E> Future for ResponseFuture<F, P>
where
    F: Future<Output = Result<Res, E>>,
    P: Expire<Res, E>,
{
    type Output = Result<P::Response, P::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let answer = match this.step.as_mut().project() {
            StepProj::Called { timed } => match ready!(timed.poll(cx)) {
                Ok((result, limit)) => this.protocol.guard(result, Guard(limit)),
                Err(elapsed) => this.protocol.expire(elapsed),
            },
            StepProj::Refused { rejection } => {
                this.protocol.refuse(rejection.take().expect("polled after it was ready"))
            }
            StepProj::Done => panic!("polled after it was ready"),
        };
        this.step.set(Step::Done);
        Poll::Ready(answer)
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
        // Answered; whatever was left of the future is dropped.
        Done,
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

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut step = self.project().step;
        let answer = match step.as_mut().project() {
            RunStepProj::Running { timed } => ready!(timed.poll(cx)).map(|(output, mut limit)| {
                limit.ended();
                output
            }),
            RunStepProj::Refused { name } => Err(Elapsed::inherited(name.clone())),
            RunStepProj::Done => panic!("polled after it was ready"),
        };
        step.set(RunStep::Done);
        Poll::Ready(answer)
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
    fn new(inner: F, limit: Limit) -> Self {
        Self { inner, limit: Some(limit), sleep: None }
    }
}

impl<F: Future> Future for Timed<F> {
    type Output = Result<(F::Output, Limit), Elapsed>;

    /// The inner future first: an answer that is there is given, however late it is, and of two timeouts, one within
    /// the other, the inner one tells what happened, so that the policies between them learn it.
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
