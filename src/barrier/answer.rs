//! A [`Stop`] as an answer over the wire.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, header::RETRY_AFTER};

use super::stop::Stop;
use crate::protocol::http::problem;

/// When somebody who found the database busy may come back.
const COME_BACK: Duration = Duration::from_secs(1);

impl Stop {
    /// The answer in HTTP: `application/problem+json`, and a `Retry-After` on a 503.
    pub fn into_http(self) -> Response<Bytes> {
        let mut response =
            problem(self.http_status(), &self.told(), &[("policy", "barrier"), ("reason", self.reason())]);
        if self.http_status() == http::StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, COME_BACK.as_secs().into());
        }
        response
    }

    /// Why, as a label of a metric or a field of a log.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Undone => "undone",
            Self::Fenced => "fenced",
            Self::NoStep => "no_step",
            Self::Unreadable(_) => "unreadable_step",
            Self::WrongOp { .. } => "wrong_op",
            Self::NoLayer => "no_layer",
            Self::Database(_) => "database",
            Self::Answer(_) => "answer",
            Self::Failed(_) => "failed",
        }
    }
}

#[cfg(feature = "axum")]
impl axum_core::response::IntoResponse for Stop {
    fn into_response(self) -> axum_core::response::Response {
        self.into_http().map(axum_core::body::Body::from)
    }
}

#[cfg(feature = "tonic")]
impl From<Stop> for tonic::Status {
    fn from(stop: Stop) -> Self {
        let code = stop.grpc_code();
        let mut status = Self::new(tonic::Code::from(code as i32), stop.told());
        if code == crate::protocol::grpc::Code::Unavailable {
            let millis = COME_BACK.as_millis() as u64;
            status.metadata_mut().insert(crate::protocol::retry_after::PUSHBACK, millis.into());
        }
        status
    }
}
