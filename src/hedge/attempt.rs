//! One attempt, to its answer.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tower_service::Service;

use crate::{
    budget::Token,
    repeat::{FIRST_FRAME_WITHIN, protocol::Repeat},
};

pin_project! {
    /// Readying => Calling => (Peeking => Over | Over). Dropped, it is cancelled.
    #[project = AttemptProj]
    pub(super) enum Attempt<S, F, Req, A> {
        // A clone of the service is being made ready, which holds nobody up.
        Readying { next: Option<Box<Prepared<S, Req>>> },
        // It is under way.
        Calling { #[pin] call: F },
        // The head of its answer doesn't tell how it ended; the first frame may.
        Peeking { answer: Option<A>, patience: Pin<Box<Sleep>> },
        Over,
    }
}

/// What another attempt is made with. Dropped, what pays for it goes back to the budget.
#[derive(Debug)]
pub(super) struct Prepared<S, Req> {
    pub(super) inner: S,
    pub(super) request: Req,
    pub(super) token: Token,
}

/// How an attempt has gone on.
pub(super) enum Step<A> {
    /// The request was sent.
    Sent,
    Answered(A),
}

impl<S, Req, A, E> Attempt<S, S::Future, Req, Result<A, E>>
where
    S: Service<Req>,
{
    /// Never ready again once it has answered.
    ///
    /// `peeks`: whether more than the answer's head is waited for, because there is or may be another attempt.
    #[inline]
    pub(super) fn poll_step<P, R>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        protocol: &P,
        peeks: bool,
    ) -> Poll<Step<Result<A, E>>>
    where
        P: Repeat<Req, S::Response, S::Error, R, Response = A, Error = E>,
    {
        loop {
            let answer = match self.as_mut().project() {
                AttemptProj::Readying { next } => {
                    let Some(prepared) = next else { return Poll::Pending };
                    if let Err(error) = ready!(prepared.inner.poll_ready(cx)) {
                        Err(protocol.error(error))
                    } else {
                        let Prepared { mut inner, request, token } = *next.take().expect("looked at just now");
                        token.spend();
                        self.set(Self::Calling { call: inner.call(request) });
                        return Poll::Ready(Step::Sent);
                    }
                }
                AttemptProj::Calling { call } => {
                    let mut answer = protocol.answer(ready!(call.poll(cx)));
                    if protocol.poll_verdict(&mut answer, cx).is_pending() && peeks {
                        let patience = Box::pin(sleep(FIRST_FRAME_WITHIN));
                        self.set(Self::Peeking { answer: Some(answer), patience });
                        continue;
                    }
                    answer
                }
                AttemptProj::Peeking { answer, patience } => {
                    let Some(looked_at) = answer else { return Poll::Pending };
                    if protocol.poll_verdict(looked_at, cx).is_pending() {
                        ready!(patience.as_mut().poll(cx));
                    }
                    answer.take().expect("looked at just now")
                }
                AttemptProj::Over => return Poll::Pending,
            };
            self.set(Self::Over);
            return Poll::Ready(Step::Answered(answer));
        }
    }
}
