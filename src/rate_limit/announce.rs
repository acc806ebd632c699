//! Who is told how much is left.

use http::Response;

use crate::{
    protocol::{Grpc, Http, Plain},
    rate_limit::fields::Fields,
};

/// Whether and how the responses of a protocol say how much is left of a limit.
///
/// Implemented for the protocols there are. HTTP has the fields `RateLimit-Policy` and `RateLimit`; gRPC and plain
/// services have no such thing.
pub trait Announce<Res> {
    /// Says it in `response`. `tell` makes the header fields.
    #[doc(hidden)]
    fn announce(&self, response: &mut Res, tell: Tell<'_>);
}

/// Makes the fields, if somebody can say them.
#[doc(hidden)]
#[derive(Debug)]
pub struct Tell<'a>(pub(super) &'a super::handle::RateLimit);

impl Tell<'_> {
    fn fields(&self) -> Fields {
        self.0.fields()
    }
}

impl<Res, C> Announce<Res> for Plain<C> {
    fn announce(&self, _response: &mut Res, _tell: Tell<'_>) {}
}

impl<B, C> Announce<Response<B>> for Http<C> {
    fn announce(&self, response: &mut Response<B>, tell: Tell<'_>) {
        tell.fields().add_to(response.headers_mut());
    }
}

impl<B, C> Announce<Response<B>> for Grpc<C> {
    fn announce(&self, _response: &mut Response<B>, _tell: Tell<'_>) {}
}
