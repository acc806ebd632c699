//! What is answered where the handler's own answer can't be given.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::RETRY_AFTER};

use crate::{
    BoxError, Elapsed, Rejection,
    name::Name,
    protocol::{
        grpc::{self, Code},
        http as http_protocol, retry_after,
    },
    saga::{
        SagaError,
        error::Kind,
        event,
        layer::idempotency::{KeyProblem, StoredAnswer},
    },
};

/// What is answered where the handler's own answer can't be given.
#[doc(hidden)]
#[derive(Debug)]
pub enum Instead {
    /// The handler wasn't called.
    Refused(Rejection),
    /// The time was up; what the handler did is being undone.
    Elapsed(Elapsed),
    /// It was to commit, and whether it did isn't known.
    Unknown(SagaError),
    /// It was to commit, and didn't; what the handler did is being undone.
    Undone(SagaError),
    /// Another saga works on the same.
    Conflict { locked: bool },
    /// Something is wrong with the idempotency key, or with asking for it.
    Key(KeyProblem),
    /// The request was answered before.
    Replay(StoredAnswer),
}

/// How long whoever is told to come back is to wait.
pub(crate) const COME_BACK: Duration = Duration::from_secs(1);

/// How to say it over the wire.
pub(crate) struct Said {
    pub(crate) status: StatusCode,
    pub(crate) code: Code,
    pub(crate) title: String,
    pub(crate) reason: &'static str,
    /// When to come back, if that may be worth while.
    pub(crate) again: Option<Duration>,
}

impl Said {
    pub(crate) fn new(status: StatusCode, code: Code, reason: &'static str, title: impl Into<String>) -> Self {
        Self { status, code, title: title.into(), reason, again: None }
    }

    pub(crate) fn again(self, wait: Duration) -> Self {
        Self { again: Some(wait), ..self }
    }

    /// As a problem document, with one `more` member.
    pub(crate) fn problem(self, more: Option<(&str, &str)>) -> Response<Bytes> {
        let members: Vec<_> = [("policy", "saga"), ("reason", self.reason)].into_iter().chain(more).collect();
        let mut response = http_protocol::problem(self.status, &self.title, &members);
        if let Some(wait) = self.again {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(http_protocol::whole_seconds(wait)));
        }
        response
    }

    fn http(self, name: &Name) -> Response<Bytes> {
        self.problem(Some(("name", name.as_str())))
    }

    fn grpc(self, name: &Name) -> Response<Bytes> {
        let mut response = grpc::trailers_only(self.code, &format!("{name}: {}", self.title));
        if let Some(wait) = self.again {
            response.headers_mut().insert(retry_after::PUSHBACK, grpc::pushback(wait));
        }
        response
    }
}

impl Instead {
    /// The answer to a saga that could not be begun.
    pub(crate) fn not_begun(error: SagaError, name: &Name) -> Self {
        match error.kind() {
            Kind::Draining => Self::Refused(Rejection::new("saga", name.clone(), crate::Reason::ShuttingDown)),
            _ => Self::Undone(error),
        }
    }

    /// Says that it is given, and counts it.
    pub(crate) fn tell(&self, name: &Name) {
        let reason = match self {
            Self::Refused(rejection) => return event::rejected(rejection),
            Self::Elapsed(_) => "elapsed",
            Self::Unknown(_) => "outcome_unknown",
            Self::Undone(error) if *error.kind() == Kind::TakenOver => "taken_over",
            Self::Undone(_) => "not_committed",
            Self::Conflict { .. } => "exclusive",
            Self::Key(problem) => problem.said().reason,
            Self::Replay(_) => "replayed",
        };
        event::answered(name, reason);
    }

    pub(crate) fn http(self, name: &Name) -> Response<Bytes> {
        match self {
            Self::Refused(rejection) => http_protocol::refusal(rejection),
            Self::Elapsed(elapsed) => {
                let said = Said::new(StatusCode::GATEWAY_TIMEOUT, Code::DeadlineExceeded, "elapsed", elapsed.title());
                let mut response = said.http(name);
                response.extensions_mut().insert(elapsed);
                response
            }
            Self::Replay(answer) => answer.http(),
            other => other.said().http(name),
        }
    }

    /// Trailers-only, but for a replay.
    pub(crate) fn grpc(self, name: &Name) -> Response<Bytes> {
        match self {
            Self::Refused(rejection) => grpc::refusal(rejection),
            Self::Elapsed(elapsed) => {
                let mut response = grpc::trailers_only(Code::DeadlineExceeded, &elapsed.to_string());
                response.extensions_mut().insert(elapsed);
                response
            }
            Self::Replay(answer) => answer.http(),
            other => other.said().grpc(name),
        }
    }

    pub(crate) fn plain(self, name: &Name) -> BoxError {
        match self {
            Self::Refused(rejection) => rejection.into(),
            Self::Elapsed(elapsed) => elapsed.into(),
            Self::Unknown(error) | Self::Undone(error) => error.into(),
            Self::Conflict { .. } => SagaError::new(Kind::Exclusive).into(),
            Self::Key(_) | Self::Replay(_) => {
                SagaError::with_source(Kind::KeyTaken, format!("{name}: a plain service has no idempotency keys"))
                    .into()
            }
        }
    }

    fn said(self) -> Said {
        use StatusCode as Http;
        match self {
            // Not a 503: that reads as "not done, try again", and without an idempotency key it would be done twice.
            Self::Unknown(error) => Said::new(
                Http::INTERNAL_SERVER_ERROR,
                Code::Unknown,
                "outcome_unknown",
                format!("whether it was done is not known: {error}"),
            ),
            Self::Undone(error) if *error.kind() == Kind::TakenOver => {
                Said::new(Http::SERVICE_UNAVAILABLE, Code::Unavailable, "taken_over", error.to_string())
                    .again(COME_BACK)
            }
            Self::Undone(error) => Said::new(
                Http::INTERNAL_SERVER_ERROR,
                Code::Internal,
                "not_committed",
                format!("the saga could not commit: {error}"),
            ),
            Self::Conflict { locked } => {
                let status = if locked { Http::LOCKED } else { Http::CONFLICT };
                Said::new(status, Code::Aborted, "exclusive", "another saga is working on the same").again(COME_BACK)
            }
            Self::Key(problem) => problem.said(),
            Self::Refused(_) | Self::Elapsed(_) | Self::Replay(_) => unreachable!("they have answers of their own"),
        }
    }
}
