//! HTTP: the head is cloned, the body kept as its type says, and the answer's head judged.

use std::{
    fmt,
    task::{Context, Poll},
};

use http::{HeaderName, Request, Response, StatusCode, request};

use super::{OVERLOADED, Repeat, Unsaid, Verdict};
use crate::{
    budget::Cost,
    deadline::Deadline,
    protocol::{Http, cause, retry_after, sent::MaybeSent},
    rejection::Rejection,
    repeat::{
        attempt::{Attempt, HTTP_PREVIOUS_ATTEMPTS},
        replay::{Limit, Lost, ReplayBody},
        rules::RetryHead,
        verdict::{Ask, Failure},
    },
};

/// What is kept of a request.
#[doc(hidden)]
pub struct KeptRequest<B: ReplayBody> {
    pub(super) head: request::Parts,
    body: B::Kept,
}

impl<B: ReplayBody> KeptRequest<B> {
    pub(crate) fn keep(request: Request<B>, limit: &Limit) -> (Request<B>, Option<Self>) {
        let (head, body) = request.into_parts();
        let (body, kept) = body.keep(limit);
        let kept = kept.map(|body| Self { head: head.clone(), body });
        (Request::from_parts(head, body), kept)
    }

    pub(super) fn again(&mut self, header: HeaderName, retries: u32) -> Result<Request<B>, Lost> {
        let body = B::replay(&mut self.body)?;
        let mut head = self.head.clone();
        Attempt::mark(&mut head, header, retries);
        Ok(Request::from_parts(head, body))
    }

    /// The request as it came.
    pub(crate) fn as_it_came(&mut self) -> Result<Request<B>, Lost> {
        Ok(Request::from_parts(self.head.clone(), B::replay(&mut self.body)?))
    }

    pub(super) fn mark_sent(&self) {
        if let Some(maybe_sent) = self.head.extensions.get::<MaybeSent>() {
            maybe_sent.mark();
        }
    }

    pub(super) fn deadline(&self) -> Option<Deadline> {
        self.head.extensions.get::<Deadline>().copied()
    }
}

impl<B: ReplayBody> fmt::Debug for KeptRequest<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptRequest").field("head", &self.head).finish_non_exhaustive()
    }
}

impl<B, ResBody, E, C, R> Repeat<Request<B>, Response<ResBody>, E, R> for Http<C>
where
    B: ReplayBody,
    E: 'static,
    R: RetryHead,
{
    type Kept = KeptRequest<B>;
    type Response = Response<ResBody>;
    type Error = E;

    fn keep(&self, request: Request<B>, limit: &Limit) -> (Request<B>, Option<KeptRequest<B>>) {
        KeptRequest::keep(request, limit)
    }

    fn again(&self, kept: &mut KeptRequest<B>, retries: u32) -> Result<Request<B>, Lost> {
        kept.again(HTTP_PREVIOUS_ATTEMPTS, retries)
    }

    fn mark_sent(&self, kept: &KeptRequest<B>) {
        kept.mark_sent();
    }

    fn deadline(&self, kept: &KeptRequest<B>) -> Option<Deadline> {
        kept.deadline()
    }

    fn error(&self, error: E) -> E {
        error
    }

    fn answer(&self, result: Result<Response<ResBody>, E>) -> Result<Response<ResBody>, E> {
        result
    }

    fn poll_verdict(&self, _answer: &mut Result<Response<ResBody>, E>, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn judge(&self, rules: &R, answer: &Result<Response<ResBody>, E>) -> Verdict {
        let response = match answer {
            Ok(response) => response,
            Err(error) => return judge_error(error),
        };
        if response.extensions().get::<Rejection>().is_some() {
            return Verdict::Refused { by_server: false };
        }
        let (status, headers) = (response.status(), response.headers());
        if headers.contains_key(OVERLOADED) {
            return Verdict::Refused { by_server: true };
        }
        if rules.would_help(status, headers) {
            let throttled = status == StatusCode::TOO_MANY_REQUESTS;
            return Verdict::Failed(Failure {
                cost: if throttled { Cost::Throttled } else { Cost::Transient },
                ask: retry_after::http(headers).map(Ask::About),
                sent: true,
            });
        }
        if status.is_server_error() { Verdict::Final } else { Verdict::Success }
    }

    fn sent_before(&self, refused: Result<Response<ResBody>, E>) -> Result<Response<ResBody>, E> {
        refused.map(without_rejection)
    }

    fn is_safe(&self, rules: &R, kept: &KeptRequest<B>) -> Result<bool, Unsaid> {
        Ok(rules.is_safe(&kept.head))
    }
}

pub(super) fn without_rejection<B>(mut response: Response<B>) -> Response<B> {
    response.extensions_mut().remove::<Rejection>();
    response
}

/// Of an error of which nothing is known, nothing says that the request wasn't sent.
fn judge_error<E: 'static>(error: &E) -> Verdict {
    let error = cause::view(error);
    if error.and_then(Rejection::find_in).is_some() {
        return Verdict::Refused { by_server: false };
    }
    Verdict::Failed(Failure { cost: Cost::Transient, ask: None, sent: !error.is_some_and(cause::was_not_sent) })
}
