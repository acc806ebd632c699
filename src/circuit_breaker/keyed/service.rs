//! The middleware.

use std::{
    fmt,
    task::{Context, Poll},
};

use tower_service::Service;

use super::policy::KeyedCircuitBreaker;
use crate::{
    circuit_breaker::permit::Permit,
    keyed::Key,
    protocol::{Protocol, future::Exchange},
};

/// A service behind a [circuit breaker a key](super::super::KeyedCircuitBreaker).
///
/// It is ready when the inner service is: that one is asked before the request is there, and so before the key is known.
/// What its readiness reserved stays reserved when a call is refused, for the next call of this instance.
#[derive(Clone)]
pub struct KeyedCircuitBreakerService<S, K, F, P> {
    inner: S,
    breakers: KeyedCircuitBreaker<K>,
    key: F,
    protocol: P,
}

impl<S, K, F, P> KeyedCircuitBreakerService<S, K, F, P> {
    /// A service behind `breakers`, in this protocol; `key` says whose call a request is.
    pub const fn new(inner: S, breakers: KeyedCircuitBreaker<K>, key: F, protocol: P) -> Self {
        Self { inner, breakers, key, protocol }
    }

    define_inner_service_accessors!();
}

#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService, K, F, P> tonic::server::NamedService for KeyedCircuitBreakerService<S, K, F, P> {
    const NAME: &'static str = S::NAME;
}

impl<S, K, F, P, Req> Service<Req> for KeyedCircuitBreakerService<S, K, F, P>
where
    S: Service<Req>,
    K: Key,
    F: Fn(&Req) -> K,
    P: Protocol<S::Response, S::Error> + Clone,
{
    type Response = P::Response<Permit>;
    type Error = P::Error;
    type Future = Exchange<S::Future, P, Permit>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), P::Error>> {
        self.inner.poll_ready(cx).map_err(|error| self.protocol.error(error))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let key = (self.key)(&request);
        let protocol = self.protocol.clone();
        match self.breakers.try_acquire(&key) {
            Ok(permit) => Exchange::called(self.inner.call(request), protocol, permit),
            Err(rejection) => Exchange::refused(Box::new(rejection), protocol),
        }
    }
}

/// By hand, because a function has no `Debug`.
impl<S: fmt::Debug, K: Key, F, P: fmt::Debug> fmt::Debug for KeyedCircuitBreakerService<S, K, F, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inner, breakers, protocol, .. } = self;
        let mut debug = f.debug_struct("KeyedCircuitBreakerService");
        debug.field("inner", inner).field("breakers", breakers).field("protocol", protocol).finish()
    }
}
