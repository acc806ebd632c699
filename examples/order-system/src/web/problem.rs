//! Errors as RFC 9457 `application/problem+json`.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use buttress::barrier::Stop;
use serde_json::{Map, Value, json};

/// An answer that says what is wrong and, where one field is to blame, which.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    kind: &'static str,
    detail: Cow<'static, str>,
    retry_after: Option<Duration>,
    more: Map<String, Value>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, kind: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, kind, detail: detail.into(), retry_after: None, more: Map::new() }
    }

    /// The one for what nobody outside can help: the cause goes to the log, never to the answer.
    pub(crate) fn internal(cause: &dyn std::error::Error) -> Self {
        tracing::error!(%cause, "request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "This service failed; nothing is known to be wrong with the request.",
        )
    }

    pub(crate) fn field(self, field: impl Into<String>) -> Self {
        self.with("field", field.into())
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn retry_after(mut self, after: Option<Duration>) -> Self {
        self.retry_after = after;
        self
    }

    pub(crate) fn body(&self) -> Value {
        let mut body = self.more.clone();
        body.insert("type".into(), json!(format!("/problems/{}", self.kind)));
        body.insert("title".into(), json!(self.kind.replace('-', " ")));
        body.insert("status".into(), json!(self.status.as_u16()));
        body.insert("detail".into(), json!(self.detail));
        Value::Object(body)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = answer(self.status, self.body().to_string());
        if let Some(after) = self.retry_after {
            // Whole seconds only, and rounded up: too early is refused again.
            let seconds = after.as_millis().div_ceil(1000).max(1) as u64;
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        Self::internal(&error)
    }
}

/// A step that isn't done, or not undone. The status tells a coordinator what to make of it.
impl From<Stop> for Problem {
    fn from(stop: Stop) -> Self {
        let (kind, detail) = match &stop {
            Stop::Refused(refusal) => ("refused", refusal.title().to_owned()),
            Stop::Undone => ("undone", "This step was undone before it came; it can't happen any more.".to_owned()),
            Stop::Fenced => ("fenced", "The saga has changed hands.".to_owned()),
            Stop::NoStep | Stop::Unreadable(_) | Stop::WrongOp { .. } => ("not-a-step", format!("{stop}.")),
            Stop::Database(error) if stop.http_status().is_server_error() => {
                tracing::warn!(%error, "a step was rolled back");
                ("unavailable", "The database is busy or lost.".to_owned())
            }
            _ => return Self::internal(&stop),
        };
        Self::new(stop.http_status(), kind, detail)
    }
}

/// JSON text with the content type that goes with its status.
pub(crate) fn answer(status: StatusCode, body: String) -> Response {
    let kind = if status.is_client_error() || status.is_server_error() {
        "application/problem+json"
    } else {
        "application/json"
    };
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response()
}
