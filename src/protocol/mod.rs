//! What an exchange is: how it is judged, observed to its end, and refused.
//!
//! HTTP failures are `Ok`. An axum handler is `Infallible`, and a gRPC call that failed is an HTTP 200 whose trailers
//! say so, perhaps a minute after its head. A layer that takes `Err` for a failure and the head of a response for its
//! end protects nothing there. So every layer of this crate is written once, over a [`Protocol`], of which there are
//! three:
//!
//! | | failure | an exchange ends | a refusal is |
//! |---|---|---|---|
//! | [`Plain`] | `Err` | with the result | an error, a [`Rejection`] |
//! | [`Http`] | transport errors, 5xx, a body that breaks off | with the response body | a 503, 429 or 504 with `application/problem+json` |
//! | [`Grpc`] | transport errors, the server's status codes | with the trailers | a trailers-only `UNAVAILABLE`, `RESOURCE_EXHAUSTED` or `DEADLINE_EXCEEDED` |
//!
//! [`Http`] and [`Grpc`] keep the inner service's error type (an `Infallible` stays `Infallible`), [`Plain`] has
//! [`BoxError`](crate::BoxError).
//!
//! What counts as a failure is a value too, given to a layer's `classify`: see [`ClassifyResult`], [`ClassifyHead`]
//! and [`ClassifyStatus`].

pub mod body;
pub(crate) mod cause;
pub mod future;
pub mod grpc;
pub mod http;
pub mod plain;
pub(crate) mod rate_limit;
pub(crate) mod retry_after;
pub(crate) mod sent;

pub use self::{
    grpc::{ClassifyStatus, Grpc, ServerFaults},
    http::{ClassifyHead, Http, ServerErrors},
    plain::{ClassifyResult, Errors, Plain},
};

use crate::{outcome::Outcome, rejection::Rejection};

/// How an exchange is judged, observed to its end, and refused.
///
/// `Res` and `E` are the inner service's response and error.
pub trait Protocol<Res, E> {
    /// The response of a layer that hands an observer to the end of the exchange.
    type Response<O: Observer>;
    /// The error of such a layer.
    type Error;

    /// Hands on the result and sees to it that `observer` learns how the exchange ended.
    ///
    /// # Errors
    ///
    /// The inner service's error, as this protocol hands it on.
    fn observe<O: Observer>(&self, result: Result<Res, E>, observer: O) -> Result<Self::Response<O>, Self::Error>;

    /// Answers without having called the service. Boxed, because a refusal is rare and every future has room for one.
    ///
    /// # Errors
    ///
    /// Where a refusal is an error, the `rejection`.
    fn reject<O: Observer>(&self, rejection: Box<Rejection>) -> Result<Self::Response<O>, Self::Error>;

    /// The inner service's error, as this protocol hands it on.
    fn error(&self, error: E) -> Self::Error;
}

/// Told once how an exchange ended; dropped without being told, the exchange was cancelled.
pub trait Observer {
    /// The exchange has ended, and this is how.
    fn finish(self, outcome: Outcome);
}

/// Watches nothing.
impl Observer for () {
    fn finish(self, _outcome: Outcome) {}
}
