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
    protocol::{HandOn, Judge},
    stand_in::StandIn,
};

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
        fallback: Fallback,
        protocol: P,
        stand_in: F,
    }
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
        failure: Failure,
        error: Option<E>,
        permit: Option<Permit>,
    }
}

impl<Call, Res, E, P, F, Req> ResponseFuture<Call, Res, E, P, F, Req>
where
    P: HandOn<E>,
    F: StandIn<P, Req, Res, P::Error>,
{
    #[inline]
    pub(super) fn new(call: Call, kept: Option<F::Kept>, fallback: Fallback, protocol: P, stand_in: F) -> Self {
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
                        .filter(|failure| F::EXISTS && this.fallback.is_for(failure))
                        .and_then(|failure| begin(this.stand_in, this.kept, this.fallback, failure));
                    let Some((future, failure, permit)) = begun else { return Poll::Ready(answer.map(F::inner)) };
                    let error = answer.err();
                    let instead = Box::pin(Instead { future, failure, error, permit: Some(permit) });
                    this.step.set(Step::StandingIn { instead });
                }
                StepProj::StandingIn { instead } => {
                    let instead = instead.as_mut().project();
                    let mut answer = ready!(instead.future.poll(cx));
                    let permit = instead.permit.take().expect("polled after it was ready");
                    let failure = &*instead.failure;
                    let own = Judge::<F::Given, _>::failure(this.protocol, answer.as_ref());
                    this.fallback.answered(failure, own.as_ref());
                    let name = this.fallback.name();
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
