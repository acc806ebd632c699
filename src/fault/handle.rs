//! The faults themselves, without tower.

use std::{
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    config::{InvalidConfig, or_panic},
    fault::{
        config::{Fault, FaultConfig},
        event,
        injected::Injected,
        meter::Handles,
        plan,
    },
    meter::{Meter, Whose},
    name::Name,
    protocol::grpc::Code,
    registered::{Listed, Registered},
};

/// What goes wrong with the calls of a service: what [`FaultLayer::handle`](crate::FaultLayer::handle) gives.
///
/// Clones are handles of one and the same plan.
#[derive(Clone)]
pub struct Faults {
    shared: Arc<Shared>,
}

/// What all handles and services of one plan share.
struct Shared {
    /// Whether anything can go wrong: all that a call looks at when nothing can.
    active: AtomicBool,
    state: Mutex<State>,
    meter: Meter<Handles>,
    name: Name,
}

struct State {
    config: FaultConfig,
    seed: u64,
    /// The number of the next call.
    next: u64,
    counts: FaultSnapshot,
}

/// What went wrong so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FaultSnapshot {
    /// How many calls there were with which something could have gone wrong.
    pub calls: u64,
    /// How many were [late](Fault::Delay).
    pub delayed: u64,
    /// How many [failed](Fault::Fail).
    pub failed: u64,
    /// How many were done and [failed](Fault::FailAfter).
    pub failed_after: u64,
    /// How many [hung](Fault::Hang).
    pub hung: u64,
    /// How many were done, and their [reply dropped](Fault::DropReply).
    pub replies_dropped: u64,
    /// How many bodies [broke off](Fault::BreakBody).
    pub bodies_broken: u64,
}

impl FaultSnapshot {
    /// With how many calls something went wrong.
    pub fn injected(&self) -> u64 {
        self.delayed + self.failed + self.failed_after + self.hung + self.replies_dropped + self.bodies_broken
    }

    fn count(&mut self, fault: Fault) {
        *match fault {
            Fault::Delay(_) => &mut self.delayed,
            Fault::Fail => &mut self.failed,
            Fault::FailAfter => &mut self.failed_after,
            Fault::Hang => &mut self.hung,
            Fault::DropReply => &mut self.replies_dropped,
            Fault::BreakBody => &mut self.bodies_broken,
        } += 1;
    }
}

/// How an injected failure is answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) status: http::StatusCode,
    pub(super) code: Code,
}

static ALL: Registered<Shared> = Registered::new();

impl Listed for Faults {
    const KIND: &'static str = "fault";

    fn listed() -> Vec<Self> {
        ALL.alive().into_iter().map(|shared| Self { shared }).collect()
    }

    fn name(&self) -> &Name {
        self.name()
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = if self.is_active() { "on" } else { "off" };
        let snapshot = self.snapshot();
        write!(f, "{on}, seed {}, {} of {} calls went wrong", self.seed(), snapshot.injected(), snapshot.calls)
    }
}

impl Faults {
    /// Nothing goes wrong until it is told to.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn new(name: impl Into<Name>) -> Self {
        or_panic(Self::with_config(name, FaultConfig::default()))
    }

    /// With these settings.
    ///
    /// # Errors
    ///
    /// If the settings make no sense.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn with_config(name: impl Into<Name>, config: FaultConfig) -> Result<Self, InvalidConfig> {
        config.validate()?;
        let faults = Self {
            shared: Arc::new(Shared {
                active: AtomicBool::new(config.is_active()),
                state: Mutex::new(State {
                    seed: config.seed.unwrap_or_else(|| fastrand::u64(..)),
                    config,
                    next: 0,
                    counts: FaultSnapshot::default(),
                }),
                meter: Meter::new(),
                name: name.into().required(),
            }),
        };
        ALL.add(&faults.shared);
        Ok(faults)
    }

    /// The name.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// The settings in force.
    pub fn config(&self) -> FaultConfig {
        self.lock().config.clone()
    }

    /// The seed in force, be it set or drawn. With it, and the calls in the same order, the same faults come again.
    pub fn seed(&self) -> u64 {
        self.lock().seed
    }

    /// Changes the settings, for the calls that come from now on. With another seed or another script they are counted
    /// anew, otherwise on.
    ///
    /// # Errors
    ///
    /// If the settings make no sense; then nothing changes.
    pub fn reconfigure(&self, config: FaultConfig) -> Result<(), InvalidConfig> {
        let before = self.change(|current| *current = config.clone())?;
        event::reconfigured(self.name(), &before, &config, self.seed());
        Ok(())
    }

    /// The master switch, on: what is configured goes wrong.
    pub fn enable(&self) {
        self.switch(true);
    }

    /// The master switch, off: every call goes through unharmed and uncounted. What hangs already goes on hanging.
    pub fn disable(&self) {
        self.switch(false);
    }

    /// Begins to count the calls anew: the script, or the seed's faults, from the beginning.
    pub fn restart(&self) {
        self.lock().next = 0;
    }

    /// What went wrong so far.
    pub fn snapshot(&self) -> FaultSnapshot {
        self.lock().counts
    }

    fn switch(&self, enabled: bool) {
        // The other settings are those in force, so they make sense.
        if let Ok(before) = self.change(|config| config.enabled = enabled) {
            event::reconfigured(self.name(), &before, &self.config(), self.seed());
        }
    }

    /// Changes some of the settings and returns what they were. For the layer's setters.
    pub(super) fn change(&self, change: impl FnOnce(&mut FaultConfig)) -> Result<FaultConfig, InvalidConfig> {
        let mut state = self.lock();
        let mut config = state.config.clone();
        change(&mut config);
        config.validate()?;
        let seed = config.seed.unwrap_or(state.seed);
        if seed != state.seed || config.script != state.config.script {
            state.next = 0;
        }
        state.seed = seed;
        self.shared.active.store(config.is_active(), Ordering::Relaxed);
        Ok(mem::replace(&mut state.config, config))
    }

    /// Whether somebody else has this plan too: a handle, a service.
    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    /// Relaxed: it publishes nothing, and a call that comes while it changes may find either.
    #[inline]
    pub(super) fn is_active(&self) -> bool {
        self.shared.active.load(Ordering::Relaxed)
    }

    /// What goes wrong with the call that is made now.
    #[cold]
    pub(super) fn next(&self) -> Option<(Injected, Answer)> {
        let meter = self.shared.meter.get(Whose { policy: "fault", name: self.name() });
        meter.calls.increment();
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.counts.calls += 1;
        let fault = plan::fault(&state.config, state.seed, number)?;
        state.counts.count(fault);
        let (seed, answer) = (state.seed, Answer { status: state.config.status, code: state.config.code });
        drop(state);
        meter.injected(fault);
        let injected = Injected::new(self.name().clone(), fault, number);
        event::injected(&injected, seed);
        Some((injected, answer))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults")
            .field("name", self.name())
            .field("seed", &self.seed())
            .field("active", &self.is_active())
            .field("snapshot", &self.snapshot())
            .finish_non_exhaustive()
    }
}
