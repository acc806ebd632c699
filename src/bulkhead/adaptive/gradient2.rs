//! The ratio of long-term and present latency.

use crate::{
    bulkhead::adaptive::{
        course::{DROP_BACKOFF, Load, Reason},
        statistics::Average,
    },
    config::{InvalidConfig, check},
};

/// Multiplies the limit by the ratio of long-term and present latency, and allows for a small queue: Netflix's
/// `Gradient2Limit`.
///
/// Averages, and not best latencies, are compared, so that it suits calls of all sizes. What Netflix's does not do: drops
/// make the limit smaller (Netflix's ignores them, and grows under timeouts, which are the evenest of latencies), and the
/// queue is allowed for only while latency doesn't rise, without which a moderate overload lets the limit creep up. For the
/// same reason Netflix's tolerance of a half is one of 3 % here, of latencies averaged over five windows: neither the chance
/// that is in them nor that in the first ones they are held against brings the limit down for good, and an overload that lasts
/// brings it up by some 3 % in each [`long_window`](Self::long_window).
/// A limit that begins in the midst of an overload stays there.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Gradient2 {
    /// By how much the limit may grow a window while latency stays as it is. 1 to 1,000, by default 4 (Netflix's).
    pub queue: usize,
    /// Which part of the way to the new limit is gone in one window. Above 0, at most 1, by default 0.2 (Netflix's).
    pub smoothing: f64,
    /// How many windows the long-term latency looks back. 10 to 100,000, by default 600 (Netflix's).
    pub long_window: u32,
}

impl Default for Gradient2 {
    fn default() -> Self {
        Self { queue: 4, smoothing: 0.2, long_window: 600 }
    }
}

impl Gradient2 {
    pub(super) fn validate(&self) -> Result<(), InvalidConfig> {
        check("bulkhead.adaptive.algorithm.gradient2.queue", self.queue, 1..=1000, "between 1 and 1000")?;
        let smoothing = (self.smoothing, f64::MIN_POSITIVE..=1.0);
        check("bulkhead.adaptive.algorithm.gradient2.smoothing", smoothing.0, smoothing.1, "above 0 and at most 1")?;
        let long = "between 10 and 100000";
        check("bulkhead.adaptive.algorithm.gradient2.long_window", self.long_window, 10..=100_000, long)
    }
}

/// What of a rise in latency is taken for chance.
const TOLERANCE: f64 = 1.03;

/// What it remembers.
#[derive(Debug)]
pub(super) struct State {
    settings: Gradient2,
    short: Average,
    long: Average,
}

impl State {
    pub(super) fn new(settings: Gradient2) -> Self {
        Self { short: Average::over(5), long: Average::over(settings.long_window), settings }
    }

    pub(super) fn next(&mut self, load: &Load) -> (f64, Reason) {
        if load.drops {
            return (load.limit * DROP_BACKOFF, Reason::Drops);
        }
        let Some(short) = load.mean else { return (load.limit, Reason::Unused) };
        let mut long = self.long.add(short);
        let short = self.short.add(short);
        if long > 2.0 * short {
            long = self.long.lower(0.9);
        }
        if !load.used {
            return (load.limit, Reason::Unused);
        }
        let gradient = (TOLERANCE * long / short).clamp(0.5, 1.0);
        let queue = if gradient < 1.0 { 0.0 } else { self.settings.queue as f64 };
        let aim = load.limit * gradient + queue;
        let next = load.limit + (aim - load.limit) * self.settings.smoothing;
        (next, if gradient < 1.0 { Reason::Latency } else { Reason::Room })
    }
}
