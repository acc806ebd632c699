//! A number that is taken from and given to, and never leaves its bounds.

use crate::sync::{AtomicU64, Ordering};

/// Starts full.
///
/// Memory ordering: the word publishes nothing but itself, so every access is relaxed; what is taken is looked at and
/// taken in one compare-and-swap.
#[derive(Debug)]
pub(super) struct Bucket {
    capacity: u64,
    left: AtomicU64,
}

impl Bucket {
    pub(super) fn full(capacity: u64) -> Self {
        Self { capacity, left: AtomicU64::new(capacity) }
    }

    pub(super) fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// By how much there is more than half.
    pub(super) fn above_half(&self) -> u64 {
        self.left().saturating_sub(self.capacity / 2)
    }

    pub(super) fn more_than_half(&self) -> bool {
        // Not `above_half`: half of an odd capacity isn't a whole number.
        self.left() * 2 > self.capacity
    }

    /// All of `amount`, or nothing.
    pub(super) fn take(&self, amount: u64) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(amount)).is_ok()
    }

    pub(super) fn take_up_to(&self, amount: u64) {
        self.update(|left| left.saturating_sub(amount));
    }

    /// What doesn't fit is lost. A full bucket isn't written to, so that threads that all succeed don't contend.
    pub(super) fn give(&self, amount: u64) {
        if self.left() < self.capacity {
            self.update(|left| left.saturating_add(amount).min(self.capacity));
        }
    }

    fn update(&self, mut change: impl FnMut(u64) -> u64) {
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(change(left)));
    }
}

#[cfg(all(test, buttress_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn a_bucket_is_never_overdrawn() {
        loom::model(|| {
            let bucket = Arc::new(Bucket::full(5));
            let threads = [2, 4].map(|amount| {
                let bucket = bucket.clone();
                thread::spawn(move || if bucket.take(amount) { amount } else { 0 })
            });
            bucket.give(1);
            let taken: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
            assert!(taken <= 6, "{taken}");
            assert!(bucket.left() <= 5 && bucket.left() + taken <= 6);
        });
    }
}
