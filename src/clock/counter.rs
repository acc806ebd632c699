//! The processor's own counter, which is cheap to read, counted on from a reading of the real clock.

use std::{cell::Cell, sync::LazyLock, time::Duration};

use tokio::time::Instant;

/// For how long a reading of the clock is counted on from. However wrong a counter goes, as in a machine that is moved to
/// another host, it is never by more.
const GOOD_FOR: Duration = Duration::from_millis(1);

/// How long a reading of the clock may take. It is somewhere in between that the clock said what it said, so a thread
/// that was put to sleep meanwhile knows nothing.
const SHARP: Duration = Duration::from_micros(5);

/// Made, and held against the real clock for some hundred microseconds, when the first policy is.
static SOURCE: LazyLock<Source> = LazyLock::new(|| Source { began: Instant::now(), counter: quanta::Clock::new() });

thread_local! {
    static LAST: Cell<Option<Reading>> = const { Cell::new(None) };
}

struct Source {
    began: Instant,
    counter: quanta::Clock,
}

/// What the clock said, and where the counter stood then.
#[derive(Debug, Clone, Copy)]
struct Reading {
    at: Instant,
    /// The same, in nanoseconds since the source began.
    nanos: u64,
    count: u64,
}

/// Now.
#[inline]
pub(super) fn now() -> Instant {
    let (last, since) = SOURCE.look();
    // Less than a second, as can be seen: to add it takes no division.
    last.at + Duration::new(0, since)
}

/// The same, in nanoseconds since the source began.
#[inline]
pub(super) fn nanos() -> u64 {
    let (last, since) = SOURCE.look();
    last.nanos + u64::from(since)
}

/// The same of another moment.
pub(super) fn nanos_at(at: Instant) -> u64 {
    at.saturating_duration_since(SOURCE.began).as_nanos() as u64
}

impl Source {
    /// This thread's last reading, or a new one, and how many nanoseconds ago it was.
    #[inline]
    fn look(&self) -> (Reading, u32) {
        let count = self.counter.raw();
        if let Some(last) = LAST.get()
            && let Some(since) = last.since(count, |from, to| self.counter.delta_as_nanos(from, to))
        {
            return (last, since);
        }
        (self.read(), 0)
    }

    #[cold]
    fn read(&self) -> Reading {
        let before = self.counter.raw();
        let at = Instant::now();
        let count = self.counter.raw();
        let reading = Reading { at, nanos: nanos_at(at), count };
        let sharp = self.counter.delta_as_nanos(before, count) <= SHARP.as_nanos() as u64;
        LAST.set(sharp.then_some(reading));
        reading
    }
}

impl Reading {
    /// How many nanoseconds ago it was when the counter stands at `count`, unless that is too many, or it stood there
    /// before: counters of two processors may differ, and one that slept may start anew.
    #[inline]
    fn since(self, count: u64, nanos: impl Fn(u64, u64) -> u64) -> Option<u32> {
        let since = nanos(self.count, count);
        (count >= self.count && since < u64::from(GOOD_FOR.subsec_nanos())).then_some(since as u32)
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
            for read in [now, || SOURCE.began + Duration::from_nanos(nanos())] {
                let (before, counted, after) = (Instant::now(), read(), Instant::now());
                let early = before.saturating_duration_since(counted);
                let late = counted.saturating_duration_since(after);
                assert!(early.max(late) < GOOD_FOR, "{early:?} too early, {late:?} too late");
            }
            readings += 1;
        }
        assert!(readings > 50, "{readings}");
    }

    #[test]
    fn a_reading_is_counted_on_from_for_a_millisecond_and_never_backwards() {
        let reading = Reading { at: Instant::now(), nanos: 0, count: 1_000 };
        let three_a_nanosecond = |from, to: u64| to.saturating_sub(from) / 3;
        let since = |count| reading.since(count, three_a_nanosecond);
        assert_eq!(since(1_000), Some(0));
        assert_eq!(since(1_300), Some(100));
        assert_eq!(since(3_000_997), Some(999_999));
        assert_eq!(since(3_001_000), None);
        assert_eq!(since(999), None);
        assert_eq!(since(u64::MAX), None);
    }
}
