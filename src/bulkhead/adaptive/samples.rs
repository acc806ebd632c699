//! What the calls of the present window were like: written by every call, lock-free and without allocating.

use std::time::Duration;

use crate::{
    bulkhead::adaptive::course::Window,
    sync::{AtomicU32, AtomicU64, Ordering},
};

/// Eight buckets for each doubling of latency, from a microsecond to twelve days; shorter and longer ones fall into the
/// first and the last.
const PER_DOUBLING: u32 = 8;
const BUCKETS: usize = (40 * PER_DOUBLING) as usize;

/// Every counter stands for itself, so that all are Relaxed: a call that ends while the window is taken is counted in
/// this one or in the next, or by halves in both, which is one call in many.
#[derive(Debug)]
pub(super) struct Samples {
    /// How many successes took about so long.
    latencies: Box<[AtomicU32]>,
    nanos: AtomicU64,
    drops: AtomicU64,
    inside: AtomicU32,
    calls: AtomicU64,
}

impl Samples {
    pub(super) fn new() -> Self {
        Self {
            latencies: (0..BUCKETS).map(|_| AtomicU32::new(0)).collect(),
            nanos: AtomicU64::new(0),
            drops: AtomicU64::new(0),
            inside: AtomicU32::new(0),
            calls: AtomicU64::new(0),
        }
    }

    pub(super) fn success(&self, took: Duration, inside: u32) {
        self.latencies[bucket(took)].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
        self.call(inside);
    }

    pub(super) fn drop(&self, inside: u32) {
        self.drops.fetch_add(1, Ordering::Relaxed);
        self.call(inside);
    }

    /// How many calls the window has.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn call(&self, inside: u32) {
        // Mostly it isn't a record, and a load is cheaper than a write.
        if inside > self.inside.load(Ordering::Relaxed) {
            self.inside.fetch_max(inside, Ordering::Relaxed);
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// The window that has `lasted` so long; the next one begins empty.
    pub(super) fn take(&self, lasted: Duration) -> Window {
        self.calls.swap(0, Ordering::Relaxed);
        let nanos = self.nanos.swap(0, Ordering::Relaxed);
        let drops = self.drops.swap(0, Ordering::Relaxed);
        let inside = self.inside.swap(0, Ordering::Relaxed);
        let mut counts = [0; BUCKETS];
        for (count, latency) in counts.iter_mut().zip(&self.latencies) {
            // Most are empty.
            if latency.load(Ordering::Relaxed) > 0 {
                *count = latency.swap(0, Ordering::Relaxed);
            }
        }
        let successes = counts.iter().map(|count| u64::from(*count)).sum();
        let mean = Duration::from_nanos(nanos.checked_div(successes).unwrap_or(0));
        Window { lasted, successes, drops, inside, mean, high: quantile(&counts, successes) }
    }
}

fn bucket(took: Duration) -> usize {
    let units = (took.as_nanos() / 125).max(8) as u64;
    // Eight units are a microsecond: three bits below the highest one tell the eighth of a doubling.
    let doubling = units.ilog2() - 3;
    let eighth = (units >> doubling) as u32 - PER_DOUBLING;
    ((doubling * PER_DOUBLING + eighth) as usize).min(BUCKETS - 1)
}

/// The middle of a bucket.
fn latency(bucket: usize) -> Duration {
    let (doubling, eighth) = (bucket as u32 / PER_DOUBLING, bucket as u64 % u64::from(PER_DOUBLING));
    let twice = 2 * (u64::from(PER_DOUBLING) + eighth) + 1;
    Duration::from_nanos((twice << doubling) * 125 / 2)
}

/// What nine in ten don't exceed.
fn quantile(counts: &[u32; BUCKETS], successes: u64) -> Duration {
    let rank = (successes * 9).div_ceil(10);
    let mut seen = 0;
    for (index, count) in counts.iter().enumerate() {
        seen += u64::from(*count);
        if *count > 0 && seen >= rank {
            return latency(index);
        }
    }
    Duration::ZERO
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_window_tells_what_its_calls_were_like_and_the_next_begins_empty() {
        let samples = Samples::new();
        for millis in 1..=100 {
            samples.success(Duration::from_millis(millis), millis as u32 % 7);
        }
        samples.drop(9);
        assert_eq!(samples.calls(), 101);
        let window = samples.take(Duration::from_secs(1));
        assert_eq!((window.successes, window.drops, window.inside), (100, 1, 9));
        assert_eq!(window.mean, Duration::from_micros(50_500));
        assert!((80..=100).contains(&window.high.as_millis()), "{:?}", window.high);
        let next = samples.take(Duration::from_secs(1));
        assert_eq!((next.successes, next.drops, next.inside, next.high), (0, 0, 0, Duration::ZERO));
        assert_eq!(samples.calls(), 0);
    }

    proptest! {
        #[test]
        fn a_latency_is_kept_to_an_eighth(nanos in 1_000..1_000_000_000_000_000_u64) {
            let kept = latency(bucket(Duration::from_nanos(nanos))).as_nanos() as f64;
            prop_assert!((kept / nanos as f64 - 1.0).abs() <= 0.125, "{nanos} became {kept}");
        }

        #[test]
        fn every_latency_has_a_bucket(nanos in any::<u64>()) {
            prop_assert!(bucket(Duration::from_nanos(nanos)) < BUCKETS);
        }
    }

    #[test]
    fn the_shortest_and_the_longest_have_a_bucket() {
        assert_eq!((bucket(Duration::ZERO), bucket(Duration::MAX)), (0, BUCKETS - 1));
    }
}
