//! What may be carried out twice when nobody has said it.

use http::{HeaderMap, StatusCode, request};

use crate::{
    BoxError,
    protocol::grpc::Code,
    repeat::{RetryHead, RetryResult, RetryStatus, Stock},
};

/// The default rules of a hedge: those of a [retry](Stock), but that a gRPC method has to be named.
///
/// A retry sends a call again that failed with `UNAVAILABLE`, and most often wasn't carried out; a hedge sends one again
/// that is being carried out right now.
#[derive(Debug, Clone, Copy, Default)]
pub struct Careful;

impl<Req, Res> RetryResult<Req, Res> for Careful {
    fn is_safe(&self, request: &Req) -> bool {
        RetryResult::<Req, Res>::is_safe(&Stock, request)
    }

    fn would_help(&self, result: Result<&Res, &BoxError>) -> bool {
        RetryResult::<Req, Res>::would_help(&Stock, result)
    }

    fn is_unsaid(&self) -> bool {
        RetryResult::<Req, Res>::is_unsaid(&Stock)
    }
}

impl RetryHead for Careful {
    fn is_safe(&self, head: &request::Parts) -> bool {
        RetryHead::is_safe(&Stock, head)
    }

    fn would_help(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        RetryHead::would_help(&Stock, status, headers)
    }
}

impl RetryStatus for Careful {
    fn is_safe(&self, _head: &request::Parts) -> bool {
        false
    }

    fn would_help(&self, code: Code, trailers: &HeaderMap) -> bool {
        RetryStatus::would_help(&Stock, code, trailers)
    }

    fn is_unsaid(&self) -> bool {
        true
    }
}
