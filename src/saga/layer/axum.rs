//! For axum handlers: the saga as an argument, its error as an answer.

use std::fmt;

use ::http::{StatusCode, request::Parts};
use axum_core::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};

use crate::{
    protocol::http,
    saga::{Saga, SagaError},
};

/// A handler asked for a [`Saga`] where there is no [`SagaLayer`](super::SagaLayer). Answers 500 and says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoSaga;

/// The saga that a [`SagaLayer::http`](super::SagaLayer::http) around the route began.
impl<S: Sync> FromRequestParts<S> for Saga {
    type Rejection = NoSaga;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, NoSaga> {
        parts.extensions.get().cloned().ok_or(NoSaga)
    }
}

/// The same, or `None` without the layer.
impl<S: Sync> OptionalFromRequestParts<S> for Saga {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get().cloned())
    }
}

/// As a problem document (RFC 9457) whose `reason` tells them apart:
#[doc = include_str!("../../../docs/saga-answers.md")]
impl IntoResponse for SagaError {
    fn into_response(self) -> Response {
        let step = self.step().map(|step| ("step", step.as_str().to_owned()));
        self.said().problem(step.as_ref().map(|(member, step)| (*member, step.as_str()))).map(Body::from)
    }
}

// ===== impl NoSaga =====

impl IntoResponse for NoSaga {
    fn into_response(self) -> Response {
        tracing::error!(policy = "saga", "{self}");
        http::problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            &self.to_string(),
            &[("policy", "saga"), ("reason", "no_saga")],
        )
        .map(Body::from)
    }
}

impl fmt::Display for NoSaga {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the handler asks for a saga, and its route has no SagaLayer: add .layer(SagaLayer::http(..))")
    }
}

impl std::error::Error for NoSaga {}
