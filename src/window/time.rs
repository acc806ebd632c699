//! The last so much time.

use std::time::Duration;

use crate::{
    sync::{AtomicU32, Ordering},
    window::{Record, Ring, Tally},
};

/// What happened in the last `span`, in ten slices: the one that runs and the nine before it.
///
/// A call costs the same however many there are in the window: a count for each slice is kept, never the call.
#[derive(Debug)]
pub(crate) struct TimeWindow {
    span: Duration,
    slice_nanos: u64,
    calls: Ring<SLICES>,
    failures: Ring<SLICES>,
    slow: Ring<SLICES>,
    /// 1 once a call has failed or was slow, be it of late or not. Set before that is counted.
    faulted: AtomicU32,
}

const SLICES: usize = 10;

impl TimeWindow {
    pub(crate) fn new(span: Duration) -> Self {
        let slice_nanos = (span.as_nanos() as u64 / SLICES as u64).max(1);
        let [calls, failures, slow] = [(); 3].map(|()| Ring::new());
        Self { span, slice_nanos, calls, failures, slow, faulted: AtomicU32::new(0) }
    }

    pub(crate) fn span(&self) -> Duration {
        self.span
    }

    /// Records an outcome at `elapsed`, the time since the policy was made; `None` if `generation` is over.
    ///
    /// As long as nothing has ever failed or was slow, nothing is counted up and the tally is empty: no rule asks how many
    /// calls there were when all went well.
    pub(crate) fn record(&self, generation: u32, record: Record, elapsed: Duration) -> Option<Tally> {
        let tick = self.tick(generation, elapsed);
        // The calls first: whoever sees the failure then also sees the call.
        self.calls.add(tick)?;
        if record != Record::GOOD {
            self.faulted.store(1, Ordering::Relaxed);
        }
        if record.failed {
            self.failures.add(tick)?;
        }
        if record.slow {
            self.slow.add(tick)?;
        }
        let faultless = self.faulted.load(Ordering::Relaxed) == 0;
        Some(if faultless { Tally::default() } else { self.tally_at(tick) })
    }

    pub(crate) fn tally(&self, generation: u32, elapsed: Duration) -> Tally {
        self.tally_at(self.tick(generation, elapsed))
    }

    fn tally_at(&self, tick: u32) -> Tally {
        // The calls last: never more failures than calls.
        let (failures, slow) = (self.failures.sum(tick), self.slow.sum(tick));
        Tally { calls: self.calls.sum(tick), failures, slow }
    }

    /// A new generation jumps two windows ahead: it sees nothing of the one before, and a late outcome of that one falls
    /// behind the window, even where the clock was read a while before the window.
    fn tick(&self, generation: u32, elapsed: Duration) -> u32 {
        let slice = elapsed.as_nanos() as u64 / self.slice_nanos;
        (slice as u32).wrapping_add(generation.wrapping_mul(2 * SLICES as u32))
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use super::*;

    const BAD: Record = Record { failed: true, slow: false };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_older_than_the_window_falls_out() {
        let window = TimeWindow::new(at(10));
        window.record(1, BAD, at(100));
        window.record(1, Record::GOOD, at(104));
        assert_eq!(window.tally(1, at(109)), Tally { calls: 2, failures: 1, slow: 0 });
        assert_eq!(window.tally(1, at(110)), Tally { calls: 1, failures: 0, slow: 0 });
        assert_eq!(window.tally(1, at(114)), Tally::default());
    }

    #[test]
    fn a_new_generation_starts_empty_and_an_old_one_is_not_counted() {
        let window = TimeWindow::new(at(10));
        window.record(1, BAD, at(5));
        assert_eq!(window.tally(2, at(5)), Tally::default());
        window.record(2, Record::GOOD, at(5));
        window.record(1, BAD, at(5));
        assert_eq!(window.tally(2, at(5)), Tally { calls: 1, failures: 0, slow: 0 });
    }
}
