//! What became of a call to another service that brought no answer.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use buttress::Rejection;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use serde::Serialize;
use tonic::{Code, Status};
use tower::ServiceExt;

use crate::stack::HttpClient;

/// No answer of ours comes near this size.
const LARGEST_ANSWER: usize = 1024 * 1024;

/// Why there is no answer, in words that may leave the system: nothing of what the other side said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    CircuitOpen,
    Overloaded,
    TimedOut,
    Unreachable,
    Failed,
}

impl Reason {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CircuitOpen => "circuit_open",
            Self::Overloaded => "overloaded",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::Failed => "failed",
        }
    }
}

/// A call without an answer to go by. What a saga needs to know of it, whether it may have been carried out, the saga's
/// step was told by the [`StepLayer`](buttress::StepLayer).
#[derive(Clone, Debug)]
pub(crate) struct NoAnswer {
    pub(crate) reason: Reason,
    pub(crate) retry_after: Option<Duration>,
    /// The refusal by one of our own layers, if that is what it was.
    rejection: Option<Rejection>,
}

impl NoAnswer {
    pub(crate) fn because(reason: Reason) -> Self {
        Self { reason, retry_after: None, rejection: None }
    }

    pub(crate) fn rejected(rejection: &Rejection) -> Self {
        let reason = match rejection.reason() {
            buttress::Reason::CircuitOpen => Reason::CircuitOpen,
            buttress::Reason::DeadlinePassed => Reason::TimedOut,
            _ => Reason::Overloaded,
        };
        Self { reason, retry_after: rejection.retry_after(), rejection: Some(rejection.clone()) }
    }
}

/// Sends `request` and reads the answer to its end. Whatever the other side answered is `Ok`.
pub(crate) async fn http(client: &HttpClient, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, NoAnswer> {
    // `oneshot` waits until this very clone is ready, and calls it.
    let (head, body) = client.clone().oneshot(request).await?.into_parts();
    match read(body).await {
        Some(bytes) => Ok(Response::from_parts(head, bytes)),
        None => Err(NoAnswer::because(Reason::Failed)),
    }
}

async fn read(body: Body) -> Option<Bytes> {
    Some(Limited::new(body, LARGEST_ANSWER).collect().await.ok()?.to_bytes())
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.name())
    }
}

impl Error for NoAnswer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.rejection.as_ref().map(|rejection| rejection as _)
    }
}

/// An answer that is no answer: the other side broke.
pub(crate) fn broken(status: StatusCode) -> NoAnswer {
    NoAnswer::because(match status {
        StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => Reason::TimedOut,
        StatusCode::TOO_MANY_REQUESTS => Reason::Overloaded,
        _ => Reason::Failed,
    })
}

/// The same for gRPC, where a call without an answer is a status too.
pub(crate) fn grpc(status: &Status) -> NoAnswer {
    if let Some(no_answer) = status.source().and_then(|source| source.downcast_ref::<NoAnswer>()) {
        return no_answer.clone();
    }
    NoAnswer::because(match status.code() {
        Code::DeadlineExceeded | Code::Cancelled => Reason::TimedOut,
        Code::ResourceExhausted => Reason::Overloaded,
        Code::Unavailable => Reason::Unreachable,
        _ => Reason::Failed,
    })
}
