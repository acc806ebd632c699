//! Plumbing that every HTTP service here needs and none owns.

pub(crate) mod json;
pub(crate) mod problem;

use axum::Router;
use axum::http::StatusCode;

pub(crate) use json::Json;
pub(crate) use problem::Problem;

/// No request of ours comes near this size.
pub(crate) const LARGEST_BODY: usize = 64 * 1024;

/// What every router of ours has: a limit on bodies, and problems where axum would answer with nothing.
pub(crate) fn finish<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "no-such-path", "There is nothing here."))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "This path has other methods.")
        })
        .layer(axum::extract::DefaultBodyLimit::max(LARGEST_BODY))
}

/// Whether `text` can be the identity of an order: short, and plain enough for a path and a log line.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}
