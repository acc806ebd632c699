//! The service.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower_service::Service;

use super::{
    course::Course,
    future::{Later, ResponseFuture},
    handle::{Retry, Settings},
};
use crate::{
    protocol::Plain,
    repeat::{Stock, protocol::Repeat},
};

/// Calls the inner service again when another attempt is allowed and may help. Made by a
/// [`RetryLayer`](super::RetryLayer).
#[derive(Debug, Clone)]
pub struct RetryService<S, P = Plain, R = Stock> {
    inner: S,
    /// The policy's, as of the last call. They lead to the policy, so that a clone counts one reference and not two.
    settings: Arc<Settings>,
    protocol: P,
    rules: R,
}

impl<S, P, R> RetryService<S, P, R> {
    /// The service under `retry`.
    pub fn new(inner: S, retry: Retry, protocol: P, rules: R) -> Self {
        Self { inner, settings: retry.settings(), protocol, rules }
    }

    define_inner_service_accessors!();
}

impl<S, P, R, Req> Service<Req> for RetryService<S, P, R>
where
    S: Service<Req> + Clone,
    P: Repeat<Req, S::Response, S::Error, R> + Clone,
    R: Clone,
{
    type Response = P::Response;
    type Error = P::Error;
    type Future = ResponseFuture<S, P, R, Req>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), P::Error>> {
        self.inner.poll_ready(cx).map_err(|error| self.protocol.error(error))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        self.settings.refresh();
        let settings = &self.settings;
        let (request, later) = if settings.config.max_attempts > 1 {
            let (request, kept) = self.protocol.keep(request, &settings.limit);
            // The clone has no readiness, and is made ready before it is called.
            (request, kept.map(|kept| Later { inner: self.inner.clone(), kept }))
        } else {
            (request, None)
        };
        let course = Course::new(settings.clone());
        // What is below looks for this call's note when it is polled, so there is no need for one here.
        let call = self.inner.call(request);
        ResponseFuture::new(call, later, course, self.protocol.clone(), self.rules.clone())
    }
}

#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService, P, R> tonic::server::NamedService for RetryService<S, P, R> {
    const NAME: &'static str = S::NAME;
}
