//! A count for each of the last few ticks.

use crate::sync::{AtomicU64, Ordering};

/// Counts what happens in each of the last `N` ticks; what is older falls out by itself.
///
/// A slot is one word of tick and count, so that a slot is taken over by a new tick, and added to, in one
/// compare-and-swap: a late writer finds a newer tick in its slot and is not counted. Nothing has to sweep.
///
/// Ticks wrap around after 2^32 of them, 13 years of the shortest tick in use; counts of the `N` ticks around that
/// moment may be lost. A slot that nobody touched for half as long refuses counts until the other half has passed.
#[derive(Debug)]
pub(crate) struct Ring<const N: usize> {
    slots: [AtomicU64; N],
}

impl<const N: usize> Ring<N> {
    pub(crate) fn new() -> Self {
        Self { slots: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// Counts one more in `tick`, and returns how many that tick now has; `None` if its slot is a later tick's by now.
    ///
    /// Release, so that who sees the count also sees what was counted before it.
    pub(crate) fn add(&self, tick: u32) -> Option<u32> {
        let slot = self.slot(tick);
        let mut word = slot.load(Ordering::Relaxed);
        loop {
            let count = match age(tick, word) {
                0 => count_of(word).saturating_add(1),
                age if age > 0 => 1,
                _ => return None,
            };
            match slot.compare_exchange_weak(word, pack(tick, count), Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Some(count),
                Err(current) => word = current,
            }
        }
    }

    /// How many there are in `tick` so far.
    pub(crate) fn count(&self, tick: u32) -> u32 {
        let word = self.slot(tick).load(Ordering::Relaxed);
        if age(tick, word) == 0 { count_of(word) } else { 0 }
    }

    /// How many there were in the `N` ticks that end with `tick`.
    pub(crate) fn sum(&self, tick: u32) -> u64 {
        self.slots
            .iter()
            .map(|slot| slot.load(Ordering::Acquire))
            .filter(|word| (0..N as i32).contains(&age(tick, *word)))
            .map(|word| u64::from(count_of(word)))
            .sum()
    }

    fn slot(&self, tick: u32) -> &AtomicU64 {
        &self.slots[tick as usize % N]
    }
}

fn pack(tick: u32, count: u32) -> u64 {
    (u64::from(tick) << 32) | u64::from(count)
}

fn count_of(word: u64) -> u32 {
    word as u32
}

/// By how many ticks the word is older than `tick`; negative if it is newer.
fn age(tick: u32, word: u64) -> i32 {
    tick.wrapping_sub((word >> 32) as u32) as i32
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_tick_falls_out() {
        let ring = Ring::<10>::new();
        for tick in 0..30 {
            assert_eq!(ring.add(tick), Some(1));
            assert_eq!(ring.add(tick), Some(2));
            assert_eq!(ring.sum(tick), 2 * u64::from(tick + 1).min(10), "at tick {tick}");
        }
        assert_eq!(ring.sum(34), 10);
        assert_eq!(ring.sum(39), 0);
    }

    #[test]
    fn a_late_writer_is_not_counted() {
        let ring = Ring::<10>::new();
        ring.add(25);
        assert_eq!(ring.add(15), None);
        assert_eq!(ring.sum(25), 1);
    }
}

#[cfg(all(test, buttress_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    /// Counts once in `tick` on another thread while `f` runs here.
    fn beside(
        tick: u32,
        f: impl Fn(&Ring<2>) + Send + Sync + 'static,
        check: impl Fn(&Ring<2>) + Send + Sync + 'static,
    ) {
        loom::model(move || {
            let ring = Arc::new(Ring::new());
            let other = thread::spawn({
                let ring = ring.clone();
                move || {
                    ring.add(tick);
                }
            });
            f(&ring);
            other.join().unwrap();
            check(&ring);
        });
    }

    #[test]
    fn two_at_once_are_two() {
        beside(
            5,
            |ring| {
                ring.add(5);
            },
            |ring| assert_eq!(ring.sum(5), 2),
        );
    }

    #[test]
    fn a_new_tick_takes_a_slot_over_with_nothing_of_the_old_one() {
        beside(
            5,
            |ring| {
                assert_eq!(ring.add(7), Some(1));
                ring.add(7);
            },
            |ring| assert_eq!(ring.sum(7), 2),
        );
    }
}
