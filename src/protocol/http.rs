//! HTTP: an exchange ends with the response body, and a refusal is a response.

use std::time::Duration;

use ::http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER},
};
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

/// HTTP services: an axum router, a hyper client.
#[derive(Debug, Clone, Copy)]
pub struct Http<C = ServerErrors> {
    classify: C,
}

/// The default judge of [`Http`]: 5xx is a failure, 429 an overload, any other 4xx the caller's own fault and ignored.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerErrors;

/// Judges the head of an HTTP response. Implemented for closures.
///
/// A transport error and a body that breaks off are failures whatever the judge says; a `Retry-After` is read
/// for it.
pub trait ClassifyHead {
    /// How the exchange ends if the body does not break off.
    fn classify(&self, status: StatusCode, headers: &HeaderMap) -> Outcome;
}

/// Not for every judge, so that `Http::default()` needs no type spelt out.
impl Default for Http {
    fn default() -> Self {
        Self::new(ServerErrors)
    }
}

impl<C> Http<C> {
    /// Judges by `classify`.
    pub const fn new(classify: C) -> Self {
        Self { classify }
    }

    pub(crate) fn judge<B>(&self, response: &Response<B>) -> Outcome
    where
        C: ClassifyHead,
    {
        if response.extensions().get::<Rejection>().is_some() {
            return Outcome::Ignored;
        }
        if response.extensions().get::<Elapsed>().is_some() {
            return Outcome::failure(Cause::TimedOut);
        }
        let headers = response.headers();
        self.classify.classify(response.status(), headers).or_retry_after(|| retry_after::http(headers))
    }
}

impl<B, E, C> Protocol<Response<B>, E> for Http<C>
where
    B: Body,
    B::Data: From<Bytes>,
    E: 'static,
    C: ClassifyHead,
{
    type Response<O: Observer> = Response<WatchedBody<B, HeadWatch<O>>>;
    type Error = E;

    fn observe<O: Observer>(&self, result: Result<Response<B>, E>, observer: O) -> Result<Self::Response<O>, E> {
        match result {
            Ok(response) => {
                let head = self.judge(&response);
                Ok(response.map(|body| WatchedBody::watched(body, HeadWatch::new(observer, head))))
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
    let status = match rejection.reason() {
        Reason::DeadlinePassed => StatusCode::GATEWAY_TIMEOUT,
        Reason::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Reason::CircuitOpen | Reason::BulkheadFull | Reason::QueueFull | Reason::WaitExpired | Reason::ShuttingDown => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    let mut response = problem(
        status,
        &rejection.reason().to_string(),
        &[("policy", rejection.policy()), ("name", rejection.name().as_str()), ("reason", rejection.reason().as_str())],
    );
    if let Some(wait) = rejection.advised_wait() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
    }
    response.extensions_mut().insert(rejection);
    response
}

/// A problem document (RFC 9457) with members of its own.
pub(crate) fn problem(status: StatusCode, title: &str, members: &[(&str, &str)]) -> Response<Bytes> {
    let mut json = format!(r#"{{"title":"{}","status":{}"#, escaped(title), status.as_u16());
    for (member, value) in members {
        json.push_str(&format!(r#","{member}":"{}""#, escaped(value)));
    }
    json.push('}');
    let body = Bytes::from(json);
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let length = HeaderValue::from(response.body().len());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response
}

/// `Retry-After` counts whole seconds; rounded down, a caller would come back too early.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '"' | '\\' => escaped.extend(['\\', char]),
            char if char.is_control() => escaped.push_str(&format!("\\u{:04x}", u32::from(char))),
            char => escaped.push(char),
        }
    }
    escaped
}

// ===== impl HeadWatch =====

/// Knows the outcome from the head, and tells it when the body has ended.
#[derive(Debug)]
pub struct HeadWatch<O: Observer> {
    head: Outcome,
    parting: Parting<O>,
}

impl<O: Observer> HeadWatch<O> {
    fn new(observer: O, head: Outcome) -> Self {
        Self { head, parting: Parting::new(observer, Some(head)) }
    }
}

impl<O: Observer> Watch for HeadWatch<O> {
    fn reading(&mut self) {
        self.parting.reading();
    }

    fn end(self, _trailers: Option<&HeaderMap>) {
        self.parting.finish(self.head);
    }

    fn broken(self, cause: Cause) {
        self.parting.broken(cause);
    }
}

// ===== impl ServerErrors =====

impl ClassifyHead for ServerErrors {
    fn classify(&self, status: StatusCode, _headers: &HeaderMap) -> Outcome {
        if status.is_server_error() {
            Outcome::failure(Cause::Status(status))
        } else if status == StatusCode::TOO_MANY_REQUESTS {
            Outcome::overload(Cause::Status(status))
        } else if status.is_client_error() {
            Outcome::Ignored
        } else {
            Outcome::Success
        }
    }
}

impl<F> ClassifyHead for F
where
    F: Fn(StatusCode, &HeaderMap) -> Outcome,
{
    fn classify(&self, status: StatusCode, headers: &HeaderMap) -> Outcome {
        self(status, headers)
    }
}
