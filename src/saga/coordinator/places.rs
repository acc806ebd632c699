//! How many sagas that others left are held at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{Mutex, MutexGuard, Notify, OwnedSemaphorePermit, Semaphore};

/// So many places for sagas that are taken over.
#[derive(Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    /// From so many free ones on it is worth while to ask for more sagas.
    worth_while: usize,
    freed: Notify,
    /// More may be in the journal than there was a place for.
    left: AtomicBool,
    /// One takes over at a time: two would share what is free, and each think that there is no more.
    one: Mutex<()>,
}

/// A place; free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    permit: Option<OwnedSemaphorePermit>,
    places: Arc<Places>,
}

/// Leave to take over, one at a time.
#[derive(Debug)]
pub(crate) struct TakingOver<'a> {
    places: &'a Arc<Places>,
    _one: MutexGuard<'a, ()>,
}

/// Places that are kept free for a claim.
#[derive(Debug)]
pub(crate) struct Kept<'a> {
    permits: OwnedSemaphorePermit,
    places: &'a Arc<Places>,
}

impl Places {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(places)),
            worth_while: places.div_ceil(2),
            freed: Notify::new(),
            left: AtomicBool::new(false),
            one: Mutex::new(()),
        }
    }

    /// Waits for whoever takes over.
    pub(crate) async fn taking_over<'a>(self: &'a Arc<Self>) -> TakingOver<'a> {
        TakingOver { places: self, _one: self.one.lock().await }
    }

    /// Returns when half of the places are free, once each time that one becomes so.
    pub(crate) async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Whether enough are free to be worth a claim.
    pub(crate) fn is_worth_while(&self) -> bool {
        self.free.available_permits() >= self.worth_while
    }
}

impl TakingOver<'_> {
    /// Whether there may be more in the journal than there was a place for.
    pub(crate) fn is_left(&self) -> bool {
        self.places.left.load(Ordering::Relaxed)
    }

    /// Says whether there may. Not atomic with anything: only who takes over says it, or asks.
    pub(crate) fn leave(&self, left: bool) {
        self.places.left.store(left, Ordering::Relaxed);
    }

    /// As many places as are free, up to `most`; `None` if none is.
    pub(crate) fn keep(&self, most: u32) -> Option<Kept<'_>> {
        let free = u32::try_from(self.places.free.available_permits()).unwrap_or(u32::MAX).min(most);
        // Nobody else takes any, so they are free still.
        let permits = Arc::clone(&self.places.free).try_acquire_many_owned(free).ok()?;
        (free > 0).then_some(Kept { permits, places: self.places })
    }
}

impl Kept<'_> {
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.permits.num_permits()).unwrap_or(u32::MAX)
    }

    /// One of them.
    pub(crate) fn place(&mut self) -> Option<Place> {
        Some(Place { permit: Some(self.permits.split(1)?), places: Arc::clone(self.places) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Before it is asked how many are free.
        self.permit.take();
        if self.places.is_worth_while() {
            self.places.freed.notify_one();
        }
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use tokio_test::task;

    use super::*;

    impl Place {
        /// One that nobody counts.
        pub(crate) fn spare() -> Self {
            Self { permit: None, places: Arc::new(Places::new(1)) }
        }
    }

    async fn taken(places: &Arc<Places>, most: u32) -> Vec<Place> {
        let taking_over = places.taking_over().await;
        let mut kept = taking_over.keep(most);
        std::iter::from_fn(|| kept.as_mut()?.place()).collect()
    }

    #[tokio::test]
    async fn no_more_are_given_than_there_are_and_what_is_dropped_is_free_again() {
        let places = Arc::new(Places::new(5));
        let three = taken(&places, 3).await;
        let two = taken(&places, 3).await;
        assert_eq!((three.len(), two.len(), taken(&places, 3).await.len()), (3, 2, 0));
        drop(three);
        assert_eq!(taken(&places, 10).await.len(), 3, "and what wasn't used before is, too");
    }

    #[tokio::test]
    async fn it_is_told_when_half_are_free_and_not_before() {
        let places = Arc::new(Places::new(5));
        let mut held = taken(&places, 5).await;
        let mut freed = task::spawn(places.freed());
        held.truncate(3);
        assert!(freed.poll().is_pending() && !places.is_worth_while());
        held.truncate(2);
        assert!(freed.poll().is_ready() && places.is_worth_while());
    }

    #[tokio::test]
    async fn one_takes_over_at_a_time() {
        let places = Arc::new(Places::new(5));
        let one = places.taking_over().await;
        let mut other = task::spawn(places.taking_over());
        assert!(other.poll().is_pending());
        drop(one);
        assert!(other.is_woken() && other.poll().is_ready());
    }
}
