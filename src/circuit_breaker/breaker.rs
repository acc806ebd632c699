//! The breaker itself: what layers share and what a handle steers.

use std::{
    fmt,
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use super::{
    config::CircuitBreakerConfig,
    core::Core,
    event::{self, Change, State},
    meter::{self, Handles},
    permit::Permit,
    state::Refused,
    status::{ComeBack, Ticket},
    watch::{Changes, Channel, NamedChange, tell_all},
};
use crate::{
    clock::{self, Real},
    config::{InvalidConfig, or_panic},
    meter::Meter,
    name::Name,
    outcome::Outcome,
    registered::{Listed, Registered},
    rejection::{Reason, Rejection},
    striped::Striped,
    sync::{AtomicU64, Ordering},
};

/// A circuit breaker, without tower: the one that a layer's clones and services share, and what
/// [`handle`](super::CircuitBreakerLayer::handle) gives.
///
/// A clone is the same breaker.
///
/// ```
/// use buttress::circuit_breaker::{CircuitBreaker, State};
///
/// let breaker = CircuitBreaker::new("lookup");
/// match breaker.try_acquire() {
///     Ok(permit) => match "127.0.0.1".parse::<std::net::IpAddr>() {
///         Ok(_) => permit.success(),
///         Err(_) => permit.failure(),
///     },
///     Err(rejection) => println!("{rejection}"),
/// }
/// assert_eq!(breaker.state(), State::Closed);
/// assert_eq!(breaker.snapshot().calls, 1);
/// ```
#[derive(Clone)]
pub struct CircuitBreaker {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    name: Name,
    core: Core,
    /// Told when a paused call may find something changed.
    changed: Notify,
    changes: Channel<Change>,
    /// Of a breaker that is one of a keyed one's.
    of: Option<Of>,
    meter: Meter<Handles>,
    /// Made with the first refusal, for most of a keyed one's breakers never come to it. Not among the rest, which would
    /// go by its alignment: what a call reads would be further from the reference count.
    refused: OnceLock<Box<Striped<1>>>,
    cancelled: AtomicU64,
    opened: AtomicU64,
}

/// Which one of a keyed breaker's it is, and where it tells of its changes.
pub(super) struct Of {
    /// Is shown and nothing else, so no panic leaves it half-way.
    pub(super) key: AssertUnwindSafe<Box<dyn fmt::Debug + Send + Sync>>,
    pub(super) changes: Arc<Channel<NamedChange>>,
}

static ALL: Registered<Shared> = Registered::new();

impl Listed for CircuitBreaker {
    const KIND: &'static str = super::POLICY;

    fn listed() -> Vec<Self> {
        ALL.alive().into_iter().map(|shared| Self { shared }).collect()
    }

    fn name(&self) -> &Name {
        self.name()
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CircuitBreakerSnapshot { state, calls, failures, open_for, ramp_share, .. } = self.snapshot();
        write!(f, "{state}, ")?;
        match (open_for, ramp_share) {
            (Some(open_for), _) => write!(f, "next probe in {:.1}s", open_for.as_secs_f64()),
            (None, Some(share)) => {
                write!(f, "lets {:.0} % through, {failures} of {calls} calls failed", share * 100.0)
            }
            (None, None) => write!(f, "{failures} of {calls} calls failed"),
        }
    }

    #[cfg(feature = "metrics")]
    fn observe(&self, gauges: &mut crate::metrics::Gauges) {
        meter::gauges::of_one(&self.snapshot(), gauges);
    }
}

/// How a breaker stands.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CircuitBreakerSnapshot {
    /// The breaker's name.
    pub name: Name,
    /// Its state.
    pub state: State,
    /// The state a shadow would be in; of any other breaker, its state.
    pub would_be: State,
    /// How many calls the window of the closed state holds.
    pub calls: u64,
    /// How many of them failed.
    pub failures: u64,
    /// How many of them were slow.
    pub slow: u64,
    /// How long until a probe is let through, if the breaker is open.
    pub open_for: Option<Duration>,
    /// The share of calls that is let through, if the breaker closed of late and [ramps](CircuitBreakerConfig::ramp).
    pub ramp_share: Option<f64>,
    /// How many probes are on their way, if the breaker is half-open.
    pub probes_in_flight: u32,
    /// How many probes have succeeded, if the breaker is half-open.
    pub probes_succeeded: u32,
    /// How many probes have failed, if the breaker is half-open.
    pub probes_failed: u32,
    /// How many calls were refused since the breaker was made or [reset](CircuitBreaker::reset).
    pub refused: u64,
    /// How many calls were cancelled since then: dropped before they ended.
    pub cancelled: u64,
    /// How many times the breaker has opened since then.
    pub opened: u64,
}

impl CircuitBreaker {
    /// A breaker with the default settings.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    pub fn new(name: impl Into<Name>) -> Self {
        or_panic(Self::with_config(name, CircuitBreakerConfig::default()))
    }

    /// A breaker with these settings.
    ///
    /// # Errors
    ///
    /// If a setting makes no sense.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    pub fn with_config(name: impl Into<Name>, config: CircuitBreakerConfig) -> Result<Self, InvalidConfig> {
        let breaker = Self::unlisted(name.into().required(), config, None, Meter::new())?;
        ALL.add(&breaker.shared);
        Ok(breaker)
    }

    /// A breaker that the registry doesn't show: it is one of a keyed one's.
    pub(super) fn unlisted(
        name: Name,
        config: CircuitBreakerConfig,
        of: Option<Of>,
        meter: Meter<Handles>,
    ) -> Result<Self, InvalidConfig> {
        let shared = Shared {
            name,
            core: Core::new(config, clock::now())?,
            changed: Notify::new(),
            changes: Channel::new(),
            of,
            meter,
            refused: OnceLock::new(),
            cancelled: AtomicU64::new(0),
            opened: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The breaker's name.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// The settings in force.
    pub fn config(&self) -> CircuitBreakerConfig {
        self.shared.core.config()
    }

    /// Applies other settings at once. What was counted stays, except that a different [`window`] starts empty.
    ///
    /// # Errors
    ///
    /// If a setting makes no sense, or if this would be the breaker's 17th different window; the old settings then
    /// stay in force.
    ///
    /// [`window`]: CircuitBreakerConfig::window
    pub fn reconfigure(&self, config: CircuitBreakerConfig) -> Result<(), InvalidConfig> {
        self.apply(config.clone())?;
        event::reconfigured(self.name(), &config);
        Ok(())
    }

    /// Makes sure that [`reconfigure`](Self::reconfigure) with these settings, if they are valid, will not fail.
    #[cfg(feature = "standard")]
    pub(crate) fn reserve(&self, config: &CircuitBreakerConfig) -> Result<(), InvalidConfig> {
        self.shared.core.reserve(config.window)
    }

    pub(super) fn apply(&self, config: CircuitBreakerConfig) -> Result<(), InvalidConfig> {
        self.shared.core.reconfigure(config)?;
        self.shared.changed.notify_waiters();
        Ok(())
    }

    /// The state. An open breaker whose time is over stays `Open` until somebody calls.
    pub fn state(&self) -> State {
        self.shared.core.state()
    }

    /// How the breaker stands.
    pub fn snapshot(&self) -> CircuitBreakerSnapshot {
        let now = clock::now();
        let Shared { name, core, refused, cancelled, opened, .. } = &*self.shared;
        let machine = core.machine();
        let tally = core.tally(now);
        let (probes_in_flight, probes_succeeded, probes_failed) = machine.probes();
        CircuitBreakerSnapshot {
            name: name.clone(),
            state: machine.seen(),
            would_be: machine.phase(),
            calls: tally.calls,
            failures: tally.failures,
            slow: tally.slow,
            open_for: machine.open_until().map(|until| until.saturating_duration_since(now)),
            ramp_share: core.ramp_share(now),
            probes_in_flight,
            probes_succeeded,
            probes_failed,
            refused: refused.get().map_or(0, |refused| refused.read(0)),
            cancelled: cancelled.load(Ordering::Relaxed),
            opened: opened.load(Ordering::Relaxed),
        }
    }

    /// Asks for a call to be let through; never waits.
    ///
    /// The permit must be told how the call ended; dropped, it counts as cancelled.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] if the breaker is open, or half-open with all its probes given out.
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit, Rejection> {
        match self.admit_if_closed() {
            Some(permit) => Ok(permit),
            None => self.try_acquire_slowly(),
        }
    }

    /// Waits for as long as the breaker is open, and lets the call through then.
    ///
    /// Bound the wait with a timeout where the caller can't wait for ever: a breaker forced open stays so.
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped before it is ready holds no probe.
    pub async fn acquire(&self) -> Permit {
        let Shared { changed, .. } = &*self.shared;
        loop {
            let mut notified = std::pin::pin!(changed.notified());
            // From here on no change is missed, so it is safe to look and then to wait.
            notified.as_mut().enable();
            match self.admit() {
                Ok(permit) => return permit,
                Err(Refused { retry_after, ask_again_in }) => match retry_after.or(ask_again_in) {
                    Some(wait) => drop(timeout(wait, notified).await),
                    None => notified.await,
                },
            }
        }
    }

    /// Refuses all calls until somebody says otherwise.
    pub fn force_open(&self) {
        self.force(State::ForcedOpen);
    }

    /// Closes the breaker now, with an empty window; from then on it works as ever.
    pub fn force_closed(&self) {
        self.force(State::Closed);
    }

    /// Lets all calls through and counts nothing, until somebody says otherwise.
    pub fn disable(&self) {
        self.force(State::Disabled);
    }

    /// Lets all calls through, counts them, and reports what it would have done: for trying settings on live traffic.
    pub fn shadow(&self) {
        self.force(State::Shadow);
    }

    /// Forgets everything: closes the breaker now, and sets the counts of the snapshot to zero.
    pub fn reset(&self) {
        self.force(State::Closed);
        let Shared { refused, cancelled, opened, .. } = &*self.shared;
        if let Some(refused) = refused.get() {
            refused.forget();
        }
        cancelled.store(0, Ordering::Relaxed);
        opened.store(0, Ordering::Relaxed);
    }

    /// The changes of state from now on.
    pub fn subscribe(&self) -> Changes {
        self.shared.changes.changes()
    }

    fn force(&self, to: State) {
        let change = self.shared.core.force(to);
        self.shared.announce(change);
        self.shared.changed.notify_waiters();
    }

    #[cold]
    fn try_acquire_slowly(&self) -> Result<Permit, Rejection> {
        // The usual refusal first, for it needs no lock.
        match self.peek() {
            Some(come_back) => Err(self.refuse(come_back.retry_after())),
            None => self.admit().map_err(|refused| self.refuse(refused.retry_after)),
        }
    }

    /// Lets a call through if the breaker is closed.
    #[inline]
    pub(super) fn admit_if_closed(&self) -> Option<Permit> {
        let ticket = self.shared.core.admit_if_closed(Real)?;
        Some(Permit::new(self.shared.clone(), ticket))
    }

    /// Asks for a call to be let through, whatever the state.
    #[cold]
    pub(super) fn admit(&self) -> Result<Permit, Refused> {
        let (admitted, change) = self.shared.core.admit(Real, fastrand::f64);
        self.shared.announce(change);
        admitted.map(|ticket| Permit::new(self.shared.clone(), ticket))
    }

    /// Whether the breaker is closed, and a call that is made now needs no promise of it.
    #[inline]
    pub(super) fn lets_all_through(&self) -> bool {
        self.shared.core.lets_all_through()
    }

    /// Whether an open state would refuse the call, without asking for a probe.
    #[inline]
    pub(super) fn peek(&self) -> Option<ComeBack> {
        self.shared.core.peek(&Real)
    }

    /// Whether anybody else has this breaker, and be it for a call.
    pub(super) fn is_held(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    /// Whether nothing would be lost with this breaker that protects anybody.
    pub(super) fn is_idle(&self) -> bool {
        self.shared.core.is_idle(Real)
    }

    pub(super) fn pauses(&self) -> bool {
        self.shared.core.pauses()
    }

    pub(super) fn key(&self) -> Option<&dyn fmt::Debug> {
        self.shared.key()
    }

    /// The refusal, counted and told.
    // Always, so that it is written where it goes, and isn't copied there.
    #[inline(always)]
    pub(super) fn refuse(&self, retry_after: Option<Duration>) -> Rejection {
        self.count_refused(retry_after);
        let rejection = Rejection::new(super::POLICY, self.name().clone(), Reason::CircuitOpen);
        rejection.with_retry_after(retry_after)
    }

    #[inline]
    fn count_refused(&self, retry_after: Option<Duration>) {
        self.shared.refused.get_or_init(|| Box::new(Striped::new())).count(0);
        self.shared.meter().refused.increment();
        event::refused(self, retry_after);
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker").field("name", self.name()).field("state", &self.state()).finish()
    }
}

// ===== impl Shared =====

impl Shared {
    #[inline]
    pub(super) fn record(&self, ticket: Ticket, outcome: Outcome, took: Option<Duration>) {
        self.meter().calls.ended(outcome);
        if !self.core.ignores(ticket, outcome) {
            self.record_slowly(ticket, outcome, took);
        }
    }

    #[inline(never)]
    fn record_slowly(&self, ticket: Ticket, outcome: Outcome, took: Option<Duration>) {
        let change = self.core.record(ticket, outcome, took, Real, fastrand::f64);
        // An ignored probe has been given back, which somebody may be waiting for.
        if outcome == Outcome::Ignored && ticket.probe().is_some() {
            self.changed.notify_waiters();
        }
        self.announce(change);
    }

    #[cold]
    pub(super) fn cancel(&self, ticket: Ticket) {
        self.cancelled.fetch_add(1, Ordering::Relaxed);
        self.meter().calls.cancelled.increment();
        if self.core.cancel(ticket) {
            self.changed.notify_waiters();
        }
    }

    fn announce(&self, change: Option<Change>) {
        if let Some(change) = change {
            self.tell(change);
        }
    }

    #[cold]
    fn tell(&self, change: Change) {
        if change.to == State::Open {
            self.opened.fetch_add(1, Ordering::Relaxed);
        }
        event::changed(&self.name, self.key(), &change);
        meter::changed(&self.name, &change);
        self.changed.notify_waiters();
        self.changes.send(|| change.clone());
        let named = || NamedChange {
            name: self.name.clone(),
            key: self.key().map(|key| format!("{key:?}").into()),
            change: change.clone(),
        };
        if let Some(of) = &self.of {
            of.changes.send(named);
        }
        tell_all(named);
    }

    #[inline]
    fn meter(&self) -> &Handles {
        self.meter.get(meter::whose(&self.name))
    }

    fn key(&self) -> Option<&dyn fmt::Debug> {
        self.of.as_ref().map(|of| &**of.key as &dyn fmt::Debug)
    }
}
