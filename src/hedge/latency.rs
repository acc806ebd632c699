//! How long calls have taken of late, and which part of them took longer than how long.

use std::time::Duration;

use crate::{
    sync::{AtomicU32, AtomicU64, Ordering},
    window::Ring,
};

/// How long what was observed counts.
pub const OBSERVED_FOR: Duration = Duration::from_secs(SLICES as u64 * SLICE_SECONDS);

const SLICES: usize = 6;
const SLICE_SECONDS: u64 = 5;

/// Each power of two is divided into so many buckets, so that a latency is known to within a sixteenth.
const STEPS: u64 = 16;
/// Of microseconds: 71 minutes. What takes longer counts as that.
const LONGEST: u64 = u32::MAX as u64;
const BUCKETS: usize = bucket_of(LONGEST) + 1;

/// Latencies of the last [`OBSERVED_FOR`], counted in buckets that grow with what they hold.
///
/// Lock-free, of fixed size (22 KiB), and it costs one compare-and-swap to record one: a bucket is a [`Ring`], out of
/// which falls by itself what is too old. Memory ordering is the ring's; a quantile is of counts that were there at some
/// moment each, not all at the same one.
#[derive(Debug)]
pub(super) struct Latencies {
    buckets: Box<[Ring<SLICES>]>,
}

/// What is asked of the latencies, once in a while, and then known to every call.
///
/// Memory ordering: who wins the exchange of `asked` looks; each answer stands for itself, so all accesses are relaxed,
/// and a call that comes while somebody looks has the answers of before.
#[derive(Debug)]
pub(super) struct Asked {
    /// When it was last asked, in steps of [`ASKED_EVERY`] from 1; 0 is never.
    asked: AtomicU32,
    /// In microseconds and one more; 0 if too little was observed.
    quantile: AtomicU64,
    median: AtomicU64,
}

const ASKED_EVERY: Duration = Duration::from_millis(100);

impl Latencies {
    pub(super) fn new() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| Ring::new()).collect() }
    }

    /// Counts one, at `at` since the policy was made.
    #[inline]
    pub(super) fn record(&self, latency: Duration, at: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(LONGEST).min(LONGEST);
        self.buckets[bucket_of(micros)].add(slice(at));
    }

    /// What at most `1 - quantile` of the latencies exceed, for each of `quantiles`; `None` if there were fewer than
    /// `enough`.
    pub(super) fn quantiles<const N: usize>(
        &self,
        quantiles: [f64; N],
        enough: u64,
        at: Duration,
    ) -> Option<[Duration; N]> {
        let slice = slice(at);
        let mut counts = [0; BUCKETS];
        for (count, bucket) in counts.iter_mut().zip(&self.buckets) {
            *count = bucket.sum(slice);
        }
        let all: u64 = counts.iter().sum();
        if all < enough.max(1) {
            return None;
        }
        Some(quantiles.map(|quantile| {
            let rank = ((quantile * all as f64).ceil() as u64).clamp(1, all);
            let mut up_to = 0;
            let bucket = counts.iter().position(|count| {
                up_to += count;
                up_to >= rank
            });
            Duration::from_micros(highest_of(bucket.unwrap_or(BUCKETS - 1)))
        }))
    }
}

impl Asked {
    pub(super) fn new() -> Self {
        Self { asked: AtomicU32::new(0), quantile: AtomicU64::new(0), median: AtomicU64::new(0) }
    }

    /// The quantile and the median, as of at most [`ASKED_EVERY`] ago.
    pub(super) fn of(
        &self,
        latencies: &Latencies,
        quantile: f64,
        enough: u64,
        at: Duration,
    ) -> Option<(Duration, Duration)> {
        let now = (at.as_nanos() / ASKED_EVERY.as_nanos()) as u32;
        let now = now.wrapping_add(1).max(1);
        let asked = self.asked.load(Ordering::Relaxed);
        if asked != now && self.asked.compare_exchange(asked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let [quantile, median] =
                latencies.quantiles([quantile, 0.5], enough, at).map_or([0; 2], |found| found.map(to_word));
            self.quantile.store(quantile, Ordering::Relaxed);
            self.median.store(median, Ordering::Relaxed);
        }
        let read = |word: &AtomicU64| word.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_micros);
        Some((read(&self.quantile)?, read(&self.median)?))
    }
}

fn to_word(latency: Duration) -> u64 {
    latency.as_micros() as u64 + 1
}

fn slice(at: Duration) -> u32 {
    (at.as_secs() / SLICE_SECONDS) as u32
}

const fn bucket_of(micros: u64) -> usize {
    if micros < STEPS {
        return micros as usize;
    }
    let shift = (micros / STEPS).ilog2();
    shift as usize * STEPS as usize + (micros >> shift) as usize
}

/// The longest latency of a bucket.
fn highest_of(bucket: usize) -> u64 {
    let (bucket, steps) = (bucket as u64, STEPS);
    if bucket < 2 * steps {
        return bucket;
    }
    let shift = bucket / steps - 1;
    ((bucket - shift * steps + 1) << shift) - 1
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn of(latencies: &Latencies, quantile: f64, at: Duration) -> Option<Duration> {
        latencies.quantiles([quantile], 1, at).map(|[found]| found)
    }

    #[test]
    fn the_buckets_follow_one_another_without_a_gap() {
        let mut lowest = 0;
        for bucket in 0..BUCKETS {
            let highest = highest_of(bucket);
            assert_eq!((bucket_of(lowest), bucket_of(highest)), (bucket, bucket), "{lowest}..={highest}");
            lowest = highest + 1;
        }
        assert_eq!(lowest, LONGEST + 1);
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let latencies = Latencies::new();
        latencies.record(micros(1000), seconds(0));
        latencies.record(micros(10), seconds(20));
        assert_eq!(of(&latencies, 1.0, seconds(29)), Some(micros(1023)));
        assert_eq!(of(&latencies, 1.0, seconds(30)), Some(micros(10)));
        assert_eq!(of(&latencies, 1.0, seconds(50)), None);
    }

    #[test]
    fn too_few_are_none() {
        let latencies = Latencies::new();
        for call in 1..=20 {
            latencies.record(micros(7), seconds(1));
            assert_eq!(latencies.quantiles([0.5], 20, seconds(1)).is_some(), call == 20);
        }
    }

    #[test]
    fn what_takes_longer_than_anything_counts_as_the_longest() {
        let latencies = Latencies::new();
        latencies.record(Duration::MAX, seconds(0));
        assert_eq!(of(&latencies, 0.5, seconds(0)), Some(micros(LONGEST)));
    }

    #[test]
    fn it_is_asked_once_in_a_while() {
        let (latencies, asked) = (Latencies::new(), Asked::new());
        let ask = |millis| asked.of(&latencies, 0.9, 1, Duration::from_millis(millis));
        assert_eq!(ask(0), None);
        latencies.record(micros(5), seconds(0));
        assert_eq!(ask(99), None);
        assert_eq!(ask(100), Some((micros(5), micros(5))));
        latencies.record(micros(9), seconds(0));
        assert_eq!(ask(199), Some((micros(5), micros(5))));
        assert_eq!(ask(200), Some((micros(9), micros(5))));
        assert_eq!(ask(60_000), None);
    }

    /// From a few microseconds to an hour, each magnitude as likely as another.
    fn any_latency() -> impl Strategy<Value = u64> {
        (0_u32..32).prop_flat_map(|bits| 0..=(1_u64 << bits))
    }

    proptest! {
        #[test]
        fn a_quantile_is_the_exact_one_and_at_most_a_sixteenth_more(
            mut all in proptest::collection::vec(any_latency(), 1..300),
            quantile in 0.0_f64..=1.0,
        ) {
            let latencies = Latencies::new();
            for (at, latency) in all.iter().enumerate() {
                latencies.record(micros(*latency), Duration::from_millis(at as u64 * 10));
            }
            let found = of(&latencies, quantile, seconds(3)).unwrap().as_micros() as u64;
            all.sort_unstable();
            let rank = ((quantile * all.len() as f64).ceil() as usize).clamp(1, all.len());
            let exact = all[rank - 1].min(LONGEST);
            prop_assert!(exact <= found && found <= exact + exact / STEPS, "{} for {}", found, exact);
        }

        #[test]
        fn a_sliding_quantile_is_that_of_the_last_slices(
            calls in proptest::collection::vec((any_latency(), 0_u64..4), 1..200),
        ) {
            let latencies = Latencies::new();
            let mut now = 0;
            let mut all = Vec::new();
            for (latency, later) in calls {
                now += later;
                latencies.record(micros(latency), seconds(now));
                all.push((now / SLICE_SECONDS, latency));
                let slice = now / SLICE_SECONDS;
                let mut left: Vec<u64> =
                    all.iter().filter(|(then, _)| slice - then < SLICES as u64).map(|(_, latency)| *latency).collect();
                left.sort_unstable();
                let exact = left[left.len().div_ceil(2) - 1].min(LONGEST);
                let found = of(&latencies, 0.5, seconds(now)).unwrap().as_micros() as u64;
                prop_assert!(exact <= found && found <= exact + exact / STEPS, "{} for {}", found, exact);
            }
        }
    }
}

#[cfg(all(test, buttress_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn who_asks_while_another_looks_has_an_answer_that_was_right() {
        loom::model(|| {
            // Of one bucket, for there are too many to be modelled.
            let asked = Arc::new(Asked::new());
            let latencies = Arc::new(Latencies { buckets: Box::from([Ring::new()]) });
            latencies.buckets[0].add(0);
            let other = thread::spawn({
                let (asked, latencies) = (asked.clone(), latencies.clone());
                move || asked.of(&latencies, 0.9, 1, Duration::ZERO)
            });
            for found in [asked.of(&latencies, 0.9, 1, Duration::ZERO), other.join().unwrap()] {
                assert!(matches!(found, None | Some((Duration::ZERO, Duration::ZERO))), "{found:?}");
            }
            assert!(asked.of(&latencies, 0.9, 1, Duration::ZERO).is_some());
        });
    }
}
