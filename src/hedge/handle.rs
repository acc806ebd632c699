//! The policy itself, shared by the layers, the services and whoever watches them.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use tokio::time::Instant;

use super::{
    config::HedgeConfig,
    event,
    latency::Latencies,
    meter::Handles,
    settings::{Funds, Settings},
    snapshot::HedgeSnapshot,
};
use crate::{
    budget::Budget,
    clock,
    config::InvalidConfig,
    meter::{Meter, Whose},
    name::Name,
    registered::{Listed, Registered},
    repeat::replay::{Limit, Oversized},
};

/// A hedge: what [`HedgeLayer::handle`](super::HedgeLayer::handle) gives, to watch it and to set it anew. A clone is the
/// same policy.
#[derive(Clone)]
pub struct Hedge {
    core: Arc<Core>,
}

static ALL: Registered<Core> = Registered::new();

impl Listed for Hedge {
    const KIND: &'static str = "hedge";

    fn listed() -> Vec<Self> {
        ALL.alive().into_iter().map(|core| Self { core }).collect()
    }

    fn name(&self) -> &Name {
        self.name()
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HedgeSnapshot { after, hedges, won, budget_available, .. } = self.snapshot();
        match after {
            Some(after) => write!(f, "after {after:?}")?,
            None => f.write_str("nothing known yet")?,
        }
        write!(f, ", {hedges} hedges sent, {won} won, {budget_available} left")
    }

    #[cfg(feature = "metrics")]
    fn observe(&self, gauges: &mut crate::metrics::Gauges) {
        let HedgeSnapshot { after, budget_available, .. } = self.snapshot();
        super::meter::gauges::of(self.core.whose(), after, budget_available, gauges);
    }
}

/// What stays, whatever the settings.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) name: Name,
    pub(super) counts: Counts,
    meter: Meter<Handles>,
    /// It has been said that nobody has said what may be carried out twice.
    pub(super) unsaid: AtomicBool,
    pub(super) epoch: Instant,
    pub(super) latencies: Latencies,
    /// Goes up with each change of `current`. A service has the settings at hand, and looks only at this.
    pub(super) version: AtomicU32,
    current: Mutex<Current>,
}

/// The settings as they are now. Services share one copy of them, which leads back here, and so isn't held from here.
#[derive(Debug)]
struct Current {
    config: HedgeConfig,
    funds: Funds,
    shared: Weak<Settings>,
}

/// All relaxed: they are read for people.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) hedged: AtomicU64,
    pub(super) hedges: AtomicU64,
    pub(super) won: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) too_large: AtomicU64,
    held_back: [AtomicU64; 4],
}

/// Why a request wasn't sent again when it was time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeldBack {
    Budget,
    Deadline,
    NotReplayable,
    Refused,
}

impl HeldBack {
    /// In the order of their discriminants.
    pub(super) const ALL: [Self; 4] = [Self::Budget, Self::Deadline, Self::NotReplayable, Self::Refused];

    /// As a label of a metric or a field of a log.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::Deadline => "deadline",
            Self::NotReplayable => "not_replayable",
            Self::Refused => "refused",
        }
    }
}

impl Hedge {
    /// A hedge with the default settings.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn new(name: impl Into<Name>) -> Self {
        Self::valid(name.into(), HedgeConfig::default())
    }

    /// A hedge with these settings.
    ///
    /// # Errors
    ///
    /// A setting that is outside its range.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn with_config(name: impl Into<Name>, config: HedgeConfig) -> Result<Self, InvalidConfig> {
        config.validate()?;
        Ok(Self::valid(name.into(), config))
    }

    #[track_caller]
    fn valid(name: Name, config: HedgeConfig) -> Self {
        let funds = Funds::own(Budget::valid(config.budget));
        let core = Core {
            name: name.required(),
            counts: Counts::default(),
            meter: Meter::new(),
            unsaid: AtomicBool::new(false),
            epoch: clock::now(),
            latencies: Latencies::new(),
            version: AtomicU32::new(0),
            current: Mutex::new(Current { config, funds, shared: Weak::new() }),
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
    pub fn config(&self) -> HedgeConfig {
        self.core.current().config.clone()
    }

    /// The budget that hedges are taken from.
    pub fn budget(&self) -> Budget {
        self.core.current().funds.budget.clone()
    }

    /// Sets the policy anew while it runs; calls under way end by the settings they began with. What was observed stays.
    ///
    /// The budget stays what it is, and shared with whom it is, unless its setting is another one.
    ///
    /// # Errors
    ///
    /// A setting that is outside its range; nothing has changed then.
    pub fn reconfigure(&self, config: HedgeConfig) -> Result<(), InvalidConfig> {
        let mut before = None;
        self.alter(|current| before = Some(std::mem::replace(current, config.clone())))?;
        if let Some(before) = before {
            event::reconfigured(self.name(), &before, &config);
        }
        Ok(())
    }

    /// As [`reconfigure`](Self::reconfigure), by a change of the settings as they are.
    pub(super) fn alter(&self, change: impl FnOnce(&mut HedgeConfig)) -> Result<(), InvalidConfig> {
        self.change(|current| {
            let mut config = current.config.clone();
            change(&mut config);
            config.validate()?;
            let kept = current.config.budget == config.budget;
            let funds = if kept { current.funds.clone() } else { Funds::own(Budget::valid(config.budget)) };
            Ok((config, funds))
        })
    }

    /// Takes hedges from a budget of the hedge's own from now on, which this policy alone tells of its calls.
    pub(super) fn own_budget(&self, budget: Budget) {
        self.fund(Funds::own(budget));
    }

    /// Takes hedges from `budget` from now on, that of a [retry](crate::retry) further out, which tells it of the calls:
    /// they are not counted here once more.
    ///
    /// Retries and hedges together are then no more than the budget allows.
    pub fn share_budget(&self, budget: Budget) {
        self.fund(Funds { budget, is_filled_elsewhere: true });
    }

    fn fund(&self, funds: Funds) {
        let changed =
            self.change(|current| Ok((HedgeConfig { budget: funds.budget.config(), ..current.config.clone() }, funds)));
        debug_assert!(changed.is_ok(), "a budget that exists is a valid one");
    }

    /// What has happened so far.
    pub fn snapshot(&self) -> HedgeSnapshot {
        let counts = &self.core.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let held_back = |why: HeldBack| read(&counts.held_back[why as usize]);
        HedgeSnapshot {
            name: self.name().clone(),
            after: self.settings().schedule(clock::now()).map(|schedule| schedule.after),
            hedged: read(&counts.hedged),
            hedges: read(&counts.hedges),
            won: read(&counts.won),
            lost: read(&counts.lost),
            too_large: read(&counts.too_large),
            held_back_budget: held_back(HeldBack::Budget),
            held_back_deadline: held_back(HeldBack::Deadline),
            held_back_not_replayable: held_back(HeldBack::NotReplayable),
            held_back_refused: held_back(HeldBack::Refused),
            budget_available: self.budget().available(),
        }
    }

    pub(super) fn settings(&self) -> Arc<Settings> {
        self.core.settings()
    }

    fn change(
        &self,
        change: impl FnOnce(&Current) -> Result<(HedgeConfig, Funds), InvalidConfig>,
    ) -> Result<(), InvalidConfig> {
        let mut current = self.core.current();
        let (config, funds) = change(&current)?;
        *current = Current { config, funds, shared: Weak::new() };
        // Written under the lock only.
        self.core.version.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl fmt::Debug for Hedge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hedge").field("name", self.name()).field("config", &self.config()).finish()
    }
}

// ===== impl Core =====

impl Core {
    pub(super) fn settings(self: &Arc<Self>) -> Arc<Settings> {
        let mut current = self.current();
        current.shared.upgrade().unwrap_or_else(|| {
            let Current { config, funds, .. } = &*current;
            let limit = Limit::counted(config.replay_at_most, Arc::clone(self) as Arc<dyn Oversized>);
            let version = self.version.load(Ordering::Relaxed);
            let settings =
                Arc::new(Settings::new(config.clone(), funds.clone(), limit.for_several(), Arc::clone(self), version));
            current.shared = Arc::downgrade(&settings);
            settings
        })
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, count: impl FnOnce(&Counts) -> &AtomicU64, by: u32) {
        count(&self.counts).fetch_add(by.into(), Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn meter(&self) -> &Handles {
        self.meter.get(self.whose())
    }

    fn whose(&self) -> Whose<'_> {
        Whose { policy: "hedge", name: &self.name }
    }

    /// A hedge was sent, its call's `number`th.
    pub(super) fn sent(&self, number: u32) {
        self.count(|counts| &counts.hedges, 1);
        self.meter().sent.increment();
        if number == 1 {
            self.count(|counts| &counts.hedged, 1);
            self.meter().hedged.increment();
        }
    }

    pub(super) fn won(&self, attempt: u32) {
        self.count(|counts| &counts.won, 1);
        self.meter().won.increment();
        event::won(&self.name, attempt);
    }

    pub(super) fn lost(&self, hedges: u32) {
        self.count(|counts| &counts.lost, hedges);
        self.meter().lost.add(hedges);
        event::lost(&self.name, hedges);
    }

    pub(super) fn held_back(&self, why: HeldBack) {
        self.count(|counts| &counts.held_back[why as usize], 1);
        self.meter().withheld(why);
        event::held_back(&self.name, why);
    }
}

impl Oversized for Core {
    fn too_large(&self, limit: usize) {
        self.count(|counts| &counts.too_large, 1);
        self.meter().too_large.increment();
        event::too_large(&self.name, limit);
    }
}
