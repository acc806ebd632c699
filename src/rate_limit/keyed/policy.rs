//! The keyed rate limit itself: what layers share and what a handle steers.

use std::{
    fmt::{self, Debug},
    sync::Arc,
};

use crate::{
    config::{InvalidConfig, or_panic},
    keyed::{DEFAULT_MAX_KEYS, Entry, Key, Keyed, Rank, Ranked, check_max_keys},
    meter::Meter,
    name::Name,
    rate_limit::{config::RateLimitConfig, event, handle::RateLimit, meter::Handles},
    sync::{Mutex, lock},
};

/// The settings of a [`KeyedRateLimit`].
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct KeyedRateLimitConfig {
    /// The settings of each key's limit, its queue included.
    pub each: RateLimitConfig,
    /// For how many keys a limit is kept. 1 to 65,536, by default 1024.
    ///
    /// More keys take more memory, about a kilobyte each. With fewer than there are callers in the time that it takes
    /// to earn a burst, limits that somebody has used are forgotten, and whoever comes again begins with a full burst.
    pub max_keys: usize,
}

impl Default for KeyedRateLimitConfig {
    fn default() -> Self {
        Self { each: RateLimitConfig::default(), max_keys: DEFAULT_MAX_KEYS }
    }
}

impl KeyedRateLimitConfig {
    /// Whether the settings make sense.
    ///
    /// # Errors
    ///
    /// For the first setting out of its range, with its name, its value and the range.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        self.each.validate()?;
        check_max_keys("rate_limit.max_keys", self.max_keys)
    }
}

/// A rate limit for each key, without tower: what a layer's clones and services share, and what
/// [`handle`](super::KeyedRateLimitLayer::handle) gives.
///
/// All have the same settings, and each counts for itself. A limit is made, with a full burst, when its key is first
/// used. There are at most [`max_keys`](KeyedRateLimitConfig::max_keys): for another, the least recently used goes
/// among those of which nothing is used, of which nothing would be lost; then among the others; one for which calls
/// wait, or whose handle somebody holds, goes last of all.
///
/// To use a key that has a limit takes no lock and allocates nothing. A new one takes a lock for a few microseconds.
///
/// A clone is the same policy.
///
/// ```
/// use buttress::rate_limit::KeyedRateLimit;
///
/// let tenants = KeyedRateLimit::new("tenants");
/// tenants.of(&"acme").try_acquire_many(100).unwrap();
/// assert!(tenants.of(&"acme").try_acquire().is_err());
/// assert!(tenants.of(&"umbrella").try_acquire().is_ok());
/// ```
pub struct KeyedRateLimit<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    name: Name,
    limits: Keyed<K, RateLimit>,
    watch: Meter<Handles>,
    /// What the next limit is made by. Locked below the lock of `limits`.
    each: Mutex<RateLimitConfig>,
    /// Held while settings are changed, so that all keys get them in the same order.
    changing: Mutex<()>,
}

/// How a keyed rate limit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedRateLimitSnapshot {
    /// How many keys there are.
    pub keys: usize,
    /// How many there can be.
    pub max_keys: usize,
    /// Of how many keys a call would not be let through at once now.
    pub limited: usize,
    /// How many calls are waiting, of all keys.
    pub waiting: u64,
    /// How many keys were forgotten so far, to make room for others.
    pub forgotten: u64,
}

impl<K: Key> KeyedRateLimit<K> {
    /// A limit a key, with the default settings.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn new(name: impl Into<Name>) -> Self {
        or_panic(Self::with_config(name, KeyedRateLimitConfig::default()))
    }

    /// A limit a key, with these settings.
    ///
    /// # Errors
    ///
    /// If the settings make no sense.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn with_config(name: impl Into<Name>, config: KeyedRateLimitConfig) -> Result<Self, InvalidConfig> {
        config.validate()?;
        let shared = Arc::new(Shared {
            name: name.into().required(),
            limits: Keyed::new(config.max_keys),
            watch: Meter::new(),
            each: Mutex::new(config.each),
            changing: Mutex::new(()),
        });
        #[cfg(feature = "metrics")]
        crate::metrics::watch(&shared);
        Ok(Self { shared })
    }

    /// The policy's name, and that of each of its limits.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// The settings in force.
    pub fn config(&self) -> KeyedRateLimitConfig {
        KeyedRateLimitConfig { each: lock(&self.shared.each).clone(), max_keys: self.shared.limits.max_keys() }
    }

    /// Applies other settings at once, to all keys there are and to those that come. What was used stays used. Fewer
    /// keys than there are take effect at once too.
    ///
    /// A limit that was set on its own, by the handle from [`of`](Self::of), gets these settings as well.
    ///
    /// # Errors
    ///
    /// If the settings make no sense; then nothing changes.
    pub fn reconfigure(&self, config: KeyedRateLimitConfig) -> Result<(), InvalidConfig> {
        config.validate()?;
        let _one_at_a_time = lock(&self.shared.changing);
        let before = std::mem::replace(&mut *lock(&self.shared.each), config.each.clone());
        event::reconfigured(self.name(), &before, &config.each);
        for gone in self.shared.limits.set_max_keys(config.max_keys) {
            event::forgotten(self.name(), &gone.key);
        }
        // A limit that isn't among these is made after the template was set.
        for entry in self.shared.limits.entries() {
            entry.value.change(|each| *each = config.each.clone())?;
        }
        Ok(())
    }

    /// The limit of this key, which is made if it isn't there, to use, to watch and to steer.
    ///
    /// For as long as somebody holds it, the key is among the last to be forgotten.
    pub fn of(&self, key: &K) -> RateLimit {
        let Shared { limits, .. } = &*self.shared;
        limits.with(
            key,
            || self.make(),
            |gone: &Entry<K, _>| event::forgotten(self.name(), &gone.key),
            RateLimit::clone,
        )
    }

    /// The limit of this key, if it is there. To look is not to use.
    pub fn get(&self, key: &K) -> Option<RateLimit> {
        self.shared.limits.peek(key).map(|entry| entry.value.clone())
    }

    /// The keys there are, in no order.
    pub fn keys(&self) -> Vec<K> {
        self.shared.limits.entries().iter().map(|entry| entry.key.clone()).collect()
    }

    /// Forgets a key with all that was used of its limit; the next call of it finds a new one. Whether it was there.
    pub fn forget(&self, key: &K) -> bool {
        self.shared.limits.remove(key).is_some()
    }

    /// How it stands, over all keys.
    pub fn snapshot(&self) -> KeyedRateLimitSnapshot {
        self.shared.snapshot()
    }

    fn make(&self) -> RateLimit {
        let each = lock(&self.shared.each).clone();
        RateLimit::unlisted(self.name().clone(), each, self.shared.watch.clone())
            .expect("the settings have been validated")
    }
}

impl<K: Key> Shared<K> {
    fn snapshot(&self) -> KeyedRateLimitSnapshot {
        let limits = &self.limits;
        let each: Vec<_> = limits.entries().iter().map(|entry| entry.value.snapshot()).collect();
        KeyedRateLimitSnapshot {
            keys: each.len(),
            max_keys: limits.max_keys(),
            limited: each.iter().filter(|limit| limit.available == 0).count(),
            waiting: each.iter().map(|limit| u64::from(limit.waiting)).sum(),
            forgotten: limits.forgotten(),
        }
    }
}

#[cfg(feature = "metrics")]
impl<K: Key> crate::metrics::Watched for Shared<K> {
    fn observe(&self, gauges: &mut crate::metrics::Gauges) {
        let KeyedRateLimitSnapshot { keys, limited, waiting, .. } = self.snapshot();
        crate::rate_limit::meter::gauges::of_keys(&self.name, waiting, keys, limited, gauges);
    }
}

impl Ranked for RateLimit {
    fn rank(&self) -> Rank {
        if self.is_shared() {
            Rank::InUse
        } else if self.is_unused() {
            Rank::Idle
        } else {
            Rank::Stateful
        }
    }
}

impl<K> Clone for KeyedRateLimit<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K: Key> Debug for KeyedRateLimit<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateLimit")
            .field("name", self.name())
            .field("snapshot", &self.snapshot())
            .finish_non_exhaustive()
    }
}
