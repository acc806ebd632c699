//! Every policy of a kind that there is in the process, for the [registry](crate::registry) to list.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use crate::{clock, name::Name};

/// All values of a kind that are alive: one `static` a kind, added to where a policy is made.
///
/// It keeps nobody alive. The dead are taken out when there would be no room for another, so it holds at most twice as
/// many as were ever alive at once, and adding costs the same on average however many there are. No call comes by here.
pub(crate) struct Registered<T: ?Sized> {
    /// The oldest first.
    all: Mutex<Vec<Weak<T>>>,
}

/// What the registry asks of a kind of policy.
pub(crate) trait Listed: Sized {
    /// What rejections, events and metrics call this kind: `circuit_breaker`.
    const KIND: &'static str;

    /// All that are alive, the oldest first.
    fn listed() -> Vec<Self>;

    /// Its name.
    fn name(&self) -> &Name;

    /// How it stands, for people: a few words without its name.
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// What its gauges are to be set to.
    #[cfg(feature = "metrics")]
    fn observe(&self, _gauges: &mut crate::metrics::Gauges) {}
}

impl<T: ?Sized> Registered<T> {
    pub(crate) const fn new() -> Self {
        Self { all: Mutex::new(Vec::new()) }
    }

    pub(crate) fn add(&self, made: &Arc<T>) {
        clock::prepare();
        let mut all = self.lock();
        if all.len() == all.capacity() {
            all.retain(|weak| weak.strong_count() > 0);
            // As much room again as is taken, or the next would look at all of them again.
            let alive = all.len();
            all.reserve(alive.max(4));
        }
        all.push(Arc::downgrade(made));
    }

    /// All that are alive, the oldest first.
    pub(crate) fn alive(&self) -> Vec<Arc<T>> {
        self.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Nothing of anybody else runs under the lock, so it isn't poisoned but by a lack of memory.
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<T>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use super::*;

    #[test]
    fn lists_who_is_alive_the_oldest_first() {
        static ALL: Registered<u32> = Registered::new();
        let made: Vec<_> = (0..10).map(Arc::new).collect();
        made.iter().for_each(|one| ALL.add(one));
        let alive = ALL.alive();
        assert_eq!(alive, made);
        drop(alive);
        drop(made.into_iter().filter(|one| **one % 2 == 1).collect::<Vec<_>>());
        assert!(ALL.alive().is_empty());
    }

    #[test]
    fn the_dead_take_no_more_room_than_the_living_did() {
        let all = Registered::new();
        let alive: Vec<_> = (0..100).map(Arc::new).collect();
        alive.iter().for_each(|one| all.add(one));
        for short_lived in 0..100_000 {
            all.add(&Arc::new(short_lived));
        }
        assert_eq!(all.alive(), alive);
        assert!(all.lock().capacity() <= 400, "{}", all.lock().capacity());
    }
}
