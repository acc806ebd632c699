//! The keyed bulkhead itself: what layers share and what a handle steers.

use std::{
    fmt,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{any, config::KeyedBulkheadConfig, snapshot::KeyedBulkheadSnapshot};
use crate::{
    bulkhead::{
        POLICY,
        config::BulkheadConfig,
        event,
        handle::{Admission, Bulkhead, Of},
        meter::{self, Handles},
        permit::Permit,
        snapshot::RejectionCounters,
        sort::Caller,
        state::Standing,
        wait::Wait,
    },
    config::{InvalidConfig, or_panic},
    keyed::{Entry, Key, Keyed, Rank, Ranked},
    meter::Meter,
    name::Name,
    rejection::{Reason, Rejection},
    sync::{Mutex, lock},
};

/// A bulkhead for each key, without tower: what a layer's clones and services share, and what
/// [`handle`](super::KeyedBulkheadLayer::handle) gives.
///
/// All have the same settings, and each has a limit and a queue of its own. A bulkhead is made when its key is first used.
/// There are at most [`max_keys`](KeyedBulkheadConfig::max_keys) of them: for another, the least recently used goes, with
/// what its adaptive limit has learned.
///
/// # No key has two limits
///
/// A key of which calls are inside or wait, or whose handle somebody holds, isn't forgotten: if it were, and came back, it
/// would find a second limit beside the calls that still hold permits of the first. So where all keys there may be have
/// calls, the call of yet another is refused at once, with [`Reason::BulkheadFull`]; it is let in as soon as any of the keys
/// has no calls any more. A lower `max_keys` holds for new keys at once; keys with calls that are too many go when their
/// calls have ended and a new key comes.
///
/// Choose `max_keys` well above how many keys have calls at once. Whoever may choose keys can otherwise take up the room of
/// all: a limit of all calls around it, another bulkhead, bounds that too.
///
/// # What it costs
///
/// To use a key that has a bulkhead takes no lock and allocates nothing. A new one takes a lock for a few microseconds, and
/// so does one that finds no room, for as long as it takes to look at all keys.
///
/// A clone is the same policy.
///
/// ```
/// use buttress::bulkhead::{BulkheadConfig, KeyedBulkhead};
///
/// let tenants = KeyedBulkhead::new("tenants");
/// let mut config = tenants.config();
/// config.each.max_concurrent = 1;
/// tenants.reconfigure(config)?;
///
/// let permit = tenants.try_acquire(&"acme")?;
/// assert!(tenants.try_acquire(&"acme").is_err());
/// assert!(tenants.try_acquire(&"umbrella").is_ok());
/// # drop(permit);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct KeyedBulkhead<K> {
    pub(super) shared: Arc<Shared<K>>,
}

pub(super) struct Shared<K> {
    pub(super) name: Name,
    bulkheads: Keyed<K, Bulkhead>,
    /// What the next bulkhead is made by. Locked below the lock of `bulkheads`.
    each: Mutex<BulkheadConfig>,
    /// Held while settings are changed, so that all keys get them in the same order.
    changing: Mutex<()>,
    rejected: Arc<RejectionCounters>,
    crowded_out: AtomicU64,
    /// All keys' bulkheads count by it.
    meter: Meter<Handles>,
}

/// All keys there may be have calls.
#[derive(Debug)]
pub(super) struct NoRoom;

impl<K: Key> KeyedBulkhead<K> {
    /// A bulkhead a key, with the default settings.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn new(name: impl Into<Name>) -> Self {
        or_panic(Self::with_config(name, KeyedBulkheadConfig::default()))
    }

    /// A bulkhead a key, with these settings.
    ///
    /// # Errors
    ///
    /// If the settings make no sense.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn with_config(name: impl Into<Name>, config: KeyedBulkheadConfig) -> Result<Self, InvalidConfig> {
        config.validate()?;
        let shared = Arc::new(Shared {
            name: name.into().required(),
            bulkheads: Keyed::new(config.max_keys),
            each: Mutex::new(config.each),
            changing: Mutex::new(()),
            rejected: Arc::default(),
            crowded_out: AtomicU64::new(0),
            meter: Meter::new(),
        });
        any::list(&shared);
        Ok(Self { shared })
    }

    /// The policy's name, and that of each of its bulkheads.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// The settings in force.
    pub fn config(&self) -> KeyedBulkheadConfig {
        self.shared.config()
    }

    /// Applies other settings at once, to all keys there are and to those that come. Permits that are out stay out, and
    /// whoever waits keeps its place. Fewer keys than there are take effect at once too, but for keys with calls.
    ///
    /// A bulkhead that was set on its own, by the handle from [`get`](Self::get), gets these settings as well.
    ///
    /// # Errors
    ///
    /// If the settings make no sense; then nothing changes. Or if the bulkhead of a key has too many partitions that are gone
    /// and still have calls: it keeps its settings, and all others have the new ones.
    pub fn reconfigure(&self, config: KeyedBulkheadConfig) -> Result<(), InvalidConfig> {
        self.shared.reconfigure(config)
    }

    /// The bulkhead of this key, to watch and to steer, if the key is in use. To look is not to use.
    ///
    /// For as long as somebody holds it, the key isn't forgotten, and counts among those with calls.
    pub fn get(&self, key: &K) -> Option<Bulkhead> {
        self.shared.hold(&*self.shared.bulkheads.peek(key)?)
    }

    /// The keys there are, in no order.
    pub fn keys(&self) -> Vec<K> {
        self.shared.bulkheads.entries().iter().map(|entry| entry.key.clone()).collect()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.shared.bulkheads.len()
    }

    /// Whether there is no key yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How it stands, over all keys.
    pub fn snapshot(&self) -> KeyedBulkheadSnapshot {
        self.shared.snapshot()
    }

    /// A permit of this key, if one is free and nobody waits for it. Never waits, whatever the settings.
    ///
    /// # Errors
    ///
    /// With [`Reason::BulkheadFull`], also if there is no room for this key.
    #[inline]
    pub fn try_acquire(&self, key: &K) -> Result<Permit, Rejection> {
        self.try_acquire_at(key, |_| Standing::default())
    }

    /// As [`try_acquire`](Self::try_acquire), for a call of this priority and partition.
    ///
    /// # Errors
    ///
    /// As [`Bulkhead::try_acquire_as`], and with [`Reason::BulkheadFull`] if there is no room for this key.
    pub fn try_acquire_as(&self, key: &K, caller: Caller<'_>) -> Result<Permit, Rejection> {
        self.try_acquire_at(key, |bulkhead| caller.standing(bulkhead))
    }

    /// A permit of this key, waiting for one as the settings say.
    ///
    /// # Errors
    ///
    /// As [`Bulkhead::acquire`], and at once with [`Reason::BulkheadFull`] if there is no room for this key.
    ///
    /// # Panics
    ///
    /// If it has to wait outside of a tokio runtime with a timer.
    ///
    /// # Cancel safety
    ///
    /// As [`Bulkhead::acquire`].
    pub async fn acquire(&self, key: &K) -> Result<Permit, Rejection> {
        self.acquire_at(key, |_| Standing::default()).await
    }

    /// As [`acquire`](Self::acquire), for a call of this priority and partition.
    ///
    /// # Errors
    ///
    /// As [`Bulkhead::acquire_as`], and at once with [`Reason::BulkheadFull`] if there is no room for this key.
    ///
    /// # Panics
    ///
    /// If it has to wait outside of a tokio runtime with a timer.
    ///
    /// # Cancel safety
    ///
    /// As [`Bulkhead::acquire`].
    pub async fn acquire_as(&self, key: &K, caller: Caller<'_>) -> Result<Permit, Rejection> {
        self.acquire_at(key, |bulkhead| caller.standing(bulkhead)).await
    }
}

// ===== how calls come in =====

impl<K: Key> KeyedBulkhead<K> {
    /// A permit, if there is one at once.
    #[inline]
    pub(super) fn enter(
        &self,
        key: &K,
        standing: impl FnOnce(&Bulkhead) -> Standing,
    ) -> Result<Option<Permit>, NoRoom> {
        self.with(key, |bulkhead| bulkhead.enter(standing(bulkhead)))
    }

    /// For a call that has found no permit at once.
    #[cold]
    pub(super) fn queue_or_refuse(
        &self,
        key: &K,
        standing: impl Fn(&Bulkhead) -> Standing,
    ) -> Result<Admission<Wait>, Rejection> {
        self.until_kept(key, |bulkhead| bulkhead.queue_or_refuse_unless_retired(standing(bulkhead)))
    }

    /// Refuses a call whose key finds no room.
    #[cold]
    pub(super) fn crowded_out(&self, key: &K) -> Rejection {
        let Shared { name, rejected, crowded_out, meter, bulkheads, .. } = &*self.shared;
        rejected.count(Reason::BulkheadFull);
        crowded_out.fetch_add(1, Relaxed);
        meter.get(meter::whose(name)).refused(Reason::BulkheadFull);
        event::crowded_out(name, key, bulkheads.max_keys());
        Rejection::new(POLICY, name.clone(), Reason::BulkheadFull)
    }

    #[inline]
    fn try_acquire_at(&self, key: &K, standing: impl Fn(&Bulkhead) -> Standing) -> Result<Permit, Rejection> {
        match self.enter(key, &standing) {
            Ok(Some(permit)) => Ok(permit),
            Ok(None) => self.until_kept(key, |bulkhead| bulkhead.enter_or_refuse_unless_retired(standing(bulkhead))),
            Err(NoRoom) => Err(self.crowded_out(key)),
        }
    }

    async fn acquire_at(&self, key: &K, standing: impl Fn(&Bulkhead) -> Standing) -> Result<Permit, Rejection> {
        let admission = match self.enter(key, &standing) {
            Ok(Some(permit)) => return Ok(permit),
            Ok(None) => self.queue_or_refuse(key, standing)?,
            Err(NoRoom) => return Err(self.crowded_out(key)),
        };
        match admission {
            Admission::Admitted(permit) => Ok(permit),
            Admission::Queued(wait) => wait.await,
        }
    }

    /// Asks the key's bulkhead until it is one that is still the key's.
    #[cold]
    fn until_kept<R>(&self, key: &K, ask: impl Fn(&Bulkhead) -> Option<Result<R, Rejection>>) -> Result<R, Rejection> {
        loop {
            match self.with(key, &ask) {
                Ok(Some(answer)) => return answer,
                // It was forgotten between being found and being asked.
                Ok(None) => self.shared.bulkheads.settle(),
                Err(NoRoom) => return Err(self.crowded_out(key)),
            }
        }
    }

    #[inline]
    fn with<R>(&self, key: &K, then: impl FnOnce(&Bulkhead) -> R) -> Result<R, NoRoom> {
        let shared = &*self.shared;
        shared.bulkheads.try_with(key, || shared.make(key), |gone| shared.told_gone(gone), then).ok_or(NoRoom)
    }
}

impl<K: Key> Shared<K> {
    fn make(&self, key: &K) -> Bulkhead {
        let each = lock(&self.each).clone();
        let of = Of { key: AssertUnwindSafe(Box::new(key.clone())), rejected: self.rejected.clone() };
        Bulkhead::unlisted(self.name.clone(), each, Some(of), self.meter.clone())
            .expect("the settings have been validated")
    }

    pub(super) fn config(&self) -> KeyedBulkheadConfig {
        // Not in one expression: the template's lock would be held while the bulkheads' is waited for.
        let max_keys = self.bulkheads.max_keys();
        KeyedBulkheadConfig { each: lock(&self.each).clone(), max_keys }
    }

    pub(super) fn reconfigure(&self, config: KeyedBulkheadConfig) -> Result<(), InvalidConfig> {
        config.validate()?;
        event::reconfigured_keyed(&self.name, config.max_keys, &config.each);
        self.apply(config)
    }

    /// What has been validated.
    pub(super) fn apply(&self, config: KeyedBulkheadConfig) -> Result<(), InvalidConfig> {
        let _one_at_a_time = lock(&self.changing);
        *lock(&self.each) = config.each.clone();
        for gone in self.bulkheads.set_max_keys(config.max_keys) {
            self.told_gone(&gone);
        }
        // A bulkhead that isn't among these is made after the template was set.
        let each = self.bulkheads.entries();
        let changed = each.iter().map(|entry| entry.value.change(|each| *each = config.each.clone()).map(drop));
        // All of them, also after one that can't.
        changed.fold(Ok(()), Result::and)
    }

    pub(super) fn snapshot(&self) -> KeyedBulkheadSnapshot {
        let each: Vec<_> = self.bulkheads.entries().iter().map(|entry| entry.value.snapshot()).collect();
        KeyedBulkheadSnapshot {
            name: self.name.clone(),
            keys: each.len(),
            max_keys: self.bulkheads.max_keys(),
            full: each.iter().filter(|one| one.in_flight >= one.limit || one.waiting > 0).count(),
            limit: each.iter().map(|one| one.limit).sum(),
            in_flight: each.iter().map(|one| one.in_flight).sum(),
            waiting: each.iter().map(|one| one.waiting).sum(),
            rejected: self.rejected.read(),
            crowded_out: self.crowded_out.load(Relaxed),
            forgotten: self.bulkheads.forgotten(),
        }
    }

    /// Each key, as its `Debug` shows it, and its bulkhead.
    pub(super) fn bulkheads(&self) -> Vec<(String, Bulkhead)> {
        let entries = self.bulkheads.entries();
        entries.iter().filter_map(|entry| Some((format!("{:?}", entry.key), self.hold(entry)?))).collect()
    }

    fn hold(&self, entry: &Entry<K, Bulkhead>) -> Option<Bulkhead> {
        Some(self.bulkheads.hold(entry)).filter(|bulkhead| !bulkhead.gate().is_retired())
    }

    fn told_gone(&self, gone: &Entry<K, Bulkhead>) {
        meter::forgotten(&self.name);
        event::forgotten(&self.name, &gone.key);
    }
}

impl Ranked for Bulkhead {
    fn rank(&self) -> Rank {
        if self.is_shared() { Rank::InUse } else { Rank::Idle }
    }

    /// Handles are made only while this isn't asked, so who has one is seen. A call that has just found this bulkhead has
    /// none yet: it is inside or waits first, or finds it retired.
    fn let_go(&self) -> bool {
        !self.is_shared() && self.gate().retire()
    }
}

impl<K> Clone for KeyedBulkhead<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K: Key> fmt::Debug for KeyedBulkhead<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBulkhead").field("name", self.name()).field("keys", &self.len()).finish_non_exhaustive()
    }
}
