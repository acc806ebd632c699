//! How many calls wait inside the service.

use crate::{
    bulkhead::adaptive::{
        course::{DROP_BACKOFF, Load, Reason},
        statistics::step,
    },
    config::{InvalidConfig, check},
};

/// Estimates how many calls wait for each other inside the service, from the best latency and the present one, and keeps
/// that number small: TCP Vegas, as Netflix's `VegasLimit` has it for services.
///
/// Up while fewer than [`alpha`](Self::alpha) steps wait, down when more than [`beta`](Self::beta) do; a step is one call,
/// two at a limit of a hundred, three at a thousand.
///
/// The best latency is that of the last two [`epoch`](Self::epoch)s, each five windows taken together: the best of hundreds of
/// single windows would be the luckiest, and the limit far too low for as long as that is remembered. Netflix's takes an
/// arbitrary sample for the best one every so often, which under load is a bad one, and lets the limit creep up; nobody is
/// kept waiting for a probe in either. A limit that begins in the midst of an overload takes that for the best there is.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Vegas {
    /// Below how many waiting, in steps, the limit goes up. 1 to 100, by default 3 (Netflix's).
    pub alpha: f64,
    /// Above how many waiting, in steps, the limit goes down. `alpha` to 1,000, by default 6 (Netflix's).
    pub beta: f64,
    /// How many windows a best latency is remembered for, at least; at most twice as many. 10 to 100,000, by default
    /// 300. Shorter follows a service sooner that has become slower for good, and forgets sooner how fast it was before
    /// the overload.
    pub epoch: u32,
}

impl Default for Vegas {
    fn default() -> Self {
        Self { alpha: 3.0, beta: 6.0, epoch: 300 }
    }
}

impl Vegas {
    pub(super) fn validate(&self) -> Result<(), InvalidConfig> {
        check("bulkhead.adaptive.algorithm.vegas.alpha", self.alpha, 1.0..=100.0, "between 1 and 100")?;
        check("bulkhead.adaptive.algorithm.vegas.beta", self.beta, self.alpha..=1000.0, "between alpha and 1000")?;
        check("bulkhead.adaptive.algorithm.vegas.epoch", self.epoch, 10..=100_000, "between 10 and 100000")
    }
}

/// How many windows a best latency is the mean of.
const TOGETHER: u32 = 5;

/// What it remembers.
#[derive(Debug)]
pub(super) struct State {
    settings: Vegas,
    windows: u32,
    /// The latencies that are not yet compared, and how many they are.
    sum: f64,
    summed: u32,
    best: f64,
    best_before: f64,
}

impl State {
    pub(super) fn new(settings: Vegas) -> Self {
        Self { settings, windows: 0, sum: 0.0, summed: 0, best: f64::INFINITY, best_before: f64::INFINITY }
    }

    pub(super) fn next(&mut self, load: &Load) -> (f64, Reason) {
        if load.drops {
            return (load.limit * DROP_BACKOFF, Reason::Drops);
        }
        let Some(latency) = load.mean else { return (load.limit, Reason::Unused) };
        let best = self.best_with(latency);
        if !load.used {
            return (load.limit, Reason::Unused);
        }
        let step = step(load.limit);
        let queue = (load.limit * (1.0 - best / latency)).ceil();
        if queue <= step {
            (load.limit + self.settings.beta * step, Reason::Room)
        } else if queue < self.settings.alpha * step {
            (load.limit + step, Reason::Room)
        } else if queue > self.settings.beta * step {
            (load.limit - step, Reason::Latency)
        } else {
            (load.limit, Reason::Settled)
        }
    }

    fn best_with(&mut self, latency: f64) -> f64 {
        self.windows += 1;
        if self.windows > self.settings.epoch {
            (self.windows, self.best_before, self.best) = (1, self.best, f64::INFINITY);
        }
        self.sum += latency;
        self.summed += 1;
        let mean = self.sum / f64::from(self.summed);
        if self.summed == TOGETHER {
            self.best = self.best.min(mean);
            (self.sum, self.summed) = (0.0, 0);
        }
        let best = self.best.min(self.best_before);
        // Of the first few it is the best there is.
        if best.is_finite() { best } else { mean }
    }
}
