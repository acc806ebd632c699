//! What became of a call to another service that brought no answer.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use serde::Serialize;
use tower::ServiceExt;

use crate::stack::{self, HttpClient};

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
    const ALL: [Self; 5] = [Self::CircuitOpen, Self::Overloaded, Self::TimedOut, Self::Unreachable, Self::Failed];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

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

/// A call without an answer to go by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoAnswer {
    pub(crate) reason: Reason,
    /// Whether the other side may have acted. Only `false` is certain.
    pub(crate) maybe_done: bool,
    pub(crate) retry_after: Option<Duration>,
}

impl NoAnswer {
    pub(crate) fn not_sent(reason: Reason, retry_after: Option<Duration>) -> Self {
        Self { reason, maybe_done: false, retry_after }
    }

    pub(crate) fn maybe_done(reason: Reason) -> Self {
        Self { reason, maybe_done: true, retry_after: None }
    }
}

/// Sends `request` and reads the answer to its end. Whatever the other side answered is `Ok`.
pub(crate) async fn http(client: &HttpClient, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, NoAnswer> {
    // `oneshot` waits until this very clone is ready, and calls it.
    let response = client.clone().oneshot(request).await.map_err(|error| {
        if error.is_connect() {
            NoAnswer::not_sent(Reason::Unreachable, None)
        } else {
            NoAnswer::maybe_done(Reason::Unreachable)
        }
    })?;
    if let Some(ours) = stack::refused(response.extensions()) {
        return Err(ours);
    }
    let (head, body) = response.into_parts();
    match read(body).await {
        Some(bytes) => Ok(Response::from_parts(head, bytes)),
        None => Err(NoAnswer::maybe_done(Reason::Failed)),
    }
}

async fn read(body: Body) -> Option<Bytes> {
    Some(Limited::new(body, LARGEST_ANSWER).collect().await.ok()?.to_bytes())
}

/// An answer that is no answer: the other side broke, and may have acted before it did.
pub(crate) fn broken(status: StatusCode) -> NoAnswer {
    NoAnswer::maybe_done(match status {
        StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => Reason::TimedOut,
        StatusCode::TOO_MANY_REQUESTS => Reason::Overloaded,
        _ => Reason::Failed,
    })
}

/// The same for gRPC, where our own refusals come back as a status too.
pub(crate) fn grpc(status: &tonic::Status) -> NoAnswer {
    if let Some(ours) = stack::refused_status(status) {
        return ours;
    }
    NoAnswer::maybe_done(match status.code() {
        tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => Reason::TimedOut,
        tonic::Code::ResourceExhausted => Reason::Overloaded,
        tonic::Code::Unavailable => Reason::Unreachable,
        _ => Reason::Failed,
    })
}
