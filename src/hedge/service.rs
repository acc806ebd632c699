//! The service.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower_service::Service;

use super::{course::Course, future::ResponseFuture, handle::Hedge, rules::Careful, settings::Settings};
use crate::{protocol::Plain, repeat::protocol::Repeat};

/// Sends a request again, beside the first time, when its answer takes long. Made by a
/// [`HedgeLayer`](super::HedgeLayer).
///
/// The inner service has to be `Clone`: each hedge makes a clone ready, and calls that.
#[derive(Debug, Clone)]
pub struct HedgeService<S, P = Plain, R = Careful> {
    inner: S,
    /// The policy's, as of the last call. They lead to the policy, so that a clone counts one reference and not two.
    settings: Arc<Settings>,
    protocol: P,
    rules: R,
}

impl<S, P, R> HedgeService<S, P, R> {
    pub(super) fn new(inner: S, hedge: &Hedge, protocol: P, rules: R) -> Self {
        Self { inner, settings: hedge.settings(), protocol, rules }
    }

    define_inner_service_accessors!();
}

impl<S, P, R, Req> Service<Req> for HedgeService<S, P, R>
where
    S: Service<Req> + Clone,
    P: Repeat<Req, S::Response, S::Error, R> + Clone,
    R: Clone,
{
    type Response = P::Response;
    type Error = P::Error;
    type Future = ResponseFuture<S, P, R, Req>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(|error| self.protocol.error(error))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        self.settings.refresh();
        let settings = &self.settings;
        let (request, kept) =
            if settings.config.max_hedges > 0 { self.protocol.keep(request, &settings.limit) } else { (request, None) };
        let course = Course::new(self.protocol.clone(), self.rules.clone(), settings.clone(), kept, &self.inner);
        ResponseFuture::new(self.inner.call(request), course)
    }
}

#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService, P, R> tonic::server::NamedService for HedgeService<S, P, R> {
    const NAME: &'static str = S::NAME;
}
