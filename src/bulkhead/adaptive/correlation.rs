//! The gradient of latency, and whether more calls at once bring more throughput.

use crate::{
    bulkhead::adaptive::{
        course::{DROP_BACKOFF, Load, Reason},
        statistics::{Average, Median, Pairs, step},
    },
    config::{InvalidConfig, check},
};

/// Compares present latency with the long-term one, and asks besides whether calls at once and throughput still go up
/// together: failsafe-go's adaptive limiter, after Uber's Cinnamon and TCP Vegas. The default.
///
/// Latency alone is fooled by an overload that lasts: what is slow for long becomes what is usual, and the limit goes up
/// again. Throughput isn't fooled: beyond what a service can do, more calls at once only take longer. Nobody is kept
/// waiting so that a best latency can be probed. It learns
/// from a limit that moves; one that stands still in full use, as at `max`, is lowered by a tenth for a moment every twenty
/// windows.
///
/// Latency is the 90th percentile of a window (exact to an eighth), its median over five windows, smoothed: an outlier or
/// two move nothing. Differences from failsafe-go: the throughput is counted, not derived from the latency; what is
/// correlated is not smoothed, so that the limit comes down as soon as latency goes up; drops make the limit smaller; and a limit that isn't used stays where it is.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Correlation {
    /// How many windows the long-term latency looks back. 10 to 100,000, by default 60 (failsafe-go's).
    pub long_window: u32,
    /// Below how many waiting, in steps, the limit goes up. A step is one call, two at a limit of a hundred, three at a
    /// thousand. 1 to 100, by default 3 (failsafe-go's).
    pub alpha: f64,
    /// Above how many waiting, in steps, the limit goes down. `alpha` to 1,000, by default 6 (failsafe-go's).
    pub beta: f64,
}

impl Default for Correlation {
    fn default() -> Self {
        Self { long_window: 60, alpha: 3.0, beta: 6.0 }
    }
}

impl Correlation {
    pub(super) fn validate(&self) -> Result<(), InvalidConfig> {
        let long = "between 10 and 100000";
        check("bulkhead.adaptive.algorithm.correlation.long_window", self.long_window, 10..=100_000, long)?;
        check("bulkhead.adaptive.algorithm.correlation.alpha", self.alpha, 1.0..=100.0, "between 1 and 100")?;
        check("bulkhead.adaptive.algorithm.correlation.beta", self.beta, self.alpha..=1000.0, "between alpha and 1000")
    }
}

/// How many windows are looked at for what goes together (failsafe-go's, in its guide).
const WINDOWS: usize = 20;
/// From here on something is said to follow something else, below it isn't (both failsafe-go's).
const STRONG: f64 = 0.5;
const WEAK: f64 = 0.3;
/// Throughput that varies less doesn't follow anything.
const STEADY: f64 = 0.05;

/// What it remembers.
#[derive(Debug)]
pub(super) struct State {
    settings: Correlation,
    median: Median,
    short: Average,
    long: Average,
    throughput: Pairs<WINDOWS>,
    latency: Pairs<WINDOWS>,
    /// For how many windows in a row all of the limit was in use, and it didn't move.
    still: usize,
    last: Option<f64>,
}

impl State {
    pub(super) fn new(settings: Correlation) -> Self {
        Self {
            median: Median::default(),
            short: Average::over(5),
            long: Average::over(settings.long_window),
            throughput: Pairs::new(),
            latency: Pairs::new(),
            still: 0,
            last: None,
            settings,
        }
    }

    pub(super) fn next(&mut self, load: &Load) -> (f64, Reason) {
        if load.drops {
            return (load.limit * DROP_BACKOFF, Reason::Drops);
        }
        let Some(high) = load.high else { return (load.limit, Reason::Unused) };
        let short = self.short.add(self.median.add(high));
        let mut long = self.long.add(short);
        if long > 2.0 * short {
            long = self.long.lower(0.9);
        }
        let futile = self.is_futile(load, high);
        if !load.used {
            return (load.limit, Reason::Unused);
        }
        let step = step(load.limit);
        let queue = (load.limit * (1.0 - long / short)).ceil();
        if queue > self.settings.beta * step {
            (load.limit - step, Reason::Latency)
        } else if futile {
            (load.limit - step, Reason::Throughput)
        } else if self.is_stuck(load) {
            (load.limit * DROP_BACKOFF, Reason::Stuck)
        } else if queue < self.settings.alpha * step {
            (load.limit + step, Reason::Room)
        } else {
            (load.limit, Reason::Settled)
        }
    }

    /// Whether the limit, in use, hasn't moved for so long that there is nothing left to compare: as when it has come up to
    /// `max`, in an overload or not. A tenth less for a moment tells which.
    fn is_stuck(&mut self, load: &Load) -> bool {
        let moved = self.last.replace(load.limit) != Some(load.limit);
        self.still = if moved { 0 } else { self.still + 1 };
        self.still >= WINDOWS
    }

    /// Whether more calls at once have lately brought less throughput, or the same and more latency. The latency is that
    /// of each window as it is: smoothed, it would lag behind the calls that caused it.
    fn is_futile(&mut self, load: &Load, latency: f64) -> bool {
        let calls = f64::from(load.inside);
        let throughput = self.throughput.add(calls, load.throughput);
        let latency = self.latency.add(calls, latency);
        let (Some(throughput), Some(latency)) = (throughput, latency) else { return false };
        let slows_down = latency.correlation > STRONG;
        throughput.correlation < -STRONG
            || slows_down && (throughput.correlation < WEAK || throughput.variation < STEADY)
    }
}
