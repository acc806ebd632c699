//! The layer.

use std::{fmt, time::Duration};

use tower_layer::Layer;

use crate::{
    config::or_panic,
    name::Name,
    protocol::{Grpc, Http, Plain},
    rate_limit::{config::RateLimitConfig, event, handle::RateLimit, service::RateLimitService, weigh::One},
};

/// Bounds how many calls a service gets in a time. See the [module](crate::rate_limit).
///
/// The limit is in the layer: whatever this layer and its clones are applied to shares it.
#[derive(Clone)]
pub struct RateLimitLayer<P = Plain, W = One> {
    limit: RateLimit,
    protocol: P,
    weigh: W,
}

impl RateLimitLayer {
    /// A rate limit for any service; a refusal is a [`Rejection`](crate::Rejection). 100 calls a second until it is
    /// told otherwise.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn new(name: impl Into<Name>) -> Self {
        Self::from_policy(RateLimit::new(name), Plain::default())
    }

    /// A rate limit for HTTP; a refusal is a 429 that says when to come back.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn http(name: impl Into<Name>) -> RateLimitLayer<Http> {
        RateLimitLayer::from_policy(RateLimit::new(name), Http::default())
    }

    /// A rate limit for gRPC; a refusal is a `RESOURCE_EXHAUSTED` that says when to come back.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn grpc(name: impl Into<Name>) -> RateLimitLayer<Grpc> {
        RateLimitLayer::from_policy(RateLimit::new(name), Grpc::default())
    }
}

impl<P> RateLimitLayer<P> {
    /// A layer for a limit that exists already, perhaps one with [settings](RateLimit::with_config) from a file.
    pub fn from_policy(limit: RateLimit, protocol: P) -> Self {
        Self { limit, protocol, weigh: One }
    }
}

impl<P, W> RateLimitLayer<P, W> {
    /// How many `calls` are let through in each `per`, in the long run. By default 100 in a second. See
    /// [`RateLimitConfig::limit`].
    ///
    /// # Panics
    ///
    /// If either is zero, `per` is more than a year, or it is more than ten a microsecond.
    #[must_use]
    #[track_caller]
    pub fn limit(self, calls: u32, per: Duration) -> Self {
        self.set(|config| (config.limit, config.per) = (calls, per))
    }

    /// How many calls may come at once after a quiet time. At least 1, by default as many as the limit. See
    /// [`RateLimitConfig::burst`].
    ///
    /// # Panics
    ///
    /// If it is zero, or more than can be earned in a year.
    #[must_use]
    #[track_caller]
    pub fn burst(self, calls: u32) -> Self {
        self.set(|config| config.burst = Some(calls))
    }

    /// For how many calls each counts. By default for one.
    ///
    /// One that weighs nothing is always let through, one that weighs more than the burst never is.
    #[must_use]
    pub fn weigh<Req, F>(self, weigh: F) -> RateLimitLayer<P, F>
    where
        F: Fn(&Req) -> u32,
    {
        RateLimitLayer { limit: self.limit, protocol: self.protocol, weigh }
    }

    /// How long a call may wait for its turn. By default zero: what comes too soon is refused at once. See
    /// [`RateLimitConfig::max_wait`].
    ///
    /// # Panics
    ///
    /// If it is more than a year.
    #[must_use]
    #[track_caller]
    pub fn max_wait(self, longest: Duration) -> Self {
        self.set(|config| config.max_wait = longest)
    }

    /// How many calls may wait at once. 1 to 1,000,000, by default 100. See [`RateLimitConfig::max_queue`].
    ///
    /// # Panics
    ///
    /// If it is out of this range.
    #[must_use]
    #[track_caller]
    pub fn max_queue(self, calls: usize) -> Self {
        self.set(|config| config.max_queue = calls)
    }

    /// The limit, to be watched and steered.
    pub fn handle(&self) -> RateLimit {
        self.limit.clone()
    }

    pub(super) fn into_parts(self) -> (RateLimit, P, W) {
        (self.limit, self.protocol, self.weigh)
    }

    #[track_caller]
    fn set(self, change: impl FnOnce(&mut RateLimitConfig)) -> Self {
        let before = or_panic(self.limit.change(change));
        // A limit that nobody else has yet is being set up, which is no event.
        if self.limit.is_shared() {
            event::reconfigured(self.limit.name(), &before, &self.limit.config());
        }
        self
    }
}

impl<C, W> RateLimitLayer<Http<C>, W> {
    /// Lets the answers to calls that were let through say what is left, in the fields `RateLimit-Policy` and
    /// `RateLimit`, as every refusal does. See [`RateLimitConfig::announce`].
    #[must_use]
    #[track_caller]
    pub fn announce(self) -> Self {
        self.set(|config| config.announce = true)
    }
}

impl<S, P: Clone, W: Clone> Layer<S> for RateLimitLayer<P, W> {
    type Service = RateLimitService<S, P, W>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimitService::new(inner, self.limit.clone(), self.protocol.clone(), self.weigh.clone())
    }
}

impl<P, W> fmt::Debug for RateLimitLayer<P, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RateLimitLayer").field(&self.limit).finish()
    }
}
