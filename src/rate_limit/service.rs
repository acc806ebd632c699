//! The service.

use std::{
    fmt, mem,
    task::{Context, Poll},
};

use tower_service::Service;

use crate::{
    protocol::Protocol,
    rate_limit::{
        announce::Announce,
        future::ResponseFuture,
        handle::RateLimit,
        weigh::{One, Weigh},
    },
};

/// Calls the inner service when its rate allows, or not at all. Made by [`RateLimitLayer`](crate::RateLimitLayer).
///
/// The inner service has to be `Clone`: a call that waits takes the instance that is ready along, and leaves a clone
/// behind for the next. Nothing is cloned for a call that needn't wait.
///
/// Nothing is reserved in `poll_ready`, so a clone is as good as the original if the inner service's is.
#[derive(Clone)]
pub struct RateLimitService<S, P, W = One> {
    inner: S,
    limit: RateLimit,
    protocol: P,
    weigh: W,
}

impl<S, P, W> RateLimitService<S, P, W> {
    pub(super) fn new(inner: S, limit: RateLimit, protocol: P, weigh: W) -> Self {
        Self { inner, limit, protocol, weigh }
    }

    define_inner_service_accessors!();
}

impl<S, Req, P, W> Service<Req> for RateLimitService<S, P, W>
where
    S: Service<Req> + Clone,
    P: Protocol<S::Response, S::Error> + Clone,
    P: Announce<<P as Protocol<S::Response, S::Error>>::Response<()>>,
    W: Weigh<Req>,
{
    type Response = <P as Protocol<S::Response, S::Error>>::Response<()>;
    type Error = P::Error;
    type Future = ResponseFuture<S, Req, P>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(|error| self.protocol.error(error))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let weight = self.weigh.weigh(&request);
        call(&mut self.inner, &self.limit, &self.protocol, weight, request)
    }
}

/// Calls `inner`, which is ready, if `limit` allows; waits, or refuses.
#[inline]
pub(super) fn call<S, Req, P>(
    inner: &mut S,
    limit: &RateLimit,
    protocol: &P,
    weight: u32,
    request: Req,
) -> ResponseFuture<S, Req, P>
where
    S: Service<Req> + Clone,
    P: Clone,
{
    let now = limit.now();
    if limit.admit(weight, now) {
        ResponseFuture::called(inner.call(request), protocol.clone(), limit)
    } else {
        call_too_soon(inner, limit, protocol.clone(), weight, request, now)
    }
}

#[cold]
fn call_too_soon<S, Req, P>(
    inner: &mut S,
    limit: &RateLimit,
    protocol: P,
    weight: u32,
    request: Req,
    now: u64,
) -> ResponseFuture<S, Req, P>
where
    S: Service<Req> + Clone,
    P: Clone,
{
    match limit.wait_or_refuse(weight, now) {
        Ok(None) => ResponseFuture::called(inner.call(request), protocol, limit),
        Ok(Some(wait)) => {
            let clone = inner.clone();
            let ready = mem::replace(inner, clone);
            ResponseFuture::queued(wait, ready, request, protocol, limit)
        }
        Err(rejection) => ResponseFuture::refused(Box::new(rejection), protocol, limit),
    }
}

impl<S: fmt::Debug, P, W> fmt::Debug for RateLimitService<S, P, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitService")
            .field("inner", &self.inner)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService, P, W> tonic::server::NamedService for RateLimitService<S, P, W> {
    const NAME: &'static str = S::NAME;
}
