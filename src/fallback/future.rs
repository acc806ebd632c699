//! The future: the call, and what stands in for it.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{
    failure::{Failure, FellBack},
    handle::{Fallback, Permit},
    meter::Became,
    protocol::{HandOn, Judge},
    stand_in::StandIn,
};
use crate::meter::Unsettled;

pin_project! {
    /// The future of a [`FallbackService`](super::FallbackService).
    ///
    /// # Cancel safety
    ///
    /// Dropped, it drops the call or the fallback, whichever is under way, and there is room for another fallback.
    pub struct ResponseFuture<Call, Res, E, P, F, Req>
    where
        P: HandOn<E>,
        F: StandIn<P, Req, Res, P::Error>,
    {
        #[pin]
        step: Step<Call, F::Future, P::Error>,
        kept: Option<F::Kept>,
        fallback: UnderWay,
        protocol: P,
        stand_in: F,
    }
}

/// The policy, which counts a call that is dropped before it has an answer.
struct UnderWay {
    fallback: Fallback,
    unsettled: Unsettled,
}

pin_project! {
    #[project = StepProj]
    enum Step<Call, Future, E> {
        // The inner service has been called.
        Calling { #[pin] call: Call },
        // It failed, and its answer is dropped. Boxed, so that a call that doesn't fail doesn't pay for the room.
        StandingIn { instead: Pin<Box<Instead<Future, E>>> },
    }
}

pin_project! {
    struct Instead<Future, E> {
        #[pin]
        future: Future,
        error: Option<E>,
        permit: Option<Permit>,
        unanswered: Unanswered,
    }
}

/// A failure that the fallback has not answered yet.
struct Unanswered {
    fallback: Fallback,
    failure: Failure,
    unsettled: Unsettled,
}

impl<Call, Res, E, P, F, Req> ResponseFuture<Call, Res, E, P, F, Req>
where
    P: HandOn<E>,
    F: StandIn<P, Req, Res, P::Error>,
{
    #[inline]
    pub(super) fn new(call: Call, kept: Option<F::Kept>, fallback: Fallback, protocol: P, stand_in: F) -> Self {
        let fallback = UnderWay { fallback, unsettled: Unsettled::new() };
        Self { step: Step::Calling { call }, kept, fallback, protocol, stand_in }
    }
}

impl<Call, Res, E, P, F, Req> Future for ResponseFuture<Call, Res, E, P, F, Req>
where
    Call: Future<Output = Result<Res, E>>,
    P: HandOn<E> + Judge<Res, P::Error> + Judge<F::Given, P::Error>,
    F: StandIn<P, Req, Res, P::Error>,
{
    type Output = Result<F::Response, P::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.step.as_mut().project() {
                StepProj::Calling { call } => {
                    let answer = ready!(call.poll(cx)).map_err(|error| this.protocol.error(error));
                    let failure = Judge::<Res, _>::failure(this.protocol, answer.as_ref());
                    let begun = failure
                        .filter(|failure| F::EXISTS && this.fallback.fallback.is_for(failure))
                        .and_then(|failure| begin(this.stand_in, this.kept, &this.fallback.fallback, failure));
                    let Some((future, failure, permit)) = begun else {
                        this.fallback.unsettled.settle();
                        return Poll::Ready(answer.map(F::inner));
                    };
                    let error = answer.err();
                    let fallback = this.fallback.fallback.clone();
                    let unanswered = Unanswered { fallback, failure, unsettled: Unsettled::new() };
                    let instead = Box::pin(Instead { future, error, permit: Some(permit), unanswered });
                    this.step.set(Step::StandingIn { instead });
                }
                StepProj::StandingIn { instead } => {
                    let instead = instead.as_mut().project();
                    let mut answer = ready!(instead.future.poll(cx));
                    let permit = instead.permit.take().expect("polled after it was ready");
                    this.fallback.unsettled.settle();
                    instead.unanswered.unsettled.settle();
                    let Unanswered { fallback, failure, .. } = &*instead.unanswered;
                    let own = Judge::<F::Given, _>::failure(this.protocol, answer.as_ref());
                    fallback.answered(failure, own.as_ref());
                    let name = fallback.name();
                    if own.is_some() {
                        answer = this.protocol.failed_too(answer, name, failure, instead.error.take());
                    }
                    let mark = FellBack::new(name.clone(), failure.clone(), own.is_some());
                    return Poll::Ready(answer.map(|given| F::instead(given, mark, permit)));
                }
            }
        }
    }
}

/// Begins a fallback, if there may be one.
#[cold]
fn begin<P, Req, Res, E, F>(
    stand_in: &F,
    kept: &mut Option<F::Kept>,
    fallback: &Fallback,
    failure: Failure,
) -> Option<(F::Future, Failure, Permit)>
where
    F: StandIn<P, Req, Res, E>,
{
    let Some(kept) = kept.take() else {
        fallback.not_replayable(&failure);
        return None;
    };
    let permit = fallback.enter(&failure)?;
    match stand_in.begin(kept, &failure) {
        Ok(future) => Some((future, failure, permit)),
        Err(_) => {
            fallback.not_replayable(&failure);
            None
        }
    }
}

impl Drop for UnderWay {
    #[inline]
    fn drop(&mut self) {
        if self.unsettled.settle() {
            self.fallback.meter().cancelled.increment();
        }
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if self.unsettled.settle() {
            self.fallback.meter().failure(&self.failure, Became::Cancelled);
        }
    }
}

impl<Call, Res, E, P, F, Req> fmt::Debug for ResponseFuture<Call, Res, E, P, F, Req>
where
    P: HandOn<E>,
    F: StandIn<P, Req, Res, P::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.step {
            Step::Calling { .. } => "calling",
            Step::StandingIn { .. } => "standing in",
        };
        f.debug_struct("ResponseFuture").field("step", &step).finish_non_exhaustive()
    }
}
