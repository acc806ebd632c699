//! The two questions only the caller can answer: may this request be carried out twice, and would that help?

use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method, StatusCode, request};

use crate::{BoxError, protocol::grpc::Code};

/// The rules for a plain service.
pub trait RetryResult<Req, Res> {
    /// May this request be carried out twice?
    fn is_safe(&self, request: &Req) -> bool;

    /// Would another attempt help? Not asked about a [`Rejection`](crate::Rejection), which is never retried.
    fn would_help(&self, result: Result<&Res, &BoxError>) -> bool;

    /// Nobody has said what is safe.
    #[doc(hidden)]
    fn is_unsaid(&self) -> bool {
        false
    }
}

/// The rules for an HTTP service.
///
/// Not asked about our own refusals, or answers with `x-envoy-overloaded`, which are never retried; nor about transport
/// errors, which always are where the request is safe, or provably wasn't sent.
pub trait RetryHead {
    /// May this request be carried out twice?
    fn is_safe(&self, head: &request::Parts) -> bool;

    /// Would another attempt help?
    fn would_help(&self, status: StatusCode, headers: &HeaderMap) -> bool;
}

/// The rules for a gRPC service.
///
/// Not asked where the server says no (`grpc-retry-pushback-ms`), nor about our own refusals. A transport error counts
/// as `UNAVAILABLE`.
pub trait RetryStatus {
    /// May this call be carried out twice?
    fn is_safe(&self, head: &request::Parts) -> bool;

    /// Would another attempt help?
    fn would_help(&self, code: Code, trailers: &HeaderMap) -> bool;

    /// Nobody has said what is safe.
    #[doc(hidden)]
    fn is_unsaid(&self) -> bool {
        false
    }
}

/// The header by which the sender of a request says that its receiver carries it out once, however often it comes.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Whether an HTTP request may be carried out twice: `GET`, `HEAD`, `OPTIONS`, `TRACE`, `PUT` and `DELETE` (RFC 9110,
/// 9.2.2), and whatever has an `Idempotency-Key`. The default for HTTP.
pub fn is_idempotent(head: &request::Parts) -> bool {
    matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE)
        || head.headers.contains_key(IDEMPOTENCY_KEY)
}

/// Whether an HTTP status says that another attempt may help: 408, 429, 502, 503, 504. The default for HTTP.
pub fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 502 | 503 | 504)
}

/// The default rules.
///
/// | | safe | would help |
/// |---|---|---|
/// | plain | nothing, until you say so | every error |
/// | http | [`is_idempotent`] | [`is_transient`] |
/// | grpc | everything | `UNAVAILABLE` |
#[derive(Debug, Clone, Copy, Default)]
pub struct Stock;

impl<Req, Res> RetryResult<Req, Res> for Stock {
    fn is_safe(&self, _request: &Req) -> bool {
        false
    }

    fn would_help(&self, result: Result<&Res, &BoxError>) -> bool {
        result.is_err()
    }

    fn is_unsaid(&self) -> bool {
        true
    }
}

impl RetryHead for Stock {
    fn is_safe(&self, head: &request::Parts) -> bool {
        is_idempotent(head)
    }

    fn would_help(&self, status: StatusCode, _headers: &HeaderMap) -> bool {
        is_transient(status)
    }
}

impl RetryStatus for Stock {
    fn is_safe(&self, _head: &request::Parts) -> bool {
        true
    }

    fn would_help(&self, code: Code, _trailers: &HeaderMap) -> bool {
        code == Code::Unavailable
    }
}

/// Every request may be carried out twice; otherwise as `R`.
#[derive(Debug, Clone, Copy)]
pub struct Idempotent<R> {
    pub(crate) rules: R,
}

/// A request may be carried out twice where `F` says so; otherwise as `R`.
#[derive(Clone, Copy)]
pub struct SafeWhen<F, R> {
    pub(crate) safe: F,
    pub(crate) rules: R,
}

/// Another attempt would help where `F` says so; otherwise as `R`.
#[derive(Clone, Copy)]
pub struct RetryIf<F, R> {
    pub(crate) helps: F,
    pub(crate) rules: R,
}

/// Another attempt would help after these gRPC codes; otherwise as `R`.
#[derive(Debug, Clone, Copy)]
pub struct OnCodes<R> {
    pub(crate) codes: u32,
    pub(crate) rules: R,
}

/// These gRPC methods may be called twice; otherwise as `R`.
#[derive(Debug, Clone)]
pub struct OnMethods<R> {
    pub(crate) methods: Arc<[String]>,
    pub(crate) rules: R,
}

// ===== impl Idempotent =====

impl<R: RetryResult<Req, Res>, Req, Res> RetryResult<Req, Res> for Idempotent<R> {
    fn is_safe(&self, _request: &Req) -> bool {
        true
    }

    fn would_help(&self, result: Result<&Res, &BoxError>) -> bool {
        self.rules.would_help(result)
    }
}

impl<R: RetryHead> RetryHead for Idempotent<R> {
    fn is_safe(&self, _head: &request::Parts) -> bool {
        true
    }

    fn would_help(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        self.rules.would_help(status, headers)
    }
}

impl<R: RetryStatus> RetryStatus for Idempotent<R> {
    fn is_safe(&self, _head: &request::Parts) -> bool {
        true
    }

    fn would_help(&self, code: Code, trailers: &HeaderMap) -> bool {
        self.rules.would_help(code, trailers)
    }
}

// ===== impl SafeWhen =====

impl<F, R, Req, Res> RetryResult<Req, Res> for SafeWhen<F, R>
where
    F: Fn(&Req) -> bool,
    R: RetryResult<Req, Res>,
{
    fn is_safe(&self, request: &Req) -> bool {
        (self.safe)(request)
    }

    fn would_help(&self, result: Result<&Res, &BoxError>) -> bool {
        self.rules.would_help(result)
    }
}

impl<F: Fn(&request::Parts) -> bool, R: RetryHead> RetryHead for SafeWhen<F, R> {
    fn is_safe(&self, head: &request::Parts) -> bool {
        (self.safe)(head)
    }

    fn would_help(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        self.rules.would_help(status, headers)
    }
}

impl<F: Fn(&request::Parts) -> bool, R: RetryStatus> RetryStatus for SafeWhen<F, R> {
    fn is_safe(&self, head: &request::Parts) -> bool {
        (self.safe)(head)
    }

    fn would_help(&self, code: Code, trailers: &HeaderMap) -> bool {
        self.rules.would_help(code, trailers)
    }
}

impl<F, R: std::fmt::Debug> std::fmt::Debug for SafeWhen<F, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SafeWhen").field("rules", &self.rules).finish_non_exhaustive()
    }
}

// ===== impl RetryIf =====

impl<F, R, Req, Res> RetryResult<Req, Res> for RetryIf<F, R>
where
    F: Fn(Result<&Res, &BoxError>) -> bool,
    R: RetryResult<Req, Res>,
{
    fn is_safe(&self, request: &Req) -> bool {
        self.rules.is_safe(request)
    }

    fn would_help(&self, result: Result<&Res, &BoxError>) -> bool {
        (self.helps)(result)
    }

    fn is_unsaid(&self) -> bool {
        self.rules.is_unsaid()
    }
}

impl<F: Fn(StatusCode, &HeaderMap) -> bool, R: RetryHead> RetryHead for RetryIf<F, R> {
    fn is_safe(&self, head: &request::Parts) -> bool {
        self.rules.is_safe(head)
    }

    fn would_help(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        (self.helps)(status, headers)
    }
}

impl<F: Fn(Code, &HeaderMap) -> bool, R: RetryStatus> RetryStatus for RetryIf<F, R> {
    fn is_safe(&self, head: &request::Parts) -> bool {
        self.rules.is_safe(head)
    }

    fn would_help(&self, code: Code, trailers: &HeaderMap) -> bool {
        (self.helps)(code, trailers)
    }

    fn is_unsaid(&self) -> bool {
        self.rules.is_unsaid()
    }
}

impl<F, R: std::fmt::Debug> std::fmt::Debug for RetryIf<F, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RetryIf").field("rules", &self.rules).finish_non_exhaustive()
    }
}

// ===== impl OnCodes, OnMethods =====

impl<R: RetryStatus> RetryStatus for OnCodes<R> {
    fn is_safe(&self, head: &request::Parts) -> bool {
        self.rules.is_safe(head)
    }

    fn would_help(&self, code: Code, _trailers: &HeaderMap) -> bool {
        self.codes & (1 << code as u32) != 0
    }

    fn is_unsaid(&self) -> bool {
        self.rules.is_unsaid()
    }
}

impl<R: RetryStatus> RetryStatus for OnMethods<R> {
    fn is_safe(&self, head: &request::Parts) -> bool {
        let path = head.uri.path().trim_start_matches('/');
        self.methods.iter().any(|method| method == path)
    }

    fn would_help(&self, code: Code, trailers: &HeaderMap) -> bool {
        self.rules.would_help(code, trailers)
    }
}
