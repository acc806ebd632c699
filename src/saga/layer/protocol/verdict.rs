//! Which answers commit.

use http::{HeaderMap, StatusCode};

use crate::{BoxError, protocol::grpc::Code};

/// The default verdict: 2xx, `OK`, and the `Ok` of a plain service commit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Success;

/// Says whether an HTTP answer commits its saga, by its head. Implemented for closures.
pub trait CommitHead {
    /// Whether it does; whatever doesn't is undone.
    fn commits(&self, status: StatusCode, headers: &HeaderMap) -> bool;
}

/// Says whether a gRPC answer commits its saga, by its status. Implemented for closures.
pub trait CommitStatus {
    /// Whether it does; whatever doesn't is undone. `trailers` are the head's where the answer consists of nothing else.
    fn commits(&self, code: Code, trailers: &HeaderMap) -> bool;
}

/// Says whether the result of a plain service commits its saga. Implemented for closures.
pub trait CommitResult<Res> {
    /// Whether it does; whatever doesn't is undone.
    fn commits(&self, result: Result<&Res, &BoxError>) -> bool;
}

impl CommitHead for Success {
    fn commits(&self, status: StatusCode, _headers: &HeaderMap) -> bool {
        status.is_success()
    }
}

impl CommitStatus for Success {
    fn commits(&self, code: Code, _trailers: &HeaderMap) -> bool {
        code == Code::Ok
    }
}

impl<Res> CommitResult<Res> for Success {
    fn commits(&self, result: Result<&Res, &BoxError>) -> bool {
        result.is_ok()
    }
}

impl<F> CommitHead for F
where
    F: Fn(StatusCode, &HeaderMap) -> bool,
{
    fn commits(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        self(status, headers)
    }
}

impl<F> CommitStatus for F
where
    F: Fn(Code, &HeaderMap) -> bool,
{
    fn commits(&self, code: Code, trailers: &HeaderMap) -> bool {
        self(code, trailers)
    }
}

impl<F, Res> CommitResult<Res> for F
where
    F: Fn(Result<&Res, &BoxError>) -> bool,
{
    fn commits(&self, result: Result<&Res, &BoxError>) -> bool {
        self(result)
    }
}
