//! The policy itself, shared by the layers, the services and whoever watches them.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
};

use super::{
    config::FallbackConfig,
    event,
    failure::Failure,
    gate::Gate,
    meter::{Became, Handles},
};
use crate::{
    config::InvalidConfig,
    meter::{Meter, Whose},
    name::Name,
    registered::{Listed, Registered},
    repeat::replay::{Limit, Oversized},
};

/// A fallback: what [`FallbackLayer::handle`](super::FallbackLayer::handle) gives, to watch it and to set it anew. A clone
/// is the same policy.
#[derive(Clone)]
pub struct Fallback {
    core: Arc<Core>,
}

static ALL: Registered<Core> = Registered::new();

impl Listed for Fallback {
    const KIND: &'static str = "fallback";

    fn listed() -> Vec<Self> {
        ALL.alive().into_iter().map(|core| Self { core }).collect()
    }

    fn name(&self) -> &Name {
        self.name()
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FallbackSnapshot { in_flight, limit, fell_back, failed, full, .. } = self.snapshot();
        write!(
            f,
            "{in_flight} of {limit} under way, {fell_back} failures answered, {failed} failed too, {full} too many"
        )
    }

    #[cfg(feature = "metrics")]
    fn observe(&self, gauges: &mut crate::metrics::Gauges) {
        let FallbackSnapshot { in_flight, limit, .. } = self.snapshot();
        super::meter::gauges::of(self.core.whose(), in_flight, limit, gauges);
    }
}

struct Core {
    name: Name,
    gate: Gate,
    counts: Counts,
    meter: Meter<Handles>,
    config: Mutex<FallbackConfig>,
    // What a call asks for. Relaxed: each setting stands for itself, and a call that comes while they change may find
    // either.
    limit: AtomicU32,
    replay_at_most: AtomicUsize,
    on_failures: AtomicBool,
    on_rejections: AtomicBool,
    on_elapsed: AtomicBool,
}

/// All relaxed: they are read for people.
#[derive(Debug, Default)]
struct Counts {
    fell_back: AtomicU64,
    failed: AtomicU64,
    full: AtomicU64,
    not_replayable: AtomicU64,
}

/// One of so many fallbacks at once. Dropped, there is room for another.
pub struct Permit {
    core: Arc<Core>,
}

impl Fallback {
    /// A fallback with the default settings.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn new(name: impl Into<Name>) -> Self {
        Self::valid(name.into(), FallbackConfig::default())
    }

    /// A fallback with these settings.
    ///
    /// # Errors
    ///
    /// A setting that makes no sense.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn with_config(name: impl Into<Name>, config: FallbackConfig) -> Result<Self, InvalidConfig> {
        config.validate()?;
        Ok(Self::valid(name.into(), config))
    }

    #[track_caller]
    fn valid(name: Name, config: FallbackConfig) -> Self {
        let core = Core {
            name: name.required(),
            gate: Gate::new(),
            counts: Counts::default(),
            meter: Meter::new(),
            limit: AtomicU32::new(0),
            replay_at_most: AtomicUsize::new(0),
            on_failures: AtomicBool::new(false),
            on_rejections: AtomicBool::new(false),
            on_elapsed: AtomicBool::new(false),
            config: Mutex::new(config.clone()),
        };
        core.mirror(&config);
        let core = Arc::new(core);
        ALL.add(&core);
        Self { core }
    }

    /// The policy's name.
    pub fn name(&self) -> &Name {
        &self.core.name
    }

    /// The settings as they are now.
    pub fn config(&self) -> FallbackConfig {
        self.core.config().clone()
    }

    /// Sets the policy anew while it runs. Fallbacks under way go on, also if there are now more than there may be.
    ///
    /// # Errors
    ///
    /// A setting that makes no sense; nothing has changed then.
    pub fn reconfigure(&self, config: FallbackConfig) -> Result<(), InvalidConfig> {
        let mut before = None;
        self.alter(|current| before = Some(std::mem::replace(current, config.clone())))?;
        if let Some(before) = before {
            event::reconfigured(self.name(), &before, &config);
        }
        Ok(())
    }

    /// As [`reconfigure`](Self::reconfigure), by a change of the settings as they are.
    pub(super) fn alter(&self, change: impl FnOnce(&mut FallbackConfig)) -> Result<(), InvalidConfig> {
        let mut current = self.core.config();
        let mut config = current.clone();
        change(&mut config);
        config.validate()?;
        self.core.mirror(&config);
        *current = config;
        Ok(())
    }

    /// What has happened so far, and what is happening.
    pub fn snapshot(&self) -> FallbackSnapshot {
        let Core { counts, gate, .. } = &*self.core;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        FallbackSnapshot {
            name: self.name().clone(),
            fell_back: read(&counts.fell_back),
            failed: read(&counts.failed),
            full: read(&counts.full),
            not_replayable: read(&counts.not_replayable),
            in_flight: gate.inside() as usize,
            limit: self.core.limit.load(Ordering::Relaxed) as usize,
        }
    }

    pub(super) fn limit(&self) -> Limit {
        let bytes = self.core.replay_at_most.load(Ordering::Relaxed);
        Limit::counted(bytes, Arc::clone(&self.core) as Arc<dyn Oversized>)
    }

    /// Whether such a failure is to be answered.
    pub(super) fn is_for(&self, failure: &Failure) -> bool {
        let setting = match failure {
            Failure::Rejected(_) => &self.core.on_rejections,
            Failure::Elapsed(_) => &self.core.on_elapsed,
            Failure::Failed(_) => &self.core.on_failures,
        };
        setting.load(Ordering::Relaxed)
    }

    pub(super) fn enter(&self, failure: &Failure) -> Option<Permit> {
        let limit = self.core.limit.load(Ordering::Relaxed);
        if self.core.gate.enter(limit) {
            return Some(Permit { core: Arc::clone(&self.core) });
        }
        count(&self.core.counts.full);
        self.meter().failure(failure, Became::Full);
        event::full(self.name(), failure, limit);
        None
    }

    pub(super) fn not_replayable(&self, failure: &Failure) {
        count(&self.core.counts.not_replayable);
        self.meter().failure(failure, Became::NotReplayable);
        event::not_replayable(self.name(), failure);
    }

    /// The fallback has answered: with a failure of its `own`, or well.
    pub(super) fn answered(&self, failure: &Failure, own: Option<&Failure>) {
        match own {
            None => {
                count(&self.core.counts.fell_back);
                self.meter().failure(failure, Became::Answered);
                event::fell_back(self.name(), failure);
            }
            Some(own) => {
                count(&self.core.counts.failed);
                self.meter().failure(failure, Became::Failed);
                event::failed(self.name(), failure, own);
            }
        }
    }
}

impl Fallback {
    #[inline]
    pub(super) fn meter(&self) -> &Handles {
        self.core.meter()
    }
}

fn count(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback").field("name", self.name()).field("config", &self.config()).finish()
    }
}

impl Core {
    #[inline]
    fn meter(&self) -> &Handles {
        self.meter.get(self.whose())
    }

    fn whose(&self) -> Whose<'_> {
        Whose { policy: "fallback", name: &self.name }
    }

    fn config(&self) -> MutexGuard<'_, FallbackConfig> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mirror(&self, config: &FallbackConfig) {
        // Valid settings fit.
        self.limit.store(config.max_concurrent as u32, Ordering::Relaxed);
        self.replay_at_most.store(config.replay_at_most, Ordering::Relaxed);
        self.on_failures.store(config.on_failures, Ordering::Relaxed);
        self.on_rejections.store(config.on_rejections, Ordering::Relaxed);
        self.on_elapsed.store(config.on_elapsed, Ordering::Relaxed);
    }
}

impl Oversized for Core {
    fn too_large(&self, limit: usize) {
        self.meter().too_large.increment();
        event::too_large(&self.name, limit);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.core.gate.leave();
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("name", &self.core.name).finish()
    }
}

/// What a fallback has done so far. Each number only ever grows, but for the last two.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FallbackSnapshot {
    /// The policy's name.
    pub name: Name,
    /// Failures that the fallback answered.
    pub fell_back: u64,
    /// Failures at which the fallback failed too.
    pub failed: u64,
    /// Failures handed on because there were as many fallbacks at once as there may be.
    pub full: u64,
    /// Failures handed on because the body was too large to be kept for a fallback service, or broke off itself.
    pub not_replayable: u64,
    /// How many fallbacks there are right now, each to the end of its response body.
    pub in_flight: usize,
    /// How many there may be.
    pub limit: usize,
}
