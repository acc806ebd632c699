//! The policy itself, usable without tower.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    clock,
    config::InvalidConfig,
    deadline::Deadline,
    meter::{Meter, Stopwatch, Whose},
    name::Name,
    registered::{Listed, Registered},
    rejection::{Reason, Rejection},
    timeout::{
        config::TimeoutConfig,
        event,
        future::Run,
        limit::Limit,
        meter::{Handles, whose},
    },
};

/// A limit on how long something may take: what [`TimeoutLayer::handle`](crate::timeout::TimeoutLayer::handle) gives,
/// and what guards a piece of work that is no service.
///
/// Cloning gives another handle to the same policy.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// use std::time::Duration;
///
/// use buttress::timeout::Timeout;
///
/// let report = Timeout::new("report");
/// assert_eq!(report.run(async { 42 }).await, Ok(42));
///
/// let elapsed = report.run(std::future::pending::<()>()).await.unwrap_err();
/// assert_eq!(elapsed.to_string(), "report: request timed out");
/// assert_eq!(report.snapshot().elapsed, 1);
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Timeout {
    shared: Arc<Shared>,
}

/// The counters stand alone: none is read to decide anything, and no other memory is published by them, so every
/// access is relaxed.
#[derive(Debug)]
struct Shared {
    name: Name,
    /// Nanoseconds; the longest that is allowed, a year, fits.
    within: AtomicU64,
    elapsed: AtomicU64,
    inherited: AtomicU64,
    refused: AtomicU64,
    meter: Meter<Handles>,
}

static ALL: Registered<Shared> = Registered::new();

impl Listed for Timeout {
    const KIND: &'static str = "timeout";

    fn listed() -> Vec<Self> {
        ALL.alive().into_iter().map(|shared| Self { shared }).collect()
    }

    fn name(&self) -> &Name {
        self.name()
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TimeoutSnapshot { within, elapsed, refused, .. } = self.snapshot();
        write!(f, "within {within:?}, {elapsed} ran out, {refused} refused")
    }

    #[cfg(feature = "metrics")]
    fn observe(&self, gauges: &mut crate::metrics::Gauges) {
        super::meter::gauges::of(self.whose(), self.within(), gauges);
    }
}

/// What a [`Timeout`] has done so far.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimeoutSnapshot {
    /// How long an exchange may take.
    pub within: Duration,
    /// Exchanges that were cut off, whoever set their time.
    pub elapsed: u64,
    /// Of those, the ones that were cut off at an inherited deadline and not at the end of `within`.
    pub inherited: u64,
    /// Calls that weren't made, for their deadline had passed.
    pub refused: u64,
}

impl Timeout {
    /// A timeout with the default settings.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    pub fn new(name: impl Into<Name>) -> Self {
        Self::built(name.into().required(), &TimeoutConfig::default())
    }

    /// A timeout with these settings.
    ///
    /// # Errors
    ///
    /// Which setting makes no sense, and what would.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    pub fn with_config(name: impl Into<Name>, config: TimeoutConfig) -> Result<Self, InvalidConfig> {
        config.validate()?;
        Ok(Self::built(name.into().required(), &config))
    }

    fn built(name: Name, config: &TimeoutConfig) -> Self {
        let shared = Shared {
            name,
            within: AtomicU64::new(nanos(config.within)),
            elapsed: AtomicU64::new(0),
            inherited: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            meter: Meter::new(),
        };
        let shared = Arc::new(shared);
        ALL.add(&shared);
        Self { shared }
    }

    /// The policy's name.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// The settings in force.
    pub fn config(&self) -> TimeoutConfig {
        TimeoutConfig { within: self.within() }
    }

    /// Changes the settings. Exchanges under way keep the time they were given.
    ///
    /// # Errors
    ///
    /// Which setting makes no sense, and what would; the old settings stay in force.
    pub fn reconfigure(&self, config: TimeoutConfig) -> Result<(), InvalidConfig> {
        config.validate()?;
        let before = self.shared.within.swap(nanos(config.within), Ordering::Relaxed);
        event::reconfigured(self.name(), &TimeoutConfig { within: Duration::from_nanos(before) }, &config);
        Ok(())
    }

    /// What it has done so far.
    pub fn snapshot(&self) -> TimeoutSnapshot {
        TimeoutSnapshot {
            within: self.within(),
            elapsed: self.shared.elapsed.load(Ordering::Relaxed),
            inherited: self.shared.inherited.load(Ordering::Relaxed),
            refused: self.shared.refused.load(Ordering::Relaxed),
        }
    }

    /// Runs `future` until it is done or the time is up, which is counted from here; its output, or that the time ran
    /// out. The future finds the deadline as the [current](Deadline::current) one, so whatever it calls inherits it.
    ///
    /// An inherited deadline that has already passed is answered without polling the future at all.
    ///
    /// # Errors
    ///
    /// The time is up. What the future had begun may have been carried out.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped when the time is up, at whatever `.await` it stands; the same happens if what this returns
    /// is dropped. Work that must not be cut off belongs into a task of its own, see [`Deadline::carry`].
    pub fn run<F: Future>(&self, future: F) -> Run<F> {
        match self.limit(clock::now(), None) {
            Ok(limit) => Run::limited(future, limit),
            Err(_) => Run::refused(self.name().clone()),
        }
    }

    /// The deadline of a call made `now`: the earliest of our own, the one the request came `with`, and the task's.
    #[inline]
    pub(crate) fn limit(&self, now: Instant, with: Option<Deadline>) -> Result<Limit, Rejection> {
        let inherited = [with, Deadline::current()].into_iter().flatten().min();
        if inherited.is_some_and(|deadline| deadline.has_passed(now)) {
            return Err(self.refuse());
        }
        Ok(Limit::new(self.clone(), Deadline::after_at(self.within(), now), inherited, Stopwatch::started(now)))
    }

    #[cold]
    fn refuse(&self) -> Rejection {
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
        self.meter().refused.increment();
        event::refused(self.name());
        Rejection::new("timeout", self.name().clone(), Reason::DeadlinePassed)
    }

    pub(crate) fn count_elapsed(&self, inherited: bool) {
        self.meter().elapsed(inherited);
        self.shared.elapsed.fetch_add(1, Ordering::Relaxed);
        if inherited {
            self.shared.inherited.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(super) fn meter(&self) -> &Handles {
        self.shared.meter.get(self.whose())
    }

    fn whose(&self) -> Whose<'_> {
        whose(self.name())
    }

    fn within(&self) -> Duration {
        Duration::from_nanos(self.shared.within.load(Ordering::Relaxed))
    }
}

fn nanos(within: Duration) -> u64 {
    u64::try_from(within.as_nanos()).expect("a year is 3e16 nanoseconds")
}
