//! The layer and the service: a limit a key, and whose call a request is.

use std::{
    fmt,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::policy::{KeyedRateLimit, KeyedRateLimitConfig};
use crate::{
    config::or_panic,
    keyed::Key,
    protocol::{Plain, Protocol},
    rate_limit::{
        announce::Announce,
        future::ResponseFuture,
        layer::RateLimitLayer,
        service::call,
        weigh::{One, Weigh},
    },
};

/// Puts a [rate limit](crate::rate_limit) for each key around a service. Made by [`RateLimitLayer::keyed`].
///
/// The layer *is* its limits: all its clones, and all the services it makes, share them.
#[derive(Clone)]
pub struct KeyedRateLimitLayer<K, F, P = Plain, W = One> {
    limits: KeyedRateLimit<K>,
    key: F,
    protocol: P,
    weigh: W,
}

impl<P, W> RateLimitLayer<P, W> {
    /// A limit for each key, with this layer's settings: so that one caller gone wild uses up its own limit, and not
    /// everybody's.
    ///
    /// At most [1024](KeyedRateLimitLayer::max_keys) keys are kept; see [`KeyedRateLimit`] for which goes then.
    ///
    /// What was set so far becomes the template of all keys' limits. This layer's own limit lets no call through any
    /// more, so a [`handle`](Self::handle) from before watches and steers nothing; the new layer has one.
    ///
    /// ```
    /// use std::time::Duration;
    /// use buttress::RateLimitLayer;
    /// use http::Request;
    ///
    /// fn tenant<B>(request: &Request<B>) -> Option<u32> {
    ///     request.headers().get("x-tenant")?.to_str().ok()?.parse().ok()
    /// }
    ///
    /// let minute = Duration::from_secs(60);
    /// let layer = RateLimitLayer::http("api").limit(600, minute).keyed(tenant::<String>).max_keys(10_000);
    /// println!("{} tenants have used theirs up", layer.handle().snapshot().limited);
    /// ```
    #[must_use]
    pub fn keyed<Req, K, F>(self, key: F) -> KeyedRateLimitLayer<K, F, P, W>
    where
        K: Key,
        F: Fn(&Req) -> K,
    {
        let (limit, protocol, weigh) = self.into_parts();
        let config = KeyedRateLimitConfig { each: limit.config(), ..KeyedRateLimitConfig::default() };
        let limits = or_panic(KeyedRateLimit::with_config(limit.name().clone(), config));
        KeyedRateLimitLayer { limits, key, protocol, weigh }
    }
}

impl<K: Key, F, P> KeyedRateLimitLayer<K, F, P> {
    /// A layer of these limits, which may have other layers too. `key` says whose call a request is.
    pub const fn from_policy(limits: KeyedRateLimit<K>, key: F, protocol: P) -> Self {
        Self { limits, key, protocol, weigh: One }
    }
}

impl<K: Key, F, P, W> KeyedRateLimitLayer<K, F, P, W> {
    /// The limits, to watch and to steer.
    pub fn handle(&self) -> KeyedRateLimit<K> {
        self.limits.clone()
    }

    /// For how many keys a limit is kept. By default 1024. See [`KeyedRateLimitConfig::max_keys`].
    ///
    /// # Panics
    ///
    /// If it is zero or more than 65,536.
    #[must_use]
    #[track_caller]
    pub fn max_keys(self, max_keys: usize) -> Self {
        let mut config = self.limits.config();
        config.max_keys = max_keys;
        or_panic(self.limits.reconfigure(config));
        self
    }
}

impl<S, K, F: Clone, P: Clone, W: Clone> Layer<S> for KeyedRateLimitLayer<K, F, P, W> {
    type Service = KeyedRateLimitService<S, K, F, P, W>;

    fn layer(&self, inner: S) -> Self::Service {
        KeyedRateLimitService {
            inner,
            limits: self.limits.clone(),
            key: self.key.clone(),
            protocol: self.protocol.clone(),
            weigh: self.weigh.clone(),
        }
    }
}

/// By hand, because a function has no `Debug`.
impl<K: Key, F, P, W> fmt::Debug for KeyedRateLimitLayer<K, F, P, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyedRateLimitLayer").field(&self.limits).finish()
    }
}

// ===== the service =====

/// A service behind a [rate limit a key](KeyedRateLimit). Made by [`KeyedRateLimitLayer`].
///
/// Nothing is reserved in `poll_ready`, so a clone is as good as the original if the inner service's is.
#[derive(Clone)]
pub struct KeyedRateLimitService<S, K, F, P, W = One> {
    inner: S,
    limits: KeyedRateLimit<K>,
    key: F,
    protocol: P,
    weigh: W,
}

impl<S, K, F, P, W> KeyedRateLimitService<S, K, F, P, W> {
    define_inner_service_accessors!();
}

impl<S, Req, K, F, P, W> Service<Req> for KeyedRateLimitService<S, K, F, P, W>
where
    S: Service<Req> + Clone,
    K: Key,
    F: Fn(&Req) -> K,
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
        let limit = self.limits.of(&(self.key)(&request));
        let weight = self.weigh.weigh(&request);
        call(&mut self.inner, &limit, &self.protocol, weight, request)
    }
}

#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService, K, F, P, W> tonic::server::NamedService for KeyedRateLimitService<S, K, F, P, W> {
    const NAME: &'static str = S::NAME;
}

impl<S: fmt::Debug, K: Key, F, P, W> fmt::Debug for KeyedRateLimitService<S, K, F, P, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateLimitService")
            .field("inner", &self.inner)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
