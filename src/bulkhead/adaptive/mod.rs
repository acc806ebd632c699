//! A limit that finds itself: settings. The rules are in [`course`], one file an algorithm; the doing in [`limiter`].

mod aimd;
mod correlation;
mod course;
mod gradient2;
mod limiter;
mod samples;
mod statistics;
#[cfg(all(test, not(buttress_loom)))]
mod tests;
mod vegas;

use std::time::Duration;

pub use self::{aimd::Aimd, correlation::Correlation, gradient2::Gradient2, vegas::Vegas};
pub(super) use self::{course::Change, limiter::Limiter};
use crate::config::{InvalidConfig, LONGEST, check};

/// A limit that finds itself, from how long calls take and how they end.
///
/// A fixed limit is a guess: too low, and it refuses what the service could have done; too high, and it protects
/// nothing. And what was right yesterday is wrong after a deployment. An adaptive limit goes up as long as more calls at
/// once are done in more or less the same time, and down when they only wait for each other.
///
/// Every [`window`](Self::window), the algorithm sees how many calls succeeded and how long they took, how many were
/// *drops*, and how many were inside at once. A drop is a timeout, or a refusal for overload: HTTP 429, 503 and 504, gRPC
/// `RESOURCE_EXHAUSTED` and `DEADLINE_EXCEEDED`. Other failures say nothing of load, nor do calls that were cancelled.
///
/// Whatever the algorithm, the limit
/// - stays between [`min`](Self::min) and [`max`](Self::max),
/// - grows only if in the last window at least four fifths of it were in use, for nobody knows what a limit does that
///   isn't used; so it stays where it is while there is little to do,
/// - never grows in a window with more drops than [`drop_tolerance`](Self::drop_tolerance), so that constant timeouts,
///   whose latency is as even as can be, don't look like health.
///
/// It begins at [`max_concurrent`](crate::bulkhead::BulkheadConfig::max_concurrent).
///
/// ```
/// use std::time::Duration;
///
/// use buttress::{BulkheadLayer, bulkhead::Adaptive};
///
/// let layer = BulkheadLayer::http("search").adaptive(Adaptive::default().min(4).max(500));
/// assert_eq!(layer.handle().snapshot().limit, 25);
///
/// let layer = BulkheadLayer::http("mail").adaptive(Adaptive::aimd().window(Duration::from_millis(200)));
/// # drop(layer);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Adaptive {
    /// By which rule the limit moves. By default [`Correlation`].
    pub algorithm: Algorithm,
    /// The limit is never lower. 1 to 1,000,000 and not above `max`, by default 1.
    ///
    /// Raising it costs protection just when the service needs it most.
    pub min: usize,
    /// The limit is never higher. 1 to 1,000,000, by default 200 (Netflix's, failsafe-go's).
    ///
    /// Raising it costs what the service needs for so many calls at once, should the algorithm be wrong.
    pub max: usize,
    /// How long calls are watched before the limit may move. 1 ms to an hour, by default a second.
    ///
    /// Longer is steadier, and slower to see an overload. A window with fewer than `min_samples` calls goes on.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::text::time"))]
    pub window: Duration,
    /// From how few calls something may be concluded. 1 to 1,000,000, by default 10 (Netflix's `WindowedLimit`).
    pub min_samples: usize,
    /// Which part of the calls may be drops without the limit going down. 0 to 1 (1 excluded), by default 0.02.
    ///
    /// Raising it costs the service more overload before anything happens. At zero, a service that has one call in a
    /// thousand time out is driven to `min`.
    pub drop_tolerance: f64,
}

/// By which rule an adaptive limit moves.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum Algorithm {
    /// By the gradient of latency, and by whether more calls at once bring more throughput.
    Correlation(Correlation),
    /// Up by one, down by a part when calls are dropped.
    Aimd(Aimd),
    /// By how many calls seem to wait inside the service, compared with its best latency.
    Vegas(Vegas),
    /// By the ratio of long-term and present latency.
    Gradient2(Gradient2),
}

impl Default for Adaptive {
    fn default() -> Self {
        Self::by(Algorithm::Correlation(Correlation::default()))
    }
}

impl Adaptive {
    /// With this rule, and the other settings as they come.
    pub fn by(algorithm: Algorithm) -> Self {
        Self { algorithm, min: 1, max: 200, window: Duration::from_secs(1), min_samples: 10, drop_tolerance: 0.02 }
    }

    /// By [`Aimd`]: looks at drops only. For services that say no when they have too much to do.
    pub fn aimd() -> Self {
        Self::by(Algorithm::Aimd(Aimd::default()))
    }

    /// By [`Vegas`]: quick to see a queue, and at its best where all calls take about the same time.
    pub fn vegas() -> Self {
        Self::by(Algorithm::Vegas(Vegas::default()))
    }

    /// By [`Gradient2`]: for latencies that vary much from call to call.
    pub fn gradient2() -> Self {
        Self::by(Algorithm::Gradient2(Gradient2::default()))
    }

    /// Sets [`min`](Self::min).
    #[must_use]
    pub fn min(mut self, calls: usize) -> Self {
        self.min = calls;
        self
    }

    /// Sets [`max`](Self::max).
    #[must_use]
    pub fn max(mut self, calls: usize) -> Self {
        self.max = calls;
        self
    }

    /// Sets [`window`](Self::window).
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Sets [`min_samples`](Self::min_samples).
    #[must_use]
    pub fn min_samples(mut self, calls: usize) -> Self {
        self.min_samples = calls;
        self
    }

    /// Sets [`drop_tolerance`](Self::drop_tolerance).
    #[must_use]
    pub fn drop_tolerance(mut self, rate: f64) -> Self {
        self.drop_tolerance = rate;
        self
    }

    pub(super) fn validate(&self, most: usize) -> Result<(), InvalidConfig> {
        check("bulkhead.adaptive.max", self.max, 1..=most, "between 1 and 1000000")?;
        check("bulkhead.adaptive.min", self.min, 1..=self.max, "between 1 and bulkhead.adaptive.max")?;
        let (shortest, longest) = (Duration::from_millis(1), Duration::from_secs(3600));
        debug_assert!(longest <= LONGEST);
        check("bulkhead.adaptive.window", self.window, shortest..=longest, "between a millisecond and an hour")?;
        check("bulkhead.adaptive.min_samples", self.min_samples, 1..=most, "between 1 and 1000000")?;
        check("bulkhead.adaptive.drop_tolerance", self.drop_tolerance, 0.0..1.0, "at least 0 and less than 1")?;
        match &self.algorithm {
            Algorithm::Correlation(settings) => settings.validate(),
            Algorithm::Aimd(settings) => settings.validate(),
            Algorithm::Vegas(settings) => settings.validate(),
            Algorithm::Gradient2(settings) => settings.validate(),
        }
    }
}
