//! The last so many calls.

use crate::{
    sync::{AtomicU64, Ordering},
    window::{Record, Tally},
};

/// The outcomes of the last `size` calls of a generation, two bits each, and their sums.
///
/// Every word carries the generation it belongs to, and every write is a compare-and-swap on the whole word. So a new
/// generation starts empty without anything being cleared, and a late outcome of an earlier one finds a newer
/// generation in its way and is not counted.
///
/// Orderings: each word stands for itself, so the swaps of `head` and of the outcomes need none. The sums are added to
/// with AcqRel and read with Acquire: who adds the deciding failure has then seen every sum its predecessors saw, so
/// of several failures recorded at once, one sees them all.
#[derive(Debug)]
pub(crate) struct CountWindow {
    size: u32,
    /// Where the next outcome goes: `0..size` while the window fills, then `size..2 * size` over and over.
    head: AtomicU64,
    failures: AtomicU64,
    slow: AtomicU64,
    outcomes: Box<[AtomicU64]>,
}

const FAILED: u32 = 0b01;
const SLOW: u32 = 0b10;
const OUTCOMES_A_WORD: u32 = 16;

impl CountWindow {
    pub(crate) fn new(size: u32) -> Self {
        Self {
            size,
            head: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            slow: AtomicU64::new(0),
            outcomes: (0..size.div_ceil(OUTCOMES_A_WORD)).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    /// Records an outcome; `None` if `generation` is over.
    pub(crate) fn record(&self, generation: u32, record: Record) -> Option<Tally> {
        if record == Record::GOOD && self.is_full_and_faultless(generation) {
            return Some(self.tally(generation));
        }
        let position = self.claim(generation)?;
        let after = u32::from(record.failed) * FAILED | u32::from(record.slow) * SLOW;
        let before = self.replace(generation, position, after)?;
        self.add(&self.failures, generation, delta(before, after, FAILED))?;
        self.add(&self.slow, generation, delta(before, after, SLOW))?;
        Some(self.tally(generation))
    }

    pub(crate) fn tally(&self, generation: u32) -> Tally {
        Tally {
            calls: u64::from(self.filled(generation)),
            failures: sum(&self.failures, generation),
            slow: sum(&self.slow, generation),
        }
    }

    /// A success in place of a success changes nothing, so nothing need be written for it.
    #[inline]
    pub(crate) fn is_full_and_faultless(&self, generation: u32) -> bool {
        let nothing = u64::from(generation) << 32;
        self.failures.load(Ordering::Relaxed) == nothing
            && self.slow.load(Ordering::Relaxed) == nothing
            && self.head.load(Ordering::Relaxed) >= nothing + u64::from(self.size)
    }

    fn filled(&self, generation: u32) -> u32 {
        let (of, head) = unpack(self.head.load(Ordering::Relaxed));
        if of == generation { head.min(self.size) } else { 0 }
    }

    /// The place of the next outcome in the ring.
    fn claim(&self, generation: u32) -> Option<u32> {
        let head = update(&self.head, generation, Ordering::Relaxed, |head| {
            if head + 1 == 2 * self.size { self.size } else { head + 1 }
        })?;
        Some(if head < self.size { head } else { head - self.size })
    }

    /// Puts an outcome in its place and returns the one that was there.
    fn replace(&self, generation: u32, position: u32, outcome: u32) -> Option<u32> {
        let word = &self.outcomes[(position / OUTCOMES_A_WORD) as usize];
        let shift = position % OUTCOMES_A_WORD * 2;
        let before = update(word, generation, Ordering::Relaxed, |bits| bits & !(0b11 << shift) | outcome << shift)?;
        Some(before >> shift & 0b11)
    }

    /// The sum may be below zero for a moment, when a place is overwritten before its first outcome has been added.
    fn add(&self, sum: &AtomicU64, generation: u32, delta: i32) -> Option<()> {
        // A sum of nothing is written once a generation, so that it is known to be of this one.
        if delta != 0 || unpack(sum.load(Ordering::Relaxed)).0 != generation {
            update(sum, generation, Ordering::AcqRel, |sum| sum.wrapping_add_signed(delta))?;
        }
        Some(())
    }
}

fn delta(before: u32, after: u32, bit: u32) -> i32 {
    i32::from(after & bit != 0) - i32::from(before & bit != 0)
}

fn sum(word: &AtomicU64, generation: u32) -> u64 {
    let (of, sum) = unpack(word.load(Ordering::Acquire));
    if of == generation { sum.cast_signed().max(0).cast_unsigned().into() } else { 0 }
}

/// Changes the value that `word` holds for `generation`, zero if it holds an earlier one's, and returns what it was.
/// `None` if `word` is a later generation's.
pub(crate) fn update(word: &AtomicU64, generation: u32, order: Ordering, change: impl Fn(u32) -> u32) -> Option<u32> {
    let mut current = word.load(Ordering::Relaxed);
    loop {
        let (of, value) = unpack(current);
        let before = match generation.wrapping_sub(of).cast_signed() {
            0 => value,
            age if age > 0 => 0,
            _ => return None,
        };
        let next = u64::from(generation) << 32 | u64::from(change(before));
        match word.compare_exchange_weak(current, next, order, Ordering::Relaxed) {
            Ok(_) => return Some(before),
            Err(other) => current = other,
        }
    }
}

/// The generation and the value that a word holds.
pub(crate) fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use super::*;

    const BAD: Record = Record { failed: true, slow: false };

    #[test]
    fn the_oldest_outcome_falls_out() {
        let window = CountWindow::new(3);
        let failures = [BAD, BAD, Record::GOOD, Record::GOOD, Record::GOOD, BAD]
            .map(|record| window.record(1, record).unwrap().failures);
        assert_eq!(failures, [1, 2, 2, 1, 0, 1]);
        assert_eq!(window.tally(1), Tally { calls: 3, failures: 1, slow: 0 });
    }

    #[test]
    fn slides_after_ten_thousand_successes() {
        let window = CountWindow::new(100);
        for _ in 0..10_000 {
            window.record(1, Record::GOOD);
        }
        for failures in 1..=100 {
            assert_eq!(window.record(1, BAD), Some(Tally { calls: 100, failures, slow: 0 }));
        }
        assert_eq!(window.record(1, BAD), Some(Tally { calls: 100, failures: 100, slow: 0 }));
    }

    #[test]
    fn a_new_generation_starts_empty_and_an_old_one_is_not_counted() {
        let window = CountWindow::new(20);
        for _ in 0..50 {
            window.record(7, BAD);
        }
        assert_eq!(window.record(8, Record::GOOD), Some(Tally { calls: 1, failures: 0, slow: 0 }));
        assert_eq!(window.record(7, BAD), None);
        assert_eq!(window.tally(8), Tally { calls: 1, failures: 0, slow: 0 });
    }
}

#[cfg(all(test, buttress_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    const BAD: Record = Record { failed: true, slow: false };

    #[test]
    fn of_two_failures_at_once_one_sees_both() {
        loom::model(|| {
            let window = Arc::new(CountWindow::new(2));
            let other = thread::spawn({
                let window = window.clone();
                move || window.record(1, BAD).unwrap()
            });
            let mine = window.record(1, BAD).unwrap();
            let other = other.join().unwrap();
            let both = Tally { calls: 2, failures: 2, slow: 0 };
            assert!(mine == both || other == both, "{mine:?} {other:?}");
            assert_eq!(window.tally(1), both);
        });
    }

    #[test]
    fn the_sum_is_that_of_the_outcomes_however_they_overwrite_each_other() {
        loom::model(|| {
            let window = Arc::new(CountWindow::new(1));
            let other = thread::spawn({
                let window = window.clone();
                move || {
                    window.record(1, BAD);
                }
            });
            window.record(1, Record::GOOD);
            other.join().unwrap();
            let failed = window.outcomes[0].load(Ordering::Relaxed) as u32 & FAILED;
            assert_eq!(window.tally(1).failures, u64::from(failed));
        });
    }

    #[test]
    fn a_late_outcome_never_reaches_a_later_generation() {
        loom::model(|| {
            let window = Arc::new(CountWindow::new(2));
            let late = thread::spawn({
                let window = window.clone();
                move || {
                    window.record(1, BAD);
                }
            });
            window.record(2, Record::GOOD);
            late.join().unwrap();
            window.record(2, Record::GOOD);
            assert_eq!(window.tally(2), Tally { calls: 2, failures: 0, slow: 0 });
        });
    }
}
