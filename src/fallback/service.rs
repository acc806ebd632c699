//! The service.

use std::{
    fmt,
    task::{Context, Poll},
};

use tower_service::Service;

use super::{
    future::ResponseFuture,
    handle::Fallback,
    protocol::{HandOn, Judge},
    stand_in::{Nothing, StandIn},
};
use crate::protocol::Plain;

/// Answers in the place of what failed. Made by a [`FallbackLayer`](super::FallbackLayer).
///
/// An inner service that can't become ready has no request to answer: that error is handed on.
#[derive(Clone)]
pub struct FallbackService<S, P = Plain, F = Nothing> {
    inner: S,
    fallback: Fallback,
    protocol: P,
    stand_in: F,
}

impl<S, P, F> FallbackService<S, P, F> {
    pub(super) fn new(inner: S, fallback: Fallback, protocol: P, stand_in: F) -> Self {
        Self { inner, fallback, protocol, stand_in }
    }

    define_inner_service_accessors!();
}

impl<S, P, F, Req> Service<Req> for FallbackService<S, P, F>
where
    S: Service<Req>,
    P: HandOn<S::Error> + Judge<S::Response, P::Error> + Judge<F::Given, P::Error> + Clone,
    F: StandIn<P, Req, S::Response, P::Error> + Clone,
{
    type Response = F::Response;
    type Error = P::Error;
    type Future = ResponseFuture<S::Future, S::Response, S::Error, P, F, Req>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), P::Error>> {
        self.inner.poll_ready(cx).map_err(|error| self.protocol.error(error))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let (request, kept) = self.stand_in.keep(request, &self.fallback);
        let (fallback, protocol) = (self.fallback.clone(), self.protocol.clone());
        ResponseFuture::new(self.inner.call(request), kept, fallback, protocol, self.stand_in.clone())
    }
}

impl<S: fmt::Debug, P, F> fmt::Debug for FallbackService<S, P, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackService")
            .field("inner", &self.inner)
            .field("fallback", &self.fallback)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService, P, F> tonic::server::NamedService for FallbackService<S, P, F> {
    const NAME: &'static str = S::NAME;
}
