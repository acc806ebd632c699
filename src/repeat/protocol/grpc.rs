//! gRPC: as HTTP, but the answer may only say in its trailers that it failed.

use std::{
    error::Error,
    task::{Context, Poll},
};

use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;

use super::{
    OVERLOADED, Repeat, Unsaid, Verdict,
    http::{KeptRequest, without_rejection},
};
use crate::{
    budget::Cost,
    deadline::{Deadline, Elapsed},
    protocol::{
        Grpc, cause,
        grpc::Code,
        retry_after::{self, Pushback},
    },
    rejection::Rejection,
    repeat::{
        attempt::GRPC_PREVIOUS_ATTEMPTS,
        peek::{Peeked, PeekedBody},
        replay::{Limit, Lost, ReplayBody},
        rules::RetryStatus,
        verdict::{Ask, Failure},
    },
};

impl<B, ResBody, E, C, R> Repeat<Request<B>, Response<ResBody>, E, R> for Grpc<C>
where
    B: ReplayBody,
    ResBody: Body + Unpin,
    ResBody::Error: 'static,
    E: 'static,
    R: RetryStatus,
{
    type Kept = KeptRequest<B>;
    type Response = Response<PeekedBody<ResBody>>;
    type Error = E;
    const PEEKS: bool = true;

    fn keep(&self, request: Request<B>, limit: &Limit) -> (Request<B>, Option<KeptRequest<B>>) {
        KeptRequest::keep(request, limit)
    }

    fn again(&self, kept: &mut KeptRequest<B>, retries: u32) -> Result<Request<B>, Lost> {
        kept.again(GRPC_PREVIOUS_ATTEMPTS, retries)
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

    fn answer(&self, result: Result<Response<ResBody>, E>) -> Result<Self::Response, E> {
        result.map(|response| response.map(PeekedBody::new))
    }

    fn poll_verdict(&self, answer: &mut Result<Self::Response, E>, cx: &mut Context<'_>) -> Poll<()> {
        match answer {
            Ok(response) if !tells(response) => response.body_mut().poll_peek(cx),
            _ => Poll::Ready(()),
        }
    }

    fn judge(&self, rules: &R, answer: &Result<Self::Response, E>) -> Verdict {
        let response = match answer {
            Ok(response) => response,
            Err(error) => return judge_error(rules, cause::view(error)),
        };
        if response.extensions().get::<Rejection>().is_some() {
            return Verdict::Refused { by_server: false };
        }
        if response.headers().contains_key(OVERLOADED) {
            return Verdict::Refused { by_server: true };
        }
        if response.extensions().get::<Elapsed>().is_some() {
            return judge_status(rules, Code::DeadlineExceeded, response.headers(), true);
        }
        if let Some(code) = Code::of_head(response) {
            return match judge_status(rules, code, response.headers(), true) {
                // Not gRPC's own answer but a proxy's, which has HTTP's words for it.
                Verdict::Failed(Failure { ask: None, cost, sent }) if response.status() != StatusCode::OK => {
                    let ask = retry_after::http(response.headers()).map(Ask::About);
                    Verdict::Failed(Failure { cost, ask, sent })
                }
                verdict => verdict,
            };
        }
        match response.body().peeked() {
            Peeked::Unknown => Verdict::Final,
            Peeked::Data => Verdict::Success,
            // An answer without a status is UNKNOWN (gRPC, "Status codes and their use").
            Peeked::End => judge_status(rules, Code::Unknown, &HeaderMap::new(), true),
            Peeked::Trailers(trailers) => {
                judge_status(rules, Code::read(trailers).unwrap_or(Code::Unknown), trailers, true)
            }
            Peeked::Error(error) => match judge_error(rules, cause::view(error)) {
                Verdict::Failed(failure) => Verdict::Failed(Failure { sent: true, ..failure }),
                verdict => verdict,
            },
        }
    }

    fn sent_before(&self, refused: Result<Self::Response, E>) -> Result<Self::Response, E> {
        refused.map(without_rejection)
    }

    fn is_safe(&self, rules: &R, kept: &KeptRequest<B>) -> Result<bool, Unsaid> {
        if rules.is_unsaid() { Err(Unsaid) } else { Ok(rules.is_safe(&kept.head)) }
    }
}

/// Whether the head says how the call ended. A body that is at its end says nothing more.
fn tells<B: Body>(response: &Response<B>) -> bool {
    Code::of_head(response).is_some() || response.body().is_end_stream()
}

fn judge_status<R: RetryStatus>(rules: &R, code: Code, trailers: &HeaderMap, sent: bool) -> Verdict {
    let ask = match retry_after::grpc(trailers) {
        Some(Pushback::Never) if code != Code::Ok => return Verdict::Refused { by_server: true },
        Some(Pushback::After(wait)) => Some(Ask::Exactly(wait)),
        _ => None,
    };
    if code == Code::Ok {
        return Verdict::Success;
    }
    // What wasn't sent may be sent again whatever the code (A6, "Transparent retries").
    if !sent || rules.would_help(code, trailers) {
        let throttled = code == Code::ResourceExhausted;
        let cost = if throttled { Cost::Throttled } else { Cost::Transient };
        return Verdict::Failed(Failure { cost, ask, sent });
    }
    Verdict::Final
}

/// A transport error is UNAVAILABLE (gRPC, "Status codes and their use"), unless it says what it is.
fn judge_error<R: RetryStatus>(rules: &R, error: Option<&(dyn Error + 'static)>) -> Verdict {
    let none = HeaderMap::new();
    let Some(error) = error else { return judge_status(rules, Code::Unavailable, &none, true) };
    if Rejection::find_in(error).is_some() {
        return Verdict::Refused { by_server: false };
    }
    if cause::find::<Elapsed>(error).is_some() {
        return judge_status(rules, Code::DeadlineExceeded, &none, true);
    }
    let sent = !cause::was_not_sent(error);
    #[cfg(feature = "tonic")]
    if let Some(status) = cause::find::<tonic::Status>(error) {
        let mut trailers = status.metadata().clone().into_headers();
        trailers.insert("grpc-status", http::HeaderValue::from(status.code() as i32));
        return judge_status(rules, Code::read(&trailers).unwrap_or(Code::Unknown), &trailers, sent);
    }
    judge_status(rules, Code::Unavailable, &none, sent)
}
