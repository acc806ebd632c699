//! The policy itself, shared by the layers, the services and whoever watches them.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use super::{config::RetryConfig, event, meter::Handles};
use crate::{
    budget::Budget,
    config::InvalidConfig,
    meter::{Meter, Whose},
    name::Name,
    registered::{Listed, Registered},
    repeat::replay::{Limit, Oversized},
};

/// A retry policy: what [`RetryLayer::handle`](super::RetryLayer::handle) gives, to watch it and to set it anew. A clone
/// is the same policy.
#[derive(Clone)]
pub struct Retry {
    core: Arc<Core>,
}

static ALL: Registered<Core> = Registered::new();

impl Listed for Retry {
    const KIND: &'static str = "retry";

    fn listed() -> Vec<Self> {
        ALL.alive().into_iter().map(|core| Self { core }).collect()
    }

    fn name(&self) -> &Name {
        self.name()
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RetrySnapshot { retries, recovered, budget_available, .. } = self.snapshot();
        let attempts = self.config().max_attempts;
        write!(
            f,
            "{attempts} attempts at most, {retries} retries made, {recovered} calls saved, {budget_available} left"
        )
    }

    #[cfg(feature = "metrics")]
    fn observe(&self, gauges: &mut crate::metrics::Gauges) {
        super::meter::gauges::of(self.core.whose(), self.budget().available(), gauges);
    }
}

/// What stays, whatever the settings.
#[derive(Debug)]
pub(crate) struct Core {
    pub(super) name: Name,
    pub(super) counts: Counts,
    meter: Meter<Handles>,
    /// It has been said that nobody has said what is safe.
    pub(super) unsaid: AtomicBool,
    /// Goes up with each change of `current`. A service has the settings at hand, and looks only at this.
    version: AtomicU32,
    current: Mutex<Current>,
}

/// The settings as they are now. Services share one copy of them, which leads back here, and so isn't held from here.
#[derive(Debug)]
struct Current {
    config: RetryConfig,
    budget: Budget,
    shared: Weak<Settings>,
}

/// The settings of one version. Not changed once they are made.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) config: RetryConfig,
    pub(super) budget: Budget,
    pub(super) limit: Limit,
    pub(super) core: Arc<Core>,
    version: u32,
}

/// All relaxed: they are read for people.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) retries: AtomicU64,
    pub(super) recovered: AtomicU64,
    pub(super) too_large: AtomicU64,
    gave_up: [AtomicU64; 7],
}

/// Why a failed attempt was the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GaveUp {
    Attempts,
    Tiers,
    Unsafe,
    NotReplayable,
    Deadline,
    Budget,
    Refused,
}

impl GaveUp {
    /// In the order of their discriminants.
    pub(super) const ALL: [Self; 7] =
        [Self::Attempts, Self::Tiers, Self::Unsafe, Self::NotReplayable, Self::Deadline, Self::Budget, Self::Refused];

    /// The reason as a label of a metric.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::Tiers => "tiers",
            Self::Unsafe => "unsafe",
            Self::NotReplayable => "not_replayable",
            Self::Deadline => "deadline",
            Self::Budget => "budget",
            Self::Refused => "refused",
        }
    }
}

impl Retry {
    /// A policy with the default settings.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    pub fn new(name: impl Into<Name>) -> Self {
        Self::valid(name.into(), RetryConfig::default())
    }

    /// A policy with these settings.
    ///
    /// # Errors
    ///
    /// A setting that is outside its range.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    pub fn with_config(name: impl Into<Name>, config: RetryConfig) -> Result<Self, InvalidConfig> {
        config.validate()?;
        Ok(Self::valid(name.into(), config))
    }

    fn valid(name: Name, config: RetryConfig) -> Self {
        let budget = Budget::valid(config.budget);
        let core = Core {
            name: name.required(),
            counts: Counts::default(),
            meter: Meter::new(),
            unsaid: AtomicBool::new(false),
            version: AtomicU32::new(0),
            current: Mutex::new(Current { config, budget, shared: Weak::new() }),
        };
        let core = Arc::new(core);
        ALL.add(&core);
        Self { core }
    }

    /// The policy's name.
    pub fn name(&self) -> &Name {
        &self.core.name
    }

    /// The settings as they are now.
    pub fn config(&self) -> RetryConfig {
        self.core.current().config.clone()
    }

    /// The budget that retries are taken from.
    pub fn budget(&self) -> Budget {
        self.core.current().budget.clone()
    }

    /// Sets the policy anew while it runs; calls under way end by the settings they began with.
    ///
    /// The budget stays what it is, and shared with whom it is, unless its setting is another one.
    ///
    /// # Errors
    ///
    /// A setting that is outside its range; nothing has changed then.
    pub fn reconfigure(&self, config: RetryConfig) -> Result<(), InvalidConfig> {
        let mut before = None;
        self.alter(|current| before = Some(std::mem::replace(current, config.clone())))?;
        if let Some(before) = before {
            event::reconfigured(self.name(), &before, &config);
        }
        Ok(())
    }

    /// As [`reconfigure`](Self::reconfigure), by a change of the settings as they are.
    pub(super) fn alter(&self, change: impl FnOnce(&mut RetryConfig)) -> Result<(), InvalidConfig> {
        self.change(|current| {
            let mut config = current.config.clone();
            change(&mut config);
            config.validate()?;
            let kept = current.config.budget == config.budget;
            let budget = if kept { current.budget.clone() } else { Budget::valid(config.budget) };
            Ok((config, budget))
        })
    }

    /// Takes retries from `budget` from now on.
    pub fn share_budget(&self, budget: Budget) {
        let changed =
            self.change(|current| Ok((RetryConfig { budget: budget.config(), ..current.config.clone() }, budget)));
        debug_assert!(changed.is_ok(), "a budget that exists is a valid one");
    }

    /// What has happened so far.
    pub fn snapshot(&self) -> RetrySnapshot {
        let counts = &self.core.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let gave_up = |why: GaveUp| read(&counts.gave_up[why as usize]);
        RetrySnapshot {
            name: self.name().clone(),
            retries: read(&counts.retries),
            recovered: read(&counts.recovered),
            too_large: read(&counts.too_large),
            gave_up_attempts: gave_up(GaveUp::Attempts),
            gave_up_tiers: gave_up(GaveUp::Tiers),
            gave_up_unsafe: gave_up(GaveUp::Unsafe),
            gave_up_not_replayable: gave_up(GaveUp::NotReplayable),
            gave_up_deadline: gave_up(GaveUp::Deadline),
            gave_up_budget: gave_up(GaveUp::Budget),
            gave_up_refused: gave_up(GaveUp::Refused),
            budget_available: self.budget().available(),
        }
    }

    pub(super) fn settings(&self) -> Arc<Settings> {
        self.core.settings()
    }

    fn change(
        &self,
        change: impl FnOnce(&Current) -> Result<(RetryConfig, Budget), InvalidConfig>,
    ) -> Result<(), InvalidConfig> {
        let mut current = self.core.current();
        let (config, budget) = change(&current)?;
        *current = Current { config, budget, shared: Weak::new() };
        // Written under the lock only.
        self.core.version.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry").field("name", self.name()).field("config", &self.config()).finish()
    }
}

impl Settings {
    /// Whether nothing was changed since they were made.
    #[inline]
    pub(super) fn are_current(&self) -> bool {
        // Relaxed: the settings themselves are behind the lock. A change seen a call later is a change in time.
        self.version == self.core.version.load(Ordering::Relaxed)
    }

    /// The current ones.
    pub(super) fn renewed(&self) -> Arc<Self> {
        self.core.settings()
    }
}

impl Core {
    fn settings(self: &Arc<Self>) -> Arc<Settings> {
        let mut current = self.current();
        current.shared.upgrade().unwrap_or_else(|| {
            let Current { config, budget, .. } = &*current;
            let settings = Arc::new(Settings {
                config: config.clone(),
                budget: budget.clone(),
                limit: Limit::counted(config.replay_at_most, Arc::clone(self) as Arc<dyn Oversized>),
                core: Arc::clone(self),
                version: self.version.load(Ordering::Relaxed),
            });
            current.shared = Arc::downgrade(&settings);
            settings
        })
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, count: impl FnOnce(&Counts) -> &AtomicU64) {
        count(&self.counts).fetch_add(1, Ordering::Relaxed);
    }

    /// A retry is made.
    pub(super) fn retried(&self) {
        self.count(|counts| &counts.retries);
        self.meter().retries.increment();
    }

    /// A call succeeded after a retry.
    pub(super) fn recovered(&self, attempts: u32) {
        self.count(|counts| &counts.recovered);
        self.meter().recovered.increment();
        event::recovered(&self.name, attempts);
    }

    #[inline]
    pub(super) fn meter(&self) -> &Handles {
        self.meter.get(self.whose())
    }

    fn whose(&self) -> Whose<'_> {
        Whose { policy: "retry", name: &self.name }
    }

    pub(super) fn gave_up(&self, attempts: u32, why: GaveUp) {
        self.meter().gave_up(why);
        self.counts.gave_up[why as usize].fetch_add(1, Ordering::Relaxed);
        event::gave_up(&self.name, attempts, why);
    }
}

impl Oversized for Core {
    fn too_large(&self, limit: usize) {
        self.count(|counts| &counts.too_large);
        self.meter().too_large.increment();
        event::too_large(&self.name, limit);
    }
}

/// What a retry policy has done so far. Each number only ever grows, but for the last.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetrySnapshot {
    /// The policy's name.
    pub name: Name,
    /// Attempts after the first.
    pub retries: u64,
    /// Calls that succeeded after a retry, as far as that was known when the answer was handed on.
    pub recovered: u64,
    /// Requests whose body is larger than `replay_at_most`, and which could not be sent again whatever came.
    pub too_large: u64,
    /// Failures handed on because all attempts were made.
    pub gave_up_attempts: u64,
    /// Failures handed on because the retry layers below this one, or above, had made the attempts already.
    pub gave_up_tiers: u64,
    /// Failures handed on because the request may not be carried out twice.
    pub gave_up_unsafe: u64,
    /// Failures handed on because the body was too large to be kept, or broke off itself.
    pub gave_up_not_replayable: u64,
    /// Failures handed on because the wait would not have ended before the deadline.
    pub gave_up_deadline: u64,
    /// Failures handed on because the budget was exhausted.
    pub gave_up_budget: u64,
    /// Refusals handed on: another policy's of ours, or the server's word not to try again.
    pub gave_up_refused: u64,
    /// How many retries the budget has right now.
    pub budget_available: u64,
}
