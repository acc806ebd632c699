//! The layer: a breaker a key, what the key of a request is, and the protocol it is used in.

use std::fmt;

use tower_layer::Layer;

use super::{config::KeyedCircuitBreakerConfig, policy::KeyedCircuitBreaker, service::KeyedCircuitBreakerService};
use crate::{circuit_breaker::layer::CircuitBreakerLayer, config::or_panic, keyed::Key, protocol::Plain};

/// Puts a [circuit breaker](super::super) for each key around a service. Made by [`CircuitBreakerLayer::keyed`].
///
/// The layer *is* its breakers: all its clones, and all the services it makes, share them.
#[derive(Clone)]
pub struct KeyedCircuitBreakerLayer<K, F, P = Plain> {
    breakers: KeyedCircuitBreaker<K>,
    key: F,
    protocol: P,
}

impl<P> CircuitBreakerLayer<P> {
    /// A breaker for each key, with this layer's settings: so that a host that is down doesn't close the way to the
    /// others.
    ///
    /// At most [1024](KeyedCircuitBreakerLayer::max_keys) keys are kept; see [`KeyedCircuitBreaker`] for which goes then. The
    /// service is ready when the inner one is. An error of the inner service's readiness is nobody's failure, because it
    /// belongs to no key.
    ///
    /// What was set so far becomes the template of all keys' breakers. This layer's own breaker lets no call through any
    /// more, so a [`handle`](Self::handle) from before watches and steers nothing; the new layer has one.
    ///
    /// ```
    /// use buttress::CircuitBreakerLayer;
    /// use http::{Request, uri::Authority};
    ///
    /// fn host<B>(request: &Request<B>) -> Option<Authority> {
    ///     request.uri().authority().cloned()
    /// }
    ///
    /// let layer = CircuitBreakerLayer::http("partners").failure_rate(0.3).keyed(host::<String>).max_keys(100);
    /// println!("{} hosts are down", layer.handle().snapshot().open);
    /// ```
    ///
    /// # Panics
    ///
    /// If it was set to [pause](super::super::WhenOpen::Pause): readiness is asked for before the key is known.
    #[must_use]
    #[track_caller]
    pub fn keyed<Req: ?Sized, K, F>(self, key: F) -> KeyedCircuitBreakerLayer<K, F, P>
    where
        K: Key,
        F: Fn(&Req) -> K,
    {
        let (breaker, protocol) = self.into_parts();
        let config = KeyedCircuitBreakerConfig { each: breaker.config(), ..KeyedCircuitBreakerConfig::default() };
        let breakers = or_panic(KeyedCircuitBreaker::with_config(breaker.name().clone(), config));
        KeyedCircuitBreakerLayer::from_policy(breakers, key, protocol)
    }
}

impl<K: Key, F, P> KeyedCircuitBreakerLayer<K, F, P> {
    /// A layer of these breakers, which may have other layers too. `key` says whose call a request is.
    pub const fn from_policy(breakers: KeyedCircuitBreaker<K>, key: F, protocol: P) -> Self {
        Self { breakers, key, protocol }
    }

    /// The breakers, to watch and to steer.
    pub fn handle(&self) -> KeyedCircuitBreaker<K> {
        self.breakers.clone()
    }

    /// For how many keys a breaker is kept. Default: 1024. See [`KeyedCircuitBreakerConfig::max_keys`].
    ///
    /// # Panics
    ///
    /// If it is zero or more than 65,536.
    #[must_use]
    #[track_caller]
    pub fn max_keys(self, max_keys: usize) -> Self {
        or_panic(self.breakers.shared.apply(KeyedCircuitBreakerConfig { max_keys, ..self.breakers.config() }));
        self
    }
}

impl<S, K: Key, F: Clone, P: Clone> Layer<S> for KeyedCircuitBreakerLayer<K, F, P> {
    type Service = KeyedCircuitBreakerService<S, K, F, P>;

    fn layer(&self, inner: S) -> Self::Service {
        KeyedCircuitBreakerService::new(inner, self.breakers.clone(), self.key.clone(), self.protocol.clone())
    }
}

/// By hand, because a function has no `Debug`.
impl<K: Key, F, P: fmt::Debug> fmt::Debug for KeyedCircuitBreakerLayer<K, F, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { breakers, protocol, .. } = self;
        f.debug_struct("KeyedCircuitBreakerLayer").field("breakers", breakers).field("protocol", protocol).finish()
    }
}
