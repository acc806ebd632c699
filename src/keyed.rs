//! A value for each key, so many keys and no more, for policies that keep one state a host, an endpoint, a tenant.
//!
//! Whoever calls may choose the key, so everything here has a bound:
//!
//! - A key that is there costs a hash, one load and the comparison of a few hashes. No lock is taken, nothing is
//!   allocated, and no clock is read.
//! - A new key takes a lock, and copies one shard (a thousandth of all keys, or one or two). At the limit it takes the
//!   place of another; for that, one in `max_keys / 16` of them looks at all keys there are. Where there is no idle one
//!   left, each has to look.
//! - There are never more than `max_keys`, not even for a moment.
//!
//! # Which key goes
//!
//! The least recently used of those that would be missed least ([`Rank`]). *Recently* is counted in new keys, because it
//! is only with those that one has to go: keys used since the last new one are equally recent. A key of a higher rank
//! never goes while there is one of a lower; one whose rank has fallen since all were last looked at may go up to
//! `max_keys / 16` keys late.
//!
//! A value that goes lives on for as long as somebody uses it. A call that found its value and hasn't begun when it goes
//! is a call of a value that nobody else will find: what it does there is lost, and no more. A value of which that would be
//! too much [can refuse to go](Ranked::let_go); where none goes, a new key finds no room.

use std::{
    fmt::Debug,
    hash::{BuildHasher, Hash, RandomState},
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;

use crate::config::{InvalidConfig, check};

/// What there can be a policy for: a host, an endpoint, a tenant, an address. `Debug` is what events call it by.
///
/// A key is made anew for each call, so one that is cheap to make and to copy keeps calls cheap: a number, an enum, a
/// `&'static str`, an [`Authority`](::http::uri::Authority), an [`IpAddr`](std::net::IpAddr); a `String` is an allocation a
/// call.
pub trait Key: Hash + Eq + Clone + Debug + Send + Sync + 'static {}

impl<K: Hash + Eq + Clone + Debug + Send + Sync + 'static> Key for K {}

/// How many keys a keyed policy keeps unless told otherwise.
pub(crate) const DEFAULT_MAX_KEYS: usize = 1024;

/// Refuses a number of keys outside its range.
pub(crate) fn check_max_keys(setting: &'static str, max_keys: usize) -> Result<(), InvalidConfig> {
    check(setting, max_keys, 1..=65_536, "from 1 to 65536")
}

/// How much would be lost with a value, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Nothing that a new one would not do as well: a closed breaker, an empty bulkhead, a full bucket.
    Idle,
    /// A state that protects somebody: an open breaker, an empty bucket.
    Stateful,
    /// Calls are under way.
    InUse,
}

/// A value that a [`Keyed`] may have to give up.
pub(crate) trait Ranked {
    /// Read under a lock that holds up new keys: a few loads, no lock.
    fn rank(&self) -> Rank;

    /// Asked of a value that is to go, under the same lock: whether it can. One that can goes, and whoever finds it at that
    /// moment must see that it has.
    fn let_go(&self) -> bool {
        true
    }
}

/// A value for each key, at most so many. See the [module](self).
pub(crate) struct Keyed<K, V> {
    /// By hash. A shard is never changed but replaced, so it is read without a lock.
    shards: Box<[ArcSwap<Shard<K, V>>]>,
    hasher: RandomState,
    /// How many keys have been new: what a use is stamped with.
    era: AtomicU64,
    forgotten: AtomicU64,
    slots: Mutex<Slots<K, V>>,
}

/// The hash beside the entry, so that most entries needn't be looked at.
type Shard<K, V> = Vec<(u64, Arc<Entry<K, V>>)>;

/// Enough for shards of 64 at the most keys there can be.
const SHARDS: usize = 1024;

/// A key and its value.
pub(crate) struct Entry<K, V> {
    pub(crate) key: K,
    pub(crate) value: V,
    hash: u64,
    /// The era it was last used in. Relaxed: it decides who goes first, and nothing else.
    used: AtomicU64,
}

/// All entries once more, in a row; with the lock held the shards are written, and hold the same.
struct Slots<K, V> {
    entries: Vec<Arc<Entry<K, V>>>,
    max_keys: usize,
    /// The slots that were idle and least recently used when all were last looked at, and when that was. The last goes
    /// first, if it is still so.
    stale: Vec<(usize, u64)>,
}

impl<K, V> Keyed<K, V>
where
    K: Hash + Eq + Clone,
    V: Ranked,
{
    /// Of at most `max_keys`, which has been checked.
    pub(crate) fn new(max_keys: usize) -> Self {
        let empty = Arc::new(Shard::new());
        Self {
            shards: (0..SHARDS).map(|_| ArcSwap::new(empty.clone())).collect(),
            hasher: RandomState::new(),
            era: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
            slots: Mutex::new(Slots { entries: Vec::new(), max_keys, stale: Vec::new() }),
        }
    }

    /// As [`try_with`](Self::try_with), for values that can always go.
    #[inline]
    pub(crate) fn with<R>(
        &self,
        key: &K,
        make: impl FnOnce() -> V,
        gone: impl FnMut(&Entry<K, V>),
        then: impl FnOnce(&V) -> R,
    ) -> R {
        self.try_with(key, make, gone, then).expect("one of the others went")
    }

    /// Uses the value of `key`; makes it first if it isn't there, and says which entry had to go for it. Nothing if there
    /// is no room, because no other can go.
    ///
    /// `make` runs under the lock, so that whoever changes all values misses none: see [`entries`](Self::entries).
    #[inline]
    pub(crate) fn try_with<R>(
        &self,
        key: &K,
        make: impl FnOnce() -> V,
        gone: impl FnMut(&Entry<K, V>),
        then: impl FnOnce(&V) -> R,
    ) -> Option<R> {
        let hash = self.hasher.hash_one(key);
        let shard = self.shard(hash).load();
        match find(&shard, hash, key) {
            Some(entry) => {
                // A store only where it says something new, so that readers of a busy key don't fight over it.
                let era = self.era.load(Ordering::Relaxed);
                if entry.used.load(Ordering::Relaxed) != era {
                    entry.used.store(era, Ordering::Relaxed);
                }
                Some(then(&entry.value))
            }
            None => {
                drop(shard);
                Some(then(&self.insert(hash, key, make, gone)?.value))
            }
        }
    }

    /// The entry of `key`, if it is there. To look is not to use.
    pub(crate) fn peek(&self, key: &K) -> Option<Arc<Entry<K, V>>> {
        let hash = self.hasher.hash_one(key);
        find(&self.shard(hash).load(), hash, key).cloned()
    }

    /// Another handle of a value, taken while none is asked to go: it sees all handles there are.
    pub(crate) fn hold(&self, entry: &Entry<K, V>) -> V
    where
        V: Clone,
    {
        let _nobody_goes = self.lock();
        entry.value.clone()
    }

    /// Waits until a key that is just being forgotten can't be found any more.
    pub(crate) fn settle(&self) {
        drop(self.lock());
    }

    /// All entries. A value is either among them, or is made after this was called.
    pub(crate) fn entries(&self) -> Vec<Arc<Entry<K, V>>> {
        self.lock().entries.clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    pub(crate) fn max_keys(&self) -> usize {
        self.lock().max_keys
    }

    /// How many keys had to go so far.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    /// Keeps at most so many keys from now on, which has been checked. Gives back those that had to go; those that can't
    /// go are asked again for each new key, which finds no room until they have gone.
    pub(crate) fn set_max_keys(&self, max_keys: usize) -> Vec<Arc<Entry<K, V>>> {
        let mut slots = self.lock();
        slots.max_keys = max_keys;
        self.shrink(&mut slots)
    }

    /// Lets those go that are too many.
    fn shrink(&self, slots: &mut Slots<K, V>) -> Vec<Arc<Entry<K, V>>> {
        let mut gone = Vec::new();
        while slots.entries.len() > slots.max_keys {
            let Some(slot) = slots.victim() else { break };
            gone.push(self.take(slots, slot));
        }
        self.forgotten.fetch_add(gone.len() as u64, Ordering::Relaxed);
        gone
    }

    /// Forgets a key, whether it can go or not, and gives back what it was.
    pub(crate) fn remove(&self, key: &K) -> Option<Arc<Entry<K, V>>> {
        let entry = self.peek(key)?;
        let mut slots = self.lock();
        let slot = slots.entries.iter().position(|other| Arc::ptr_eq(other, &entry))?;
        Some(self.take(&mut slots, slot))
    }

    #[cold]
    fn insert(
        &self,
        hash: u64,
        key: &K,
        make: impl FnOnce() -> V,
        tell: impl FnMut(&Entry<K, V>),
    ) -> Option<Arc<Entry<K, V>>> {
        let mut slots = self.lock();
        // Somebody else may have been first.
        if let Some(entry) = find(&self.shard(hash).load(), hash, key) {
            return Some(entry.clone());
        }
        let era = self.era.load(Ordering::Relaxed) + 1;
        let entry = Arc::new(Entry { key: key.clone(), value: make(), hash, used: AtomicU64::new(era) });
        // From here on there is no code of anybody else, so nothing is left half-done by a panic.
        let mut gone = self.shrink(&mut slots);
        let room = self.make_room(&mut slots, &entry, &mut gone);
        if room {
            self.era.store(era, Ordering::Relaxed);
            self.replace_shard(hash, |shard| shard.push((hash, entry.clone())));
        }
        drop(slots);
        gone.iter().map(|entry| &**entry).for_each(tell);
        room.then_some(entry)
    }

    /// Whether there is room for another entry; then it has its slot.
    fn make_room(&self, slots: &mut Slots<K, V>, entry: &Arc<Entry<K, V>>, gone: &mut Vec<Arc<Entry<K, V>>>) -> bool {
        if slots.entries.len() > slots.max_keys {
            return false;
        }
        if slots.entries.len() < slots.max_keys {
            slots.entries.push(entry.clone());
            return true;
        }
        let Some(slot) = slots.victim() else { return false };
        let victim = mem::replace(&mut slots.entries[slot], entry.clone());
        self.unlink(&victim);
        self.forgotten.fetch_add(1, Ordering::Relaxed);
        gone.push(victim);
        true
    }

    fn take(&self, slots: &mut Slots<K, V>, slot: usize) -> Arc<Entry<K, V>> {
        // Slots change their numbers.
        slots.stale.clear();
        let entry = slots.entries.swap_remove(slot);
        self.unlink(&entry);
        entry
    }

    fn unlink(&self, entry: &Arc<Entry<K, V>>) {
        self.replace_shard(entry.hash, |shard| shard.retain(|(_, other)| !Arc::ptr_eq(other, entry)));
    }

    /// Only with the lock held.
    fn replace_shard(&self, hash: u64, change: impl FnOnce(&mut Shard<K, V>)) {
        let shard = self.shard(hash);
        let mut copy = Shard::clone(&shard.load());
        change(&mut copy);
        shard.store(Arc::new(copy));
    }

    #[inline]
    fn shard(&self, hash: u64) -> &ArcSwap<Shard<K, V>> {
        &self.shards[hash as usize % SHARDS]
    }

    fn lock(&self) -> MutexGuard<'_, Slots<K, V>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[inline]
fn find<'a, K: Eq, V>(shard: &'a Shard<K, V>, hash: u64, key: &K) -> Option<&'a Arc<Entry<K, V>>> {
    shard.iter().find(|(other, entry)| *other == hash && entry.key == *key).map(|(_, entry)| entry)
}

// ===== impl Slots =====

impl<K, V: Ranked> Slots<K, V> {
    /// The slot whose entry is to go, and has been told so; none if no entry can.
    fn victim(&mut self) -> Option<usize> {
        while let Some((slot, used)) = self.stale.pop() {
            let entry = &self.entries[slot];
            let stands = entry.used.load(Ordering::Relaxed) == used && entry.value.rank() == Rank::Idle;
            if stands && entry.value.let_go() {
                return Some(slot);
            }
        }
        self.look_at_all()
    }

    fn look_at_all(&mut self) -> Option<usize> {
        let stand =
            |(slot, entry): (usize, &Arc<Entry<K, V>>)| (entry.value.rank(), entry.used.load(Ordering::Relaxed), slot);
        let mut all: Vec<_> = self.entries.iter().enumerate().map(stand).collect();
        let few = (all.len() / 16).max(1);
        all.select_nth_unstable(few - 1);
        all[..few].sort_unstable();
        // The first, as a rule. One that was idle a moment ago may be in use by now; then it is the next.
        let at = all.iter().position(|(.., slot)| self.entries[*slot].value.let_go())?;
        // Of the others only what may go without another look: no rank is lower than this one.
        let idle = all[..few].iter().skip(at + 1).filter(|(rank, ..)| *rank == Rank::Idle);
        self.stale = idle.rev().map(|(_, used, slot)| (*slot, *used)).collect();
        Some(all[at].2)
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests;
