//! The service.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower_service::Service;

use super::{course::Course, future::ResponseFuture, handle::Retry, lead::Lead};
use crate::{
    protocol::Plain,
    repeat::{Stock, protocol::Repeat},
};

/// Calls the inner service again when another attempt is allowed and may help. Made by a
/// [`RetryLayer`](super::RetryLayer).
///
/// The inner service has to be `Clone`: the first attempt is made with the instance that is ready, and each later one with
/// a clone of the service as it was when this was made. There is no `get_mut` therefore: those wouldn't see the change.
#[derive(Debug, Clone)]
pub struct RetryService<S, P = Plain, R = Stock> {
    inner: S,
    /// The policy's settings as of the last call among them, which lead to the policy; so that a clone counts one reference.
    lead: Arc<Lead<S>>,
    protocol: P,
    rules: R,
}

impl<S, P, R> RetryService<S, P, R> {
    /// The service under `retry`.
    pub fn new(inner: S, retry: Retry, protocol: P, rules: R) -> Self
    where
        S: Clone,
    {
        let lead = Lead::new(inner.clone(), retry.settings());
        Self { inner, lead, protocol, rules }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Gives the inner service back.
    pub fn into_inner(self) -> S {
        self.inner
    }
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
        self.lead.refresh();
        let settings = &self.lead.settings;
        let (request, kept) = if settings.config.max_attempts > 1 {
            self.protocol.keep(request, &settings.limit)
        } else {
            (request, None)
        };
        let course = Course::new(self.lead.clone());
        // What is below looks for this call's note when it is polled, so there is no need for one here.
        let call = self.inner.call(request);
        ResponseFuture::new(call, kept, course, self.protocol.clone(), self.rules.clone())
    }
}

#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService, P, R> tonic::server::NamedService for RetryService<S, P, R> {
    const NAME: &'static str = S::NAME;
}
