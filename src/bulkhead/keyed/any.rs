//! A keyed bulkhead for those who don't know the type of its keys: the registry, and who looks things up there.

use std::{any::Any, fmt, sync::Arc};

use super::{
    config::KeyedBulkheadConfig,
    policy::{KeyedBulkhead, Shared},
    snapshot::KeyedBulkheadSnapshot,
};
use crate::{
    bulkhead::{POLICY, handle::Bulkhead},
    config::InvalidConfig,
    keyed::Key,
    name::Name,
    registered::{Listed, Registered},
};

/// A [`KeyedBulkhead`] whose keys may be of any type: what the [registry](crate::registry) gives.
///
/// A clone is the same policy.
#[derive(Clone)]
pub struct AnyKeyedBulkhead {
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
    fn config(&self) -> KeyedBulkheadConfig;
    fn reconfigure(&self, config: KeyedBulkheadConfig) -> Result<(), InvalidConfig>;
    fn snapshot(&self) -> KeyedBulkheadSnapshot;
    fn bulkheads(&self) -> Vec<(String, Bulkhead)>;
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<K: Key> AnyShared for Shared<K> {
    fn name(&self) -> &Name {
        &self.name
    }

    fn config(&self) -> KeyedBulkheadConfig {
        self.config()
    }

    fn reconfigure(&self, config: KeyedBulkheadConfig) -> Result<(), InvalidConfig> {
        self.reconfigure(config)
    }

    fn snapshot(&self) -> KeyedBulkheadSnapshot {
        self.snapshot()
    }

    fn bulkheads(&self) -> Vec<(String, Bulkhead)> {
        self.bulkheads()
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl AnyKeyedBulkhead {
    /// The policy's name.
    pub fn name(&self) -> &Name {
        self.shared.name()
    }

    /// The settings in force.
    pub fn config(&self) -> KeyedBulkheadConfig {
        self.shared.config()
    }

    /// As [`KeyedBulkhead::reconfigure`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn reconfigure(&self, config: KeyedBulkheadConfig) -> Result<(), InvalidConfig> {
        self.shared.reconfigure(config)
    }

    /// How it stands, over all keys.
    pub fn snapshot(&self) -> KeyedBulkheadSnapshot {
        self.shared.snapshot()
    }

    /// Each key, as its `Debug` shows it, and its bulkhead, to watch and to steer. While they are held, none of these keys is
    /// forgotten.
    pub fn bulkheads(&self) -> Vec<(String, Bulkhead)> {
        self.shared.bulkheads()
    }

    /// The same policy with its keys' type, if it is this one.
    pub fn downcast<K: Key>(&self) -> Option<KeyedBulkhead<K>> {
        let shared = self.shared.clone().into_any().downcast().ok()?;
        Some(KeyedBulkhead { shared })
    }
}

impl Listed for AnyKeyedBulkhead {
    const KIND: &'static str = POLICY;

    fn listed() -> Vec<Self> {
        ALL.alive().into_iter().map(|shared| Self { shared }).collect()
    }

    fn name(&self) -> &Name {
        self.name()
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KeyedBulkheadSnapshot { keys, max_keys, in_flight, waiting, full, rejected, forgotten, .. } =
            self.snapshot();
        write!(f, "{keys} keys of at most {max_keys}, {in_flight} inside, {waiting} waiting, {full} full, ")?;
        write!(f, "{} refused, {forgotten} forgotten", rejected.total())
    }

    #[cfg(feature = "metrics")]
    fn observe(&self, gauges: &mut crate::metrics::Gauges) {
        crate::bulkhead::meter::gauges::of_keys(&self.snapshot(), gauges);
    }
}

impl fmt::Debug for AnyKeyedBulkhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyKeyedBulkhead").field("name", self.name()).finish_non_exhaustive()
    }
}
