//! The processor's own counter, which is cheap to read, counted on from a reading of the real clock.

use std::{cell::Cell, sync::LazyLock, time::Duration};

use quanta::Clock;
use tokio::time::Instant;

/// For how long a reading of the clock is counted on from. However wrong a counter goes, as in a machine that is moved to
/// another host, it is never by more.
const GOOD_FOR: Duration = Duration::from_millis(1);

/// How long a reading of the clock may take. It is somewhere in between that the clock said what it said, so a thread
/// that was put to sleep meanwhile knows nothing.
const SHARP: Duration = Duration::from_micros(5);

/// Made, and held against the real clock for some hundred microseconds, when the first policy is.
static COUNTER: LazyLock<Clock> = LazyLock::new(Clock::new);

thread_local! {
    static LAST: Cell<Option<Reading>> = const { Cell::new(None) };
}

/// What the clock said, and where the counter stood then.
#[derive(Debug, Clone, Copy)]
struct Reading {
    at: Instant,
    count: u64,
}

#[inline]
pub(super) fn now() -> Instant {
    let counter = &*COUNTER;
    let count = counter.raw();
    match LAST.get().and_then(|last| last.counted_on(count, |from, to| counter.delta_as_nanos(from, to))) {
        Some(now) => now,
        None => read(counter),
    }
}

#[cold]
fn read(counter: &Clock) -> Instant {
    let before = counter.raw();
    let at = Instant::now();
    let count = counter.raw();
    let sharp = counter.delta_as_nanos(before, count) <= SHARP.as_nanos() as u64;
    LAST.set(sharp.then_some(Reading { at, count }));
    at
}

impl Reading {
    /// The time at which the counter stands at `count`, unless that is too long after the reading, or before it: counters
    /// of two processors may differ, and one that slept may start anew.
    #[inline]
    fn counted_on(self, count: u64, nanos: impl Fn(u64, u64) -> u64) -> Option<Instant> {
        let since = nanos(self.count, count);
        let good = count >= self.count && since < u64::from(GOOD_FOR.subsec_nanos());
        // Less than a second, as can be seen: to add it takes no division.
        good.then(|| self.at + Duration::new(0, since as u32))
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use super::*;

    #[test]
    fn says_what_the_clock_says() {
        let began = Instant::now();
        let mut readings = 0;
        while began.elapsed() < Duration::from_millis(50) {
            let (before, counted, after) = (Instant::now(), now(), Instant::now());
            let early = before.saturating_duration_since(counted);
            let late = counted.saturating_duration_since(after);
            assert!(early.max(late) < GOOD_FOR, "{early:?} too early, {late:?} too late");
            readings += 1;
        }
        assert!(readings > 50, "{readings}");
    }

    #[test]
    fn a_reading_is_counted_on_from_for_a_millisecond_and_never_backwards() {
        let reading = Reading { at: Instant::now(), count: 1_000 };
        let three_a_nanosecond = |from, to: u64| to.saturating_sub(from) / 3;
        let counted_on = |count| reading.counted_on(count, three_a_nanosecond).map(|at| at - reading.at);
        assert_eq!(counted_on(1_000), Some(Duration::ZERO));
        assert_eq!(counted_on(1_300), Some(Duration::from_nanos(100)));
        assert_eq!(counted_on(3_000_997), Some(Duration::from_nanos(999_999)));
        assert_eq!(counted_on(3_001_000), None);
        assert_eq!(counted_on(999), None);
        assert_eq!(counted_on(u64::MAX), None);
    }
}
