//! The future: the attempts of one call, side by side.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

use super::{
    attempt::{Attempt, Prepared, Step},
    course::{Course, Who},
    race::Next,
};
use crate::{clock, repeat::protocol::Repeat};

pin_project! {
    /// The future of a [`HedgeService`](super::HedgeService).
    ///
    /// # Cancel safety
    ///
    /// Dropped, it drops all attempts under way; what was withdrawn for one that wasn't sent goes back to the budget. The
    /// same becomes of the attempts that have lost, before the answer is handed on.
    pub struct ResponseFuture<S, P, R, Req>
    where
        S: Service<Req>,
        P: Repeat<Req, S::Response, S::Error, R>,
    {
        #[pin]
        first: Attempt<S, S::Future, Req, Answer<S, P, R, Req>>,
        // Boxed, and on the heap altogether, for most calls have none.
        hedges: Vec<Pin<Box<Attempt<S, S::Future, Req, Answer<S, P, R, Req>>>>>,
        // When the next attempt is due. None before the first attempt has been found to take a while, and after the last.
        #[pin]
        timer: Option<Sleep>,
        due: Due<S, Req>,
        course: Course<S, P, R, P::Kept>,
    }
}

type Answer<S, P, R, Req> = Result<
    <P as Repeat<Req, <S as Service<Req>>::Response, <S as Service<Req>>::Error, R>>::Response,
    <P as Repeat<Req, <S as Service<Req>>::Response, <S as Service<Req>>::Error, R>>::Error,
>;

/// When the next attempt is due.
enum Due<S, Req> {
    /// As the settings say, after the attempt before.
    At(Instant),
    /// At a time that the server has set. Prepared, for there is no other attempt whose answer could still be handed on.
    Set(Instant, Option<Box<Prepared<S, Req>>>),
    Never,
}

impl<S, Req> Due<S, Req> {
    fn at(&self) -> Option<Instant> {
        match self {
            Self::At(at) | Self::Set(at, _) => Some(*at),
            Self::Never => None,
        }
    }
}

impl<S, P, R, Req> ResponseFuture<S, P, R, Req>
where
    S: Service<Req>,
    P: Repeat<Req, S::Response, S::Error, R>,
{
    pub(super) fn new(call: S::Future, course: Course<S, P, R, P::Kept>) -> Self {
        let due = course.due().map_or(Due::Never, Due::At);
        Self { first: Attempt::Calling { call }, hedges: Vec::new(), timer: None, due, course }
    }
}

impl<S, P, R, Req> Future for ResponseFuture<S, P, R, Req>
where
    S: Service<Req> + Clone,
    P: Repeat<Req, S::Response, S::Error, R>,
{
    type Output = Result<P::Response, P::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let (who, answer) = match self.as_mut().poll_attempts(cx) {
                Poll::Ready(answered) => answered,
                Poll::Pending if self.as_mut().poll_due(cx).is_ready() => {
                    self.as_mut().hedge_as_due();
                    continue;
                }
                Poll::Pending => return Poll::Pending,
            };
            if let Some(answer) = self.as_mut().answered(who, answer) {
                let this = self.project();
                // The losers are gone before the answer is.
                let mut first = this.first;
                first.set(Attempt::Over);
                this.hedges.clear();
                return Poll::Ready(answer);
            }
        }
    }
}

impl<S, P, R, Req> ResponseFuture<S, P, R, Req>
where
    S: Service<Req> + Clone,
    P: Repeat<Req, S::Response, S::Error, R>,
{
    /// The next answer, whosever it is.
    #[inline]
    fn poll_attempts(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<(Who, Answer<S, P, R, Req>)> {
        let this = self.project();
        let course = this.course;
        let peeks = !this.hedges.is_empty() || course.may_repeat();
        if let Poll::Ready(Step::Answered(answer)) = this.first.poll_step(cx, &course.protocol, peeks) {
            return Poll::Ready((Who::First, answer));
        }
        for (number, hedge) in this.hedges.iter_mut().enumerate() {
            while let Poll::Ready(step) = hedge.as_mut().poll_step(cx, &course.protocol, peeks) {
                match step {
                    Step::Sent => course.sent::<Req>(),
                    Step::Answered(answer) => return Poll::Ready((Who::Hedge(number as u32 + 1), answer)),
                }
            }
        }
        Poll::Pending
    }

    /// Ready when another attempt is due.
    #[inline]
    fn poll_due(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(at) = this.due.at() else { return Poll::Pending };
        let timer = match this.timer.as_mut().as_pin_mut() {
            Some(mut timer) => {
                if timer.deadline() != at {
                    timer.as_mut().reset(at);
                }
                timer
            }
            None => {
                this.timer.set(Some(sleep_until(at)));
                this.timer.as_pin_mut().expect("set just now")
            }
        };
        timer.poll(cx)
    }

    #[cold]
    fn hedge_as_due(mut self: Pin<&mut Self>) {
        let this = self.as_mut().project();
        let prepared = match std::mem::replace(this.due, Due::Never) {
            Due::Set(_, Some(prepared)) => Some(prepared),
            _ => this.course.prepare::<Req>(Duration::ZERO),
        };
        if let Some(prepared) = prepared {
            self.hedge(prepared);
        }
    }

    /// Sends the request again, as soon as the clone is ready.
    fn hedge(self: Pin<&mut Self>, prepared: Box<Prepared<S, Req>>) {
        let this = self.project();
        this.hedges.push(Box::pin(Attempt::Readying { next: Some(prepared) }));
        this.course.hedged();
        *this.due = this.course.due_after_now().map_or(Due::Never, Due::At);
    }

    /// An attempt has answered. If that is the call's answer, it is given back.
    #[inline]
    fn answered(mut self: Pin<&mut Self>, who: Who, answer: Answer<S, P, R, Req>) -> Option<Answer<S, P, R, Req>> {
        let this = self.as_mut().project();
        match this.course.ended::<Req>(who, &answer) {
            Next::HandOn => return Some(answer),
            Next::HandOnSentBefore => return Some(this.course.protocol.sent_before(answer)),
            Next::Wait => {}
            Next::Hedge => match this.course.prepare::<Req>(Duration::ZERO) {
                Some(prepared) => {
                    // The answer is dropped first, so that the permits below are free.
                    drop(answer);
                    self.hedge(prepared);
                }
                None if this.course.is_alone() => return Some(this.course.give_up(who, answer)),
                None => *this.due = Due::Never,
            },
            Next::HedgeIn(wait) if this.course.is_alone() => match this.course.prepare::<Req>(wait) {
                Some(prepared) => *this.due = Due::Set(clock::now() + wait, Some(prepared)),
                None => return Some(this.course.give_up(who, answer)),
            },
            Next::HedgeIn(wait) => *this.due = Due::Set(clock::now() + wait, None),
            Next::HedgeNotBefore(wait) => {
                let not_before = clock::now() + wait;
                *this.due = Due::Set(this.due.at().map_or(not_before, |at| at.max(not_before)), None);
            }
        }
        None
    }
}

impl<S, P, R, Req> fmt::Debug for ResponseFuture<S, P, R, Req>
where
    S: Service<Req>,
    P: Repeat<Req, S::Response, S::Error, R>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("hedges", &self.hedges.len()).finish_non_exhaustive()
    }
}
