//! Counts that many threads count and few read.
//!
//! Two threads at one count take the line of the cache away from each other, and whatever does little else, as an open
//! breaker does, is the slower the more ask it. So the first threads that count have a place of their own in each of
//! these, where nobody else writes, and need no more than a load and a store.

mod place;

use self::place::{PLACES, mine};
use crate::sync::{AtomicU64, Ordering};

/// `N` counts, which only go up; [`forget`](Self::forget) counts anew from there.
#[derive(Debug)]
pub(crate) struct Striped<const N: usize> {
    /// Of the threads that have a place.
    own: [Line<N>; PLACES],
    /// Of all others.
    shared: Line<N>,
    /// What has been forgotten.
    forgotten: [AtomicU64; N],
}

/// On lines of the cache of its own.
#[derive(Debug)]
#[repr(align(64))]
struct Line<const N: usize>([AtomicU64; N]);

impl<const N: usize> Striped<N> {
    pub(crate) fn new() -> Self {
        let counts = || std::array::from_fn(|_| AtomicU64::new(0));
        Self { own: std::array::from_fn(|_| Line(counts())), shared: Line(counts()), forgotten: counts() }
    }

    /// Counts one more of `which`.
    #[inline]
    pub(crate) fn count(&self, which: usize) {
        self.count_at(mine(), which);
    }

    /// How many of `which` were counted. What has been counted before is seen, what is counted meanwhile may be.
    pub(crate) fn read(&self, which: usize) -> u64 {
        self.sum(which).saturating_sub(self.forgotten[which].load(Ordering::Relaxed))
    }

    /// From now on all are zero.
    // Not by setting them, for then what a thread has just loaded would come back.
    pub(crate) fn forget(&self) {
        for (which, forgotten) in self.forgotten.iter().enumerate() {
            forgotten.store(self.sum(which), Ordering::Relaxed);
        }
    }

    /// For who has this place, if it is one.
    #[inline]
    fn count_at(&self, place: Option<usize>, which: usize) {
        match place.and_then(|place| self.own.get(place)) {
            Some(Line(own)) => own[which].store(own[which].load(Ordering::Relaxed) + 1, Ordering::Relaxed),
            None => _ = self.shared.0[which].fetch_add(1, Ordering::Relaxed),
        }
    }

    fn sum(&self, which: usize) -> u64 {
        let lines = self.own.iter().chain([&self.shared]);
        lines.map(|Line(counts)| counts[which].load(Ordering::Relaxed)).sum()
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn whatever_is_counted_by_more_threads_than_there_are_places_is_counted() {
        const THREADS: usize = 3 * PLACES;
        let counts = Striped::<2>::new();
        for round in 1..=4 {
            thread::scope(|scope| {
                for thread in 0..THREADS {
                    let counts = &counts;
                    scope.spawn(move || (0..1_000).for_each(|_| counts.count(thread % 2)));
                }
            });
            assert_eq!(counts.read(0) + counts.read(1), 1_000 * (THREADS * round) as u64);
            assert_eq!(counts.read(0), counts.read(1));
        }
    }

    #[test]
    fn what_was_forgotten_does_not_come_back() {
        let counts = Striped::<2>::new();
        (0..3).for_each(|_| counts.count(0));
        counts.forget();
        assert_eq!((counts.read(0), counts.read(1)), (0, 0));
        counts.count(0);
        counts.count(1);
        assert_eq!((counts.read(0), counts.read(1)), (1, 1));
    }
}

#[cfg(all(test, buttress_loom))]
mod loom_tests;
