//! The future: from attempt to attempt.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tower_service::Service;

use super::{
    course::{Course, Tokens},
    event,
    handle::GaveUp,
    lead::Lead,
};
use crate::repeat::{
    FIRST_FRAME_WITHIN,
    protocol::Repeat,
    verdict::{Failure, Unsaid, Verdict},
};

pin_project! {
    /// The future of a [`RetryService`](super::RetryService).
    ///
    /// # Cancel safety
    ///
    /// Dropped, it drops the attempt under way; what was withdrawn for an attempt not yet made goes back to the budget.
    pub struct ResponseFuture<S, P, R, Req>
    where
        S: Service<Req>,
        P: Repeat<Req, S::Response, S::Error, R>,
    {
        #[pin]
        step: Step<S, S::Future, Req, Result<P::Response, P::Error>>,
        call: Call<S, P, R, P::Kept>,
    }
}

pin_project! {
    // What is rare is boxed, for it is large beside the future of a call that succeeds at once.
    #[project = StepProj]
    enum Step<S, F, Req, A> {
        // An attempt is under way.
        Calling { #[pin] attempt: F },
        // The head of its answer doesn't tell how it ended; the first frame may.
        Peeking { answer: Option<A>, patience: Pin<Box<Sleep>> },
        // It failed, and its answer is dropped, so that the permits below are free. The request is ready.
        Waiting { sleep: Pin<Box<Sleep>>, next: Option<Box<Attempt<Req>>> },
        // The service that it is made with is being made ready.
        Readying { next: Option<Box<(S, Attempt<Req>)>> },
    }
}

/// What the next attempt is made with.
struct Attempt<Req> {
    request: Req,
    tokens: Tokens,
}

/// All but the step.
struct Call<S, P, R, K> {
    /// None if the request can't be sent again.
    kept: Option<K>,
    course: Course<Arc<Lead<S>>>,
    protocol: P,
    rules: R,
}

/// What comes after an answer.
enum Next<Req, A> {
    HandOn(A),
    Again { wait: Duration, next: Box<Attempt<Req>> },
}

impl<S, P, R, Req> ResponseFuture<S, P, R, Req>
where
    S: Service<Req>,
    P: Repeat<Req, S::Response, S::Error, R>,
{
    #[inline]
    pub(super) fn new(
        attempt: S::Future,
        kept: Option<P::Kept>,
        course: Course<Arc<Lead<S>>>,
        protocol: P,
        rules: R,
    ) -> Self {
        Self { step: Step::Calling { attempt }, call: Call { kept, course, protocol, rules } }
    }
}

impl<S, P, R, Req> Future for ResponseFuture<S, P, R, Req>
where
    S: Service<Req> + Clone,
    P: Repeat<Req, S::Response, S::Error, R>,
{
    type Output = Result<P::Response, P::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let call = this.call;
        loop {
            let next = match this.step.as_mut().project() {
                StepProj::Calling { attempt } => {
                    let result = ready!(call.course.run(|| attempt.poll(cx)));
                    let mut answer = call.protocol.answer(result);
                    if call.protocol.poll_verdict(&mut answer, cx).is_pending() && call.may_try_again() {
                        let patience = Box::pin(sleep(FIRST_FRAME_WITHIN));
                        this.step.set(Step::Peeking { answer: Some(answer), patience });
                        continue;
                    }
                    call.next(answer)
                }
                StepProj::Peeking { answer, patience } => {
                    let looked_at = answer.as_mut().expect("polled after it was ready");
                    if call.protocol.poll_verdict(looked_at, cx).is_pending() {
                        ready!(patience.as_mut().poll(cx));
                    }
                    call.next(answer.take().expect("polled after it was ready"))
                }
                StepProj::Waiting { sleep, next } => {
                    ready!(sleep.as_mut().poll(cx));
                    let next = *next.take().expect("polled after it was ready");
                    let next = Some(Box::new((call.course.lead().service(), next)));
                    this.step.set(Step::Readying { next });
                    continue;
                }
                StepProj::Readying { next } => {
                    let Call { course, protocol, .. } = &mut *call;
                    let (service, _) = &mut **next.as_mut().expect("polled after it was ready");
                    if let Err(error) = ready!(course.run(|| service.poll_ready(cx))) {
                        drop(next.take());
                        course.ended(course.attempts());
                        return Poll::Ready(Err(protocol.error(error)));
                    }
                    let (mut service, Attempt { request, tokens }) = *next.take().expect("polled after it was ready");
                    course.sent(tokens);
                    let attempt = service.call(request);
                    this.step.set(Step::Calling { attempt });
                    continue;
                }
            };
            match next {
                Next::HandOn(answer) => return Poll::Ready(answer),
                Next::Again { wait, next } => {
                    this.step.set(Step::Waiting { sleep: Box::pin(sleep(wait)), next: Some(next) });
                }
            }
        }
    }
}

impl<S, P, R, K> Call<S, P, R, K> {
    /// Whether it is worth waiting for more than the head.
    fn may_try_again<Req>(&self) -> bool
    where
        S: Service<Req>,
        P: Repeat<Req, S::Response, S::Error, R, Kept = K>,
    {
        let is_safe = |kept| self.protocol.is_safe(&self.rules, kept).unwrap_or(false);
        self.kept.as_ref().is_some_and(is_safe) && self.course.attempts_left().is_ok()
    }

    #[inline]
    fn next<Req>(&mut self, mut answer: Result<P::Response, P::Error>) -> Next<Req, Result<P::Response, P::Error>>
    where
        S: Service<Req>,
        P: Repeat<Req, S::Response, S::Error, R, Kept = K>,
    {
        // Before it is forgotten what went wrong.
        let attempts = self.course.attempts();
        let given_up = match self.protocol.judge(&self.rules, &answer) {
            Verdict::Failed(failure) => {
                self.course.failed(failure.sent);
                match self.again(failure) {
                    // The answer is dropped before the wait.
                    Ok((wait, next)) => return Next::Again { wait, next: Box::new(next) },
                    Err(why) => Some(why),
                }
            }
            Verdict::Refused { by_server } => {
                if by_server {
                    self.course.failed(true);
                } else if self.course.maybe_sent() {
                    answer = self.protocol.sent_before(answer);
                }
                Some(GaveUp::Refused)
            }
            Verdict::Success => {
                self.course.succeeded();
                None
            }
            Verdict::Final => None,
        };
        if let Some(why) = given_up {
            self.course.gave_up(why);
        }
        self.course.ended(attempts);
        Next::HandOn(answer)
    }

    /// Another attempt's wait and request, and what pays for it.
    fn again<Req>(&mut self, failure: Failure) -> Result<(Duration, Attempt<Req>), GaveUp>
    where
        S: Service<Req>,
        P: Repeat<Req, S::Response, S::Error, R, Kept = K>,
    {
        self.course.attempts_left()?;
        let Self { kept, course, protocol, rules } = self;
        let kept = kept.as_mut().ok_or(GaveUp::NotReplayable)?;
        if failure.sent {
            match protocol.is_safe(rules, kept) {
                Ok(true) => {}
                Ok(false) => return Err(GaveUp::Unsafe),
                Err(Unsaid) => {
                    let core = &course.settings().core;
                    if !core.unsaid.swap(true, std::sync::atomic::Ordering::Relaxed) {
                        event::unsaid(&core.name);
                    }
                    return Err(GaveUp::Unsafe);
                }
            }
        }
        let pass = course.admit(failure, protocol.deadline(kept))?;
        // Last, for it takes the body away from the attempt before.
        let request = protocol.again(kept, course.retries() + 1).map_err(|_| GaveUp::NotReplayable)?;
        if course.maybe_sent() {
            protocol.mark_sent(kept);
        }
        Ok((pass.wait, Attempt { request, tokens: pass.tokens }))
    }
}

impl<S, P, R, Req> fmt::Debug for ResponseFuture<S, P, R, Req>
where
    S: Service<Req>,
    P: Repeat<Req, S::Response, S::Error, R>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.step {
            Step::Calling { .. } => "calling",
            Step::Peeking { .. } => "peeking",
            Step::Waiting { .. } => "waiting",
            Step::Readying { .. } => "readying",
        };
        f.debug_struct("ResponseFuture").field("step", &step).field("course", &self.call.course).finish_non_exhaustive()
    }
}
