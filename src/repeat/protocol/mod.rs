//! What has to be known of a protocol to repeat a request: how a request is kept, and what an answer says.

mod grpc;
mod http;
mod plain;

use std::task::{Context, Poll};

pub(crate) use self::http::KeptRequest;
use super::replay::{Limit, Lost};
pub use super::verdict::{Unsaid, Verdict};
use crate::{
    deadline::Deadline,
    protocol::{Grpc, Http, Plain},
};

/// How a request is kept and sent again, and what an answer says, in each of the three protocols.
///
/// Sealed: what users replace are the rules, `R`: see the layers.
pub trait Repeat<Req, Res, E, R>: sealed::Sealed {
    /// What is kept of a request.
    type Kept;
    /// The response of the layer.
    type Response;
    /// The error of the layer.
    type Error;
    /// Whether an answer's head may leave open how the attempt ended.
    const PEEKS: bool = false;

    /// The request to be sent now, and what it takes to send it again; `None` if it is clear that it can't be.
    fn keep(&self, request: Req, limit: &Limit) -> (Req, Option<Self::Kept>);

    /// The request to be sent after so many `retries`.
    ///
    /// # Errors
    ///
    /// If it can't be.
    fn again(&self, kept: &mut Self::Kept, retries: u32) -> Result<Req, Lost>;

    /// Another attempt is made after one that may have been carried out, for those further out who want to know.
    fn mark_sent(&self, _kept: &Self::Kept) {}

    /// The deadline the request came with.
    fn deadline(&self, kept: &Self::Kept) -> Option<Deadline>;

    /// The inner service's error, as this protocol hands it on.
    fn error(&self, error: E) -> Self::Error;

    /// The inner service's answer, as this protocol hands it on.
    ///
    /// # Errors
    ///
    /// The inner service's.
    fn answer(&self, result: Result<Res, E>) -> Result<Self::Response, Self::Error>;

    /// Ready once the answer says how the attempt ended, or that it will not say so soon.
    fn poll_verdict(&self, answer: &mut Result<Self::Response, Self::Error>, cx: &mut Context<'_>) -> Poll<()>;

    /// What the answer says.
    fn judge(&self, rules: &R, answer: &Result<Self::Response, Self::Error>) -> Verdict;

    /// The answer of an attempt that was refused unsent, after one that may have been carried out: a
    /// [`Rejection`](crate::Rejection) would say that nothing was sent, so it must not be found any more.
    ///
    /// # Errors
    ///
    /// Where a refusal is an error, one that says both.
    fn sent_before(&self, refused: Result<Self::Response, Self::Error>) -> Result<Self::Response, Self::Error>;

    /// Whether the request may be carried out twice; `Err` if nobody has said so.
    ///
    /// # Errors
    ///
    /// If nobody has said so.
    fn is_safe(&self, rules: &R, kept: &Self::Kept) -> Result<bool, Unsaid>;
}

mod sealed {
    pub trait Sealed {}

    impl<C> Sealed for super::Plain<C> {}
    impl<C> Sealed for super::Http<C> {}
    impl<C> Sealed for super::Grpc<C> {}
}

/// A proxy's word that it has too much to do to be asked again (Envoy).
const OVERLOADED: &str = "x-envoy-overloaded";
