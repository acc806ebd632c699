//! A keyed breaker for those who don't know the type of its keys: the registry, and who looks things up there.

use std::{any::Any, fmt, sync::Arc};

use super::{
    config::KeyedCircuitBreakerConfig,
    policy::{KeyedCircuitBreaker, KeyedCircuitBreakerSnapshot, Shared},
};
use crate::{
    circuit_breaker::{POLICY, breaker::CircuitBreaker, watch::NamedChanges},
    config::InvalidConfig,
    keyed::Key,
    name::Name,
    registered::{Listed, Registered},
};

/// A [`KeyedCircuitBreaker`] whose keys may be of any type: what the [registry](crate::registry) gives.
///
/// A clone is the same policy.
#[derive(Clone)]
pub struct AnyKeyedCircuitBreaker {
    shared: Arc<dyn AnyShared>,
}

static ALL: Registered<dyn AnyShared> = Registered::new();

pub(super) fn list<K: Key>(shared: &Arc<Shared<K>>) {
    let shared: Arc<dyn AnyShared> = shared.clone();
    ALL.add(&shared);
}

/// What can be done without knowing the keys' type.
trait AnyShared: Send + Sync {
    fn name(&self) -> &Name;
    fn config(&self) -> KeyedCircuitBreakerConfig;
    fn reconfigure(&self, config: KeyedCircuitBreakerConfig) -> Result<(), InvalidConfig>;
    fn snapshot(&self) -> KeyedCircuitBreakerSnapshot;
    fn breakers(&self) -> Vec<(String, CircuitBreaker)>;
    fn subscribe(&self) -> NamedChanges;
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<K: Key> AnyShared for Shared<K> {
    fn name(&self) -> &Name {
        &self.name
    }

    fn config(&self) -> KeyedCircuitBreakerConfig {
        self.config()
    }

    fn reconfigure(&self, config: KeyedCircuitBreakerConfig) -> Result<(), InvalidConfig> {
        self.reconfigure(config)
    }

    fn snapshot(&self) -> KeyedCircuitBreakerSnapshot {
        self.snapshot()
    }

    fn breakers(&self) -> Vec<(String, CircuitBreaker)> {
        self.breakers()
    }

    fn subscribe(&self) -> NamedChanges {
        self.subscribe()
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl AnyKeyedCircuitBreaker {
    /// The policy's name.
    pub fn name(&self) -> &Name {
        self.shared.name()
    }

    /// The settings in force.
    pub fn config(&self) -> KeyedCircuitBreakerConfig {
        self.shared.config()
    }

    /// As [`KeyedCircuitBreaker::reconfigure`].
    ///
    /// # Errors
    ///
    /// If a setting makes no sense, or if this would be the 17th different window; the old settings then stay in force.
    pub fn reconfigure(&self, config: KeyedCircuitBreakerConfig) -> Result<(), InvalidConfig> {
        self.shared.reconfigure(config)
    }

    /// Of how many keys the breaker is in which state.
    pub fn snapshot(&self) -> KeyedCircuitBreakerSnapshot {
        self.shared.snapshot()
    }

    /// Each key, as its `Debug` shows it, and its breaker, to watch and to steer.
    pub fn breakers(&self) -> Vec<(String, CircuitBreaker)> {
        self.shared.breakers()
    }

    /// The changes of all keys' breakers from now on.
    pub fn subscribe(&self) -> NamedChanges {
        self.shared.subscribe()
    }

    /// The same policy with its keys' type, if it is this one.
    pub fn downcast<K: Key>(&self) -> Option<KeyedCircuitBreaker<K>> {
        let shared = self.shared.clone().into_any().downcast().ok()?;
        Some(KeyedCircuitBreaker { shared })
    }
}

impl Listed for AnyKeyedCircuitBreaker {
    const KIND: &'static str = POLICY;

    fn listed() -> Vec<Self> {
        ALL.alive().into_iter().map(|shared| Self { shared }).collect()
    }

    fn name(&self) -> &Name {
        self.name()
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KeyedCircuitBreakerSnapshot { keys, max_keys, open, half_open, forced_open, forgotten, .. } =
            self.snapshot();
        write!(f, "{keys} keys of at most {max_keys}, {open} open, {half_open} half-open, ")?;
        write!(f, "{forced_open} opened by hand, {forgotten} forgotten")
    }

    #[cfg(feature = "metrics")]
    fn observe(&self, gauges: &mut crate::metrics::Gauges) {
        crate::circuit_breaker::meter::gauges::of_keys(&self.snapshot(), gauges);
    }
}

impl fmt::Debug for AnyKeyedCircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyKeyedCircuitBreaker").field("name", self.name()).finish_non_exhaustive()
    }
}
