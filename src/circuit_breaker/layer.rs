//! The layer: a breaker, and the protocol it is used in.

use std::time::Duration;

use ::http::{HeaderMap, StatusCode};
use tower_layer::Layer;

use super::{
    breaker::CircuitBreaker,
    config::{CircuitBreakerConfig, SlowCalls, WhenOpen, Window},
    service::CircuitBreakerService,
};
use crate::{
    BoxError,
    config::or_panic,
    name::Name,
    outcome::Outcome,
    protocol::{Grpc, Http, Plain, grpc::Code},
};

/// Puts a [circuit breaker](super) around a service.
///
/// The layer *is* the breaker: all its clones, and all the services it makes, share one. Its setters change that one
/// breaker at once, also when its [`handle`](Self::handle) or a clone is already out.
///
/// # Panics
///
/// Every setter panics on a value that makes no sense, naming the setting and its range; for settings that come from a
/// file use [`CircuitBreaker::with_config`] and [`from_policy`](Self::from_policy).
#[derive(Debug, Clone)]
pub struct CircuitBreakerLayer<P = Plain> {
    breaker: CircuitBreaker,
    protocol: P,
}

impl CircuitBreakerLayer {
    /// A breaker around any service: an `Err` is a failure, and a refusal is an error.
    pub fn new(name: impl Into<Name>) -> Self {
        Self::from_policy(CircuitBreaker::new(name), Plain::default())
    }

    /// A breaker around an HTTP service: a 5xx is a failure, and a refusal is a 503.
    pub fn http(name: impl Into<Name>) -> CircuitBreakerLayer<Http> {
        CircuitBreakerLayer::from_policy(CircuitBreaker::new(name), Http::default())
    }

    /// A breaker around a gRPC service: the status in the trailers decides, and a refusal is `UNAVAILABLE`.
    pub fn grpc(name: impl Into<Name>) -> CircuitBreakerLayer<Grpc> {
        CircuitBreakerLayer::from_policy(CircuitBreaker::new(name), Grpc::default())
    }
}

impl<C> CircuitBreakerLayer<Plain<C>> {
    /// Judges results by `classify` instead of calling every `Err` a failure.
    pub fn classify<Res, F>(self, classify: F) -> CircuitBreakerLayer<Plain<F>>
    where
        F: Fn(Result<&Res, &BoxError>) -> Outcome,
    {
        CircuitBreakerLayer::from_policy(self.breaker, Plain::new(classify))
    }
}

impl<C> CircuitBreakerLayer<Http<C>> {
    /// Judges the heads of answers by `classify` instead of calling every 5xx a failure.
    pub fn classify<F>(self, classify: F) -> CircuitBreakerLayer<Http<F>>
    where
        F: Fn(StatusCode, &HeaderMap) -> Outcome,
    {
        CircuitBreakerLayer::from_policy(self.breaker, Http::new(classify))
    }
}

impl<C> CircuitBreakerLayer<Grpc<C>> {
    /// Judges the status of calls by `classify` instead of by [`ServerFaults`](crate::protocol::ServerFaults).
    pub fn classify<F>(self, classify: F) -> CircuitBreakerLayer<Grpc<F>>
    where
        F: Fn(Code, &HeaderMap) -> Outcome,
    {
        CircuitBreakerLayer::from_policy(self.breaker, Grpc::new(classify))
    }
}

impl<P> CircuitBreakerLayer<P> {
    /// A layer of this breaker, which may have other layers too, in this protocol.
    pub const fn from_policy(breaker: CircuitBreaker, protocol: P) -> Self {
        Self { breaker, protocol }
    }

    /// The breaker, to watch and to steer.
    pub fn handle(&self) -> CircuitBreaker {
        self.breaker.clone()
    }

    /// What the rates are taken over. Default: the last 100 calls. See [`CircuitBreakerConfig::window`].
    #[must_use]
    #[track_caller]
    pub fn window(self, window: Window) -> Self {
        self.set(|config| config.window = window)
    }

    /// Opens when at least this share of the calls in the window failed. Default: 0.5. See
    /// [`CircuitBreakerConfig::failure_rate`].
    #[must_use]
    #[track_caller]
    pub fn failure_rate(self, rate: f64) -> Self {
        self.set(|config| config.failure_rate = Some(rate))
    }

    /// Never opens for a rate of failures.
    #[must_use]
    #[track_caller]
    pub fn no_failure_rate(self) -> Self {
        self.set(|config| config.failure_rate = None)
    }

    /// Opens when at least a share of `rate` of the calls took longer than `longer_than`. Default: off. See
    /// [`CircuitBreakerConfig::slow_calls`].
    #[must_use]
    #[track_caller]
    pub fn slow_calls(self, longer_than: Duration, rate: f64) -> Self {
        self.set(|config| config.slow_calls = Some(SlowCalls::new(longer_than, rate)))
    }

    /// Opens after so many failures in a row. Default: off. See [`CircuitBreakerConfig::consecutive_failures`].
    #[must_use]
    #[track_caller]
    pub fn consecutive_failures(self, failures: u32) -> Self {
        self.set(|config| config.consecutive_failures = Some(failures))
    }

    /// The rates count only from so many calls on. Default: 20. See [`CircuitBreakerConfig::minimum_calls`].
    #[must_use]
    #[track_caller]
    pub fn minimum_calls(self, calls: u32) -> Self {
        self.set(|config| config.minimum_calls = calls)
    }

    /// How long the breaker stays open before it lets probes through. Default: 5 s. See
    /// [`CircuitBreakerConfig::open_for`].
    #[must_use]
    #[track_caller]
    pub fn open_for(self, open_for: Duration) -> Self {
        self.set(|config| config.open_for = open_for)
    }

    /// The longest the breaker stays open without a probe. Default: 60 s. See [`CircuitBreakerConfig::open_at_most`].
    #[must_use]
    #[track_caller]
    pub fn open_at_most(self, open_at_most: Duration) -> Self {
        self.set(|config| config.open_at_most = open_at_most)
    }

    /// How many calls a half-open breaker lets through. Default: 5. See [`CircuitBreakerConfig::half_open_calls`].
    #[must_use]
    #[track_caller]
    pub fn half_open_calls(self, calls: u32) -> Self {
        self.set(|config| config.half_open_calls = calls)
    }

    /// So many successes close a half-open breaker, and one failure opens it. Default: off. See
    /// [`CircuitBreakerConfig::half_open_successes`].
    #[must_use]
    #[track_caller]
    pub fn half_open_successes(self, successes: u32) -> Self {
        self.set(|config| config.half_open_successes = Some(successes))
    }

    /// How long a probe may take. Default: 30 s. See [`CircuitBreakerConfig::half_open_for`].
    #[must_use]
    #[track_caller]
    pub fn half_open_for(self, half_open_for: Duration) -> Self {
        self.set(|config| config.half_open_for = half_open_for)
    }

    /// After closing, lets a share of the calls through that grows from 10 % to all over this time. Default: off. See
    /// [`CircuitBreakerConfig::ramp`].
    #[must_use]
    #[track_caller]
    pub fn ramp(self, over: Duration) -> Self {
        self.set(|config| config.ramp = Some(over))
    }

    /// What callers see while the breaker is open. Default: a refusal. See [`CircuitBreakerConfig::when_open`].
    #[must_use]
    #[track_caller]
    pub fn when_open(self, when_open: WhenOpen) -> Self {
        self.set(|config| config.when_open = when_open)
    }

    pub(super) fn into_parts(self) -> (CircuitBreaker, P) {
        (self.breaker, self.protocol)
    }

    #[track_caller]
    fn set(self, set: impl FnOnce(&mut CircuitBreakerConfig)) -> Self {
        let mut config = self.breaker.config();
        set(&mut config);
        or_panic(self.breaker.apply(config));
        self
    }
}

impl<S, P: Clone> Layer<S> for CircuitBreakerLayer<P> {
    type Service = CircuitBreakerService<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreakerService::new(inner, self.breaker.clone(), self.protocol.clone())
    }
}
