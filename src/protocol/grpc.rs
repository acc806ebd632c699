//! gRPC: an exchange ends with the trailers, and a refusal is an answer of nothing but trailers.

use std::{fmt, time::Duration};

use ::http::{HeaderMap, HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use bytes::Bytes;
use http_body::Body;

use crate::{
    deadline::Elapsed,
    outcome::{Cause, Outcome},
    protocol::{
        Observer, Protocol,
        body::{Parting, Watch, WatchedBody},
        cause, retry_after,
    },
    rejection::{Reason, Rejection},
};

/// gRPC services: a tonic channel, a tonic server.
#[derive(Debug, Clone, Copy)]
pub struct Grpc<C = ServerFaults> {
    classify: C,
}

/// The default judge of [`Grpc`]: `UNAVAILABLE`, `INTERNAL`, `UNKNOWN`, `DATA_LOSS` and `DEADLINE_EXCEEDED` are
/// failures, `RESOURCE_EXHAUSTED` is an overload; `OK` and the codes that blame the caller are successes, for the
/// server did its work.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerFaults;

/// Judges the status of a gRPC call. Implemented for closures.
///
/// A transport error and a body that breaks off are failures whatever the judge says; `grpc-retry-pushback-ms` is read
/// for it.
pub trait ClassifyStatus {
    /// How the exchange ended. `trailers` are the head's where the answer consists of nothing else.
    fn classify(&self, code: Code, trailers: &HeaderMap) -> Outcome;
}

/// Not for every judge, so that `Grpc::default()` needs no type spelt out.
impl Default for Grpc {
    fn default() -> Self {
        Self::new(ServerFaults)
    }
}

impl<C> Grpc<C> {
    /// Judges by `classify`.
    pub const fn new(classify: C) -> Self {
        Self { classify }
    }

    /// The outcome, if the head alone tells it.
    pub(crate) fn judge_head<B>(&self, response: &Response<B>) -> Option<Outcome>
    where
        C: ClassifyStatus,
    {
        if response.extensions().get::<Rejection>().is_some() {
            return Some(Outcome::Ignored);
        }
        if response.extensions().get::<Elapsed>().is_some() {
            return Some(Outcome::failure(Cause::TimedOut));
        }
        Code::of_head(response).map(|code| judge(&self.classify, code, response.headers()))
    }
}

fn judge<C: ClassifyStatus>(classify: &C, code: Code, trailers: &HeaderMap) -> Outcome {
    classify
        .classify(code, trailers)
        .or_retry_after(|| retry_after::grpc(trailers).and_then(|pushback| pushback.after()))
}

impl<B, E, C> Protocol<Response<B>, E> for Grpc<C>
where
    B: Body,
    B::Data: From<Bytes>,
    E: 'static,
    C: ClassifyStatus + Clone,
{
    type Response<O: Observer> = Response<WatchedBody<B, TrailersWatch<O, C>>>;
    type Error = E;

    fn observe<O: Observer>(&self, result: Result<Response<B>, E>, observer: O) -> Result<Self::Response<O>, E> {
        match result {
            Ok(response) => {
                let head = self.judge_head(&response);
                let watch =
                    TrailersWatch { head, classify: self.classify.clone(), parting: Parting::new(observer, head) };
                Ok(response.map(|body| WatchedBody::watched(body, watch)))
            }
            Err(error) => {
                observer.finish(Outcome::failure(cause::of_any(&error)));
                Err(error)
            }
        }
    }

    fn reject<O: Observer>(&self, rejection: Box<Rejection>) -> Result<Self::Response<O>, E> {
        Ok(refusal(*rejection).map(WatchedBody::refusal))
    }

    fn error(&self, error: E) -> E {
        error
    }
}

/// The answer to a call that was not let through.
pub(crate) fn refusal(rejection: Rejection) -> Response<Bytes> {
    let code = match rejection.reason() {
        Reason::CircuitOpen | Reason::ShuttingDown => Code::Unavailable,
        Reason::BulkheadFull | Reason::QueueFull | Reason::WaitExpired | Reason::RateLimited => Code::ResourceExhausted,
        Reason::DeadlinePassed => Code::DeadlineExceeded,
    };
    let mut response = trailers_only(code, &rejection.to_string());
    if let Some(wait) = rejection.advised_wait() {
        response.headers_mut().insert(retry_after::PUSHBACK, pushback(wait));
    }
    response.extensions_mut().insert(rejection);
    response
}

/// Rounded up: a caller that comes a moment too early is refused again. More than an i32 holds reads as "never".
pub(crate) fn pushback(wait: Duration) -> HeaderValue {
    HeaderValue::from(wait.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32)
}

/// An answer that consists of its status.
pub(crate) fn trailers_only(code: Code, message: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    status_headers(headers, code, message);
    response
}

/// Writes `grpc-status` and `grpc-message`.
pub(crate) fn status_headers(headers: &mut HeaderMap, code: Code, message: &str) {
    headers.insert(STATUS, HeaderValue::from(code as u16));
    if let Ok(message) = HeaderValue::from_str(&percent_encoded(message)) {
        headers.insert(MESSAGE, message);
    }
}

pub(crate) const STATUS: &str = "grpc-status";
const MESSAGE: &str = "grpc-message";

/// gRPC over HTTP/2, "Responses": everything but printable ASCII, and the percent sign, is escaped.
fn percent_encoded(message: &str) -> String {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

// ===== impl TrailersWatch =====

/// Learns the outcome from the trailers, unless the head has already told it.
#[derive(Debug)]
pub struct TrailersWatch<O: Observer, C> {
    head: Option<Outcome>,
    classify: C,
    parting: Parting<O>,
}

impl<O: Observer, C: ClassifyStatus> Watch for TrailersWatch<O, C> {
    fn reading(&mut self) {
        self.parting.reading();
    }

    fn end(self, trailers: Option<&HeaderMap>) {
        let outcome = self.head.unwrap_or_else(|| {
            let none = HeaderMap::new();
            let trailers = trailers.unwrap_or(&none);
            // An answer without a status is UNKNOWN (gRPC, "Status codes and their use").
            judge(&self.classify, Code::read(trailers).unwrap_or(Code::Unknown), trailers)
        });
        self.parting.finish(outcome);
    }

    fn broken(self, cause: Cause) {
        self.parting.broken(cause);
    }
}

// ===== impl ServerFaults =====

impl ClassifyStatus for ServerFaults {
    fn classify(&self, code: Code, _trailers: &HeaderMap) -> Outcome {
        match code {
            Code::Unavailable | Code::Internal | Code::Unknown | Code::DataLoss | Code::DeadlineExceeded => {
                Outcome::failure(Cause::Grpc(code))
            }
            Code::ResourceExhausted => Outcome::overload(Cause::Grpc(code)),
            _ => Outcome::Success,
        }
    }
}

impl<F> ClassifyStatus for F
where
    F: Fn(Code, &HeaderMap) -> Outcome,
{
    fn classify(&self, code: Code, trailers: &HeaderMap) -> Outcome {
        self(code, trailers)
    }
}

// ===== impl Code =====

/// A gRPC status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are gRPC's, which says what they mean")]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl Code {
    const ALL: [(Self, &'static str); 17] = [
        (Self::Ok, "OK"),
        (Self::Cancelled, "CANCELLED"),
        (Self::Unknown, "UNKNOWN"),
        (Self::InvalidArgument, "INVALID_ARGUMENT"),
        (Self::DeadlineExceeded, "DEADLINE_EXCEEDED"),
        (Self::NotFound, "NOT_FOUND"),
        (Self::AlreadyExists, "ALREADY_EXISTS"),
        (Self::PermissionDenied, "PERMISSION_DENIED"),
        (Self::ResourceExhausted, "RESOURCE_EXHAUSTED"),
        (Self::FailedPrecondition, "FAILED_PRECONDITION"),
        (Self::Aborted, "ABORTED"),
        (Self::OutOfRange, "OUT_OF_RANGE"),
        (Self::Unimplemented, "UNIMPLEMENTED"),
        (Self::Internal, "INTERNAL"),
        (Self::Unavailable, "UNAVAILABLE"),
        (Self::DataLoss, "DATA_LOSS"),
        (Self::Unauthenticated, "UNAUTHENTICATED"),
    ];

    /// The `grpc-status` of trailers, or of the head of a trailers-only answer. Unreadable is `UNKNOWN`.
    pub fn read(trailers: &HeaderMap) -> Option<Self> {
        let value = trailers.get(STATUS)?;
        Some(value.to_str().ok().and_then(|code| code.parse().ok()).map_or(Self::Unknown, Self::of_number))
    }

    /// The code of this number. One that isn't known is `UNKNOWN`.
    pub(crate) fn of_number(number: i32) -> Self {
        let known = usize::try_from(number).ok().and_then(|number| Self::ALL.get(number));
        known.map_or(Self::Unknown, |(code, _)| *code)
    }

    /// The status, if the head tells it: a trailers-only answer, or one that isn't gRPC at all, such as a proxy's.
    pub(crate) fn of_head<B>(response: &Response<B>) -> Option<Self> {
        Self::read(response.headers()).or_else(|| Self::of_status(response.status()))
    }

    /// gRPC, "HTTP to gRPC Status Code Mapping".
    fn of_status(status: StatusCode) -> Option<Self> {
        Some(match status.as_u16() {
            200 => return None,
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ => Self::Unknown,
        })
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL[*self as usize].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_where_their_numbers_say() {
        for (number, (code, _)) in Code::ALL.iter().enumerate() {
            assert_eq!(*code as usize, number);
        }
    }

    #[test]
    fn a_status_that_cannot_be_read_is_unknown() {
        for (value, code) in
            [("14", Code::Unavailable), ("17", Code::Unknown), ("", Code::Unknown), ("x", Code::Unknown)]
        {
            let mut trailers = HeaderMap::new();
            trailers.insert(STATUS, HeaderValue::from_str(value).unwrap());
            assert_eq!(Code::read(&trailers), Some(code), "{value:?}");
        }
        assert_eq!(Code::read(&HeaderMap::new()), None);
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encoded("100% für\nalle"), "100%25 f%C3%BCr%0Aalle");
    }
}
