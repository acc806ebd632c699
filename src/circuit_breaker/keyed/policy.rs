//! The keyed breaker itself: what layers share and what a handle steers.

use std::{
    fmt::{self, Debug},
    panic::AssertUnwindSafe,
    sync::Arc,
};

use super::{any, config::KeyedCircuitBreakerConfig};
use crate::{
    circuit_breaker::{
        breaker::{CircuitBreaker, Of},
        config::{CircuitBreakerConfig, Window},
        core::{WINDOWS, too_many_windows},
        event::{self, State},
        meter::{self, Handles},
        permit::Permit,
        watch::{Channel, NamedChange, NamedChanges},
    },
    config::{InvalidConfig, or_panic},
    keyed::{Entry, Key, Keyed, Rank, Ranked},
    meter::Meter,
    name::Name,
    rejection::Rejection,
    sync::{Mutex, lock},
};

/// A circuit breaker for each key, without tower: what a layer's clones and services share, and what
/// [`handle`](super::KeyedCircuitBreakerLayer::handle) gives.
///
/// All have the same settings; each counts for itself and opens by itself. A breaker is made when its key is first used.
/// There are at most [`max_keys`](KeyedCircuitBreakerConfig::max_keys) of them: for another, the least recently used goes
/// among those that are closed; if there are none, among those that are open or steered by hand; one with calls under way,
/// or whose handle somebody holds, goes last of all. An open breaker that nobody has called for a minute after its time
/// was over counts as closed there, or hosts that are gone would fill the place for ever.
///
/// To use a key that has a breaker takes no lock and allocates nothing. A new one takes a lock for a few microseconds, and
/// at the limit now and then as long as it takes to look at all keys: whoever may choose keys can make calls that much
/// dearer, and have closed breakers forgotten, but neither fill the memory nor have an open one closed as long as there
/// is another to take.
///
/// A clone is the same policy.
///
/// ```
/// use buttress::circuit_breaker::{KeyedCircuitBreaker, State};
///
/// let tenants = KeyedCircuitBreaker::new("tenants");
/// tenants.try_acquire(&"acme").unwrap().failure();
/// tenants.try_acquire(&"umbrella").unwrap().success();
/// assert_eq!(tenants.keys().len(), 2);
///
/// tenants.get(&"acme").unwrap().force_open();
/// assert!(tenants.try_acquire(&"acme").is_err());
/// assert!(tenants.try_acquire(&"umbrella").is_ok());
/// ```
pub struct KeyedCircuitBreaker<K> {
    pub(super) shared: Arc<Shared<K>>,
}

pub(super) struct Shared<K> {
    pub(super) name: Name,
    breakers: Keyed<K, CircuitBreaker>,
    /// Locked below the lock of `breakers`, whose values are made from it.
    template: Mutex<Template>,
    /// Held while settings are changed, so that all keys get them in the same order.
    changing: Mutex<()>,
    changes: Arc<Channel<NamedChange>>,
    /// All keys' breakers count by it.
    meter: Meter<Handles>,
}

/// What the next breaker is made by.
struct Template {
    config: CircuitBreakerConfig,
    /// The windows there have been. A breaker can be given so many, and none has been given others than these.
    windows: Vec<Window>,
}

/// How a keyed breaker stands: of how many keys the breaker is in which state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedCircuitBreakerSnapshot {
    /// The policy's name.
    pub name: Name,
    /// How many keys there are.
    pub keys: usize,
    /// How many there can be.
    pub max_keys: usize,
    /// How many are closed.
    pub closed: usize,
    /// How many are open.
    pub open: usize,
    /// How many are half-open.
    pub half_open: usize,
    /// How many were opened by hand.
    pub forced_open: usize,
    /// How many were disabled by hand.
    pub disabled: usize,
    /// How many are shadows.
    pub shadow: usize,
    /// How many keys were forgotten so far, to make room for others.
    pub forgotten: u64,
}

impl<K: Key> KeyedCircuitBreaker<K> {
    /// A breaker a key, with the default settings.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    pub fn new(name: impl Into<Name>) -> Self {
        or_panic(Self::with_config(name, KeyedCircuitBreakerConfig::default()))
    }

    /// A breaker a key, with these settings.
    ///
    /// # Errors
    ///
    /// If a setting makes no sense.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    pub fn with_config(name: impl Into<Name>, config: KeyedCircuitBreakerConfig) -> Result<Self, InvalidConfig> {
        config.validate()?;
        let shared = Arc::new(Shared {
            name: name.into().required(),
            breakers: Keyed::new(config.max_keys),
            template: Mutex::new(Template { windows: vec![config.each.window], config: config.each }),
            changing: Mutex::new(()),
            changes: Arc::new(Channel::new()),
            meter: Meter::new(),
        });
        any::list(&shared);
        Ok(Self { shared })
    }

    /// The policy's name, and that of each of its breakers.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// The settings in force.
    pub fn config(&self) -> KeyedCircuitBreakerConfig {
        self.shared.config()
    }

    /// Applies other settings at once, to all keys there are and to those that come. What was counted stays, except that
    /// a different window starts empty. Fewer keys than there are take effect at once too.
    ///
    /// A breaker that was set on its own, by the handle from [`get`](Self::get), gets these settings as well.
    ///
    /// # Errors
    ///
    /// If a setting makes no sense, or if this would be the 17th different window; the old settings then stay in force.
    pub fn reconfigure(&self, config: KeyedCircuitBreakerConfig) -> Result<(), InvalidConfig> {
        self.shared.reconfigure(config)
    }

    /// The breaker of this key, to watch and to steer, if the key is in use. To look is not to use.
    ///
    /// For as long as somebody holds it, the key is among the last to be forgotten.
    pub fn get(&self, key: &K) -> Option<CircuitBreaker> {
        self.shared.breakers.peek(key).map(|entry| entry.value.clone())
    }

    /// The keys there are, in no order.
    pub fn keys(&self) -> Vec<K> {
        self.shared.breakers.entries().iter().map(|entry| entry.key.clone()).collect()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.shared.breakers.len()
    }

    /// Whether there is no key yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Of how many keys the breaker is in which state.
    pub fn snapshot(&self) -> KeyedCircuitBreakerSnapshot {
        self.shared.snapshot()
    }

    /// The changes of all keys' breakers from now on.
    pub fn subscribe(&self) -> NamedChanges {
        self.shared.changes.named()
    }

    /// Forgets a key with all that its breaker has counted; the next call of it finds a new one. Whether it was there.
    pub fn forget(&self, key: &K) -> bool {
        self.shared.breakers.remove(key).is_some()
    }

    /// Asks for a call of this key to be let through; never waits.
    ///
    /// The permit must be told how the call ended; dropped, it counts as cancelled.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] if the key's breaker refuses.
    #[inline]
    pub fn try_acquire(&self, key: &K) -> Result<Permit, Rejection> {
        let Shared { breakers, .. } = &*self.shared;
        breakers.with(key, || self.shared.make(key), |gone| self.shared.told_gone(gone), CircuitBreaker::try_acquire)
    }
}

impl<K: Key> Shared<K> {
    fn make(&self, key: &K) -> CircuitBreaker {
        let config = lock(&self.template).config.clone();
        let of = Of { key: AssertUnwindSafe(Box::new(key.clone())), changes: self.changes.clone() };
        CircuitBreaker::unlisted(self.name.clone(), config, Some(of), self.meter.clone())
            .expect("the settings have been validated")
    }

    pub(super) fn config(&self) -> KeyedCircuitBreakerConfig {
        // Not in one expression: the template's lock would be held while the breakers' is waited for.
        let max_keys = self.breakers.max_keys();
        KeyedCircuitBreakerConfig { each: lock(&self.template).config.clone(), max_keys }
    }

    pub(super) fn reconfigure(&self, config: KeyedCircuitBreakerConfig) -> Result<(), InvalidConfig> {
        let max_keys = config.max_keys;
        self.apply(config.clone())?;
        event::reconfigured_keyed(&self.name, max_keys, &config.each);
        Ok(())
    }

    pub(super) fn apply(&self, config: KeyedCircuitBreakerConfig) -> Result<(), InvalidConfig> {
        config.validate()?;
        let _one_at_a_time = lock(&self.changing);
        lock(&self.template).set(config.each.clone())?;
        for gone in self.breakers.set_max_keys(config.max_keys) {
            self.told_gone(&gone);
        }
        // A breaker that isn't among these is made after the template was set.
        for entry in self.breakers.entries() {
            // Only one that was given windows of its own, by its handle, can have had too many.
            if entry.value.apply(config.each.clone()).is_err() {
                self.breakers.remove(&entry.key);
                self.told_gone(&entry);
            }
        }
        Ok(())
    }

    pub(super) fn snapshot(&self) -> KeyedCircuitBreakerSnapshot {
        let states: Vec<_> = self.breakers.entries().iter().map(|entry| entry.value.state()).collect();
        let count = |state: State| states.iter().filter(|other| **other == state).count();
        KeyedCircuitBreakerSnapshot {
            name: self.name.clone(),
            keys: states.len(),
            max_keys: self.breakers.max_keys(),
            closed: count(State::Closed),
            open: count(State::Open),
            half_open: count(State::HalfOpen),
            forced_open: count(State::ForcedOpen),
            disabled: count(State::Disabled),
            shadow: count(State::Shadow),
            forgotten: self.breakers.forgotten(),
        }
    }

    /// Each key, as its `Debug` shows it, and its breaker.
    pub(super) fn breakers(&self) -> Vec<(String, CircuitBreaker)> {
        self.breakers.entries().iter().map(|entry| (format!("{:?}", entry.key), entry.value.clone())).collect()
    }

    pub(super) fn subscribe(&self) -> NamedChanges {
        self.changes.named()
    }

    fn told_gone(&self, gone: &Entry<K, CircuitBreaker>) {
        meter::forgotten(&self.name);
        event::forgotten(&self.name, &gone.key, gone.value.state());
    }
}

impl Template {
    fn set(&mut self, config: CircuitBreakerConfig) -> Result<(), InvalidConfig> {
        if !self.windows.contains(&config.window) {
            if self.windows.len() == WINDOWS {
                return Err(too_many_windows(config.window));
            }
            self.windows.push(config.window);
        }
        self.config = config;
        Ok(())
    }
}

impl Ranked for CircuitBreaker {
    fn rank(&self) -> Rank {
        if self.is_held() {
            Rank::InUse
        } else if self.is_idle() {
            Rank::Idle
        } else {
            Rank::Stateful
        }
    }
}

impl<K> Clone for KeyedCircuitBreaker<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K: Key> Debug for KeyedCircuitBreaker<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedCircuitBreaker").field("name", self.name()).field("keys", &self.len()).finish()
    }
}
