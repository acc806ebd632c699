//! What threads share of a breaker: a lock-free way through the closed state, and a lock around the rest.

use std::{sync::OnceLock, time::Duration};

use tokio::time::Instant;

use super::{
    any_window::AnyWindow,
    config::{CircuitBreakerConfig, Window},
    event::{Change, ChangeReason, State},
    ramp::{self, Pass},
    rules::Rules,
    state::{Admission, Machine, Refused},
    status::{ComeBack, PAUSES, RAMPING, SHADOW, SLOW_CALLS, Status, Ticket, UNCOUNTED},
};
use crate::{
    clock::{Clock, Epoch},
    config::InvalidConfig,
    outcome::{Cause, Outcome},
    sync::{AtomicU64, Mutex, MutexGuard, Ordering, lock},
    window::{Record, Tally, unpack, update},
};

/// How many different windows a breaker can be given in its life. Windows are never taken away, so that the closed
/// state can read them without a lock or a reference count.
pub(super) const WINDOWS: usize = 16;

/// For how long nobody has asked for a probe of a breaker that isn't needed any more.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);

/// A call of the closed state is admitted by one load of `status`, and recorded by a bounded number of atomic operations
/// on the window. Everything else happens under the lock of `machine`, which then publishes what it decided in
/// `status`.
///
/// `status` is stored with Release under the lock and loaded with Acquire, so whoever sees a generation also sees the
/// window it counts in, until when it is open, and since when it ramps. The settings are read one by one: a call that runs while they are
/// changed may be judged by some of the old ones and some of the new.
#[derive(Debug)]
pub(super) struct Core {
    status: AtomicU64,
    /// Nanoseconds since `made`.
    open_until: AtomicU64,
    /// Nanoseconds since `made`, and how many the ramp takes.
    ramping_since: AtomicU64,
    ramp: AtomicU64,
    made: Epoch,
    windows: [OnceLock<AnyWindow>; WINDOWS],
    rules: Rules,
    /// Failures in a row, of a generation.
    row: AtomicU64,
    /// Why the last failure failed, for people to read.
    last: Mutex<Cause>,
    machine: Mutex<Machine>,
}

/// An answer of the core, with the change that it caused.
pub(super) type Told<T> = (T, Option<Change>);

impl Core {
    pub(super) fn new(config: CircuitBreakerConfig, now: Instant) -> Result<Self, InvalidConfig> {
        config.validate()?;
        let core = Self {
            status: AtomicU64::new(0),
            open_until: AtomicU64::new(0),
            ramping_since: AtomicU64::new(0),
            ramp: AtomicU64::new(0),
            made: Epoch::new(now),
            windows: std::array::from_fn(|_| OnceLock::new()),
            rules: Rules::none(),
            row: AtomicU64::new(0),
            last: Mutex::new(Cause::Unknown),
            machine: Mutex::new(Machine::new(config.clone())),
        };
        core.reconfigure(config)?;
        Ok(core)
    }

    pub(super) fn config(&self) -> CircuitBreakerConfig {
        lock(&self.machine).config.clone()
    }

    /// Applies other settings. What was counted stays, unless the window itself is another.
    pub(super) fn reconfigure(&self, config: CircuitBreakerConfig) -> Result<(), InvalidConfig> {
        config.validate()?;
        let mut machine = lock(&self.machine);
        let window = self.window_for(config.window)?;
        self.rules.set(&config);
        if window != self.status().window() && machine.phase() == State::Closed {
            machine.new_generation();
        }
        machine.config = config;
        self.publish(&machine, window);
        Ok(())
    }

    /// Keeps a window with these settings ready, so that [`reconfigure`](Self::reconfigure) won't find that it is one too
    /// many.
    pub(super) fn reserve(&self, window: Window) -> Result<(), InvalidConfig> {
        self.window_for(window).map(drop)
    }

    /// Whether an open breaker makes its service unready instead of refusing.
    pub(super) fn pauses(&self) -> bool {
        self.status().has(PAUSES)
    }

    /// Whether the breaker is closed, and a call that is made now needs no promise of it.
    #[inline]
    pub(super) fn lets_all_through(&self) -> bool {
        self.status().lets_all_through()
    }

    pub(super) fn state(&self) -> State {
        let status = self.status();
        if status.has(SHADOW) { State::Shadow } else { status.phase() }
    }

    /// Lets a call through if the breaker is closed.
    #[inline]
    pub(super) fn admit_if_closed(&self, clock: impl Clock) -> Option<Ticket> {
        let status = self.status();
        if status.is_plain() {
            return Some(Ticket::new(status, 0));
        }
        let all = status.phase() == State::Closed && !status.has(RAMPING);
        all.then(|| self.counted(status, clock))
    }

    /// Asks for a call to be let through, whatever the state.
    pub(super) fn admit(&self, clock: impl Clock, random: impl FnOnce() -> f64) -> Told<Result<Ticket, Refused>> {
        if let Some(come_back) = self.peek(&clock) {
            return (Err(Refused { retry_after: come_back.retry_after(), ask_again_in: None }), None);
        }
        let (at, random) = (clock.now(), random());
        if let Some(answer) = self.admit_on_ramp(at, random) {
            return (answer, None);
        }
        let mut machine = lock(&self.machine);
        let ramping = machine.ramp().is_some();
        let (admission, change) = machine.admit(at, random);
        if change.is_some() || ramping != machine.ramp().is_some() {
            self.publish(&machine, self.status().window());
        }
        let status = self.status();
        drop(machine);
        match admission {
            Admission::Counted => (Ok(self.counted(status, || at)), change),
            Admission::Probe(probe) => (Ok(Ticket::new(status, probe)), change),
            Admission::Uncounted => (Ok(Ticket::new(status, UNCOUNTED)), change),
            Admission::Refused(refused) => (Err(refused), change),
        }
    }

    /// The refusal of an open state whose time isn't over, without the lock.
    #[inline]
    pub(super) fn peek(&self, clock: &impl Clock) -> Option<ComeBack> {
        let status = self.status();
        match status.phase() {
            _ if status.has(SHADOW) => None,
            State::ForcedOpen => Some(ComeBack::UNKNOWN),
            State::Open => {
                ComeBack::after(self.open_until.load(Ordering::Relaxed).saturating_sub(clock.since(self.made)))
            }
            _ => None,
        }
    }

    /// The answer of a breaker that ramps, without the lock; `None` where there is no ramp, or no longer.
    fn admit_on_ramp(&self, at: Instant, random: f64) -> Option<Result<Ticket, Refused>> {
        let status = self.status();
        if !status.has(RAMPING) {
            return None;
        }
        let (into, over) = self.ramp_at(at);
        match ramp::pass(into, over, random) {
            Pass::Over => None,
            Pass::Admitted => Some(Ok(self.counted(status, || at))),
            Pass::Refused { retry_after } => Some(Err(Refused { retry_after: Some(retry_after), ask_again_in: None })),
        }
    }

    /// The share of calls that is let through, if it isn't all of them.
    pub(super) fn ramp_share(&self, now: Instant) -> Option<f64> {
        let (into, over) = self.ramp_at(now);
        (self.status().has(RAMPING) && into < over).then(|| ramp::share(into, over))
    }

    /// How far into its ramp the breaker is, and how long that is.
    fn ramp_at(&self, now: Instant) -> (Duration, Duration) {
        let into = self.nanos(now).saturating_sub(self.ramping_since.load(Ordering::Relaxed));
        (Duration::from_nanos(into), Duration::from_nanos(self.ramp.load(Ordering::Relaxed)))
    }

    /// Whether a breaker that nobody uses would be missed by nobody: it would let the next call through, and has done so
    /// for long enough to know that nobody asks.
    pub(super) fn is_idle(&self, clock: impl Clock) -> bool {
        let status = self.status();
        let until = Duration::from_nanos(self.open_until.load(Ordering::Relaxed));
        match status.phase() {
            _ if status.has(SHADOW) => false,
            State::Closed => !status.has(RAMPING) || self.ramp_share(clock.now()).is_none(),
            State::Open | State::HalfOpen => self.elapsed(&clock) >= until + ABANDONED_AFTER,
            _ => false,
        }
    }

    // Not where a plain call would have to make room for it.
    #[inline(never)]
    fn counted(&self, status: Status, clock: impl Clock) -> Ticket {
        let began = if status.has(SLOW_CALLS) { clock.since(self.made).max(1) } else { 0 };
        Ticket::new(status, began)
    }

    /// Whether to record this would change nothing. So it is with the usual call: nothing has changed since it began, it
    /// succeeded, and so have all the others in the window.
    #[inline]
    pub(super) fn ignores(&self, ticket: Ticket, outcome: Outcome) -> bool {
        outcome == Outcome::Success
            && ticket.status().is_plain()
            && self.window(ticket.status()).is_some_and(|window| window.ignores_success(ticket.status().generation()))
    }

    /// Records how a call ended; `took` where the caller knows better than the ticket how long it took.
    pub(super) fn record(
        &self,
        ticket: Ticket,
        outcome: Outcome,
        took: Option<Duration>,
        clock: impl Clock,
        random: impl FnOnce() -> f64,
    ) -> Option<Change> {
        let (status, detail) = (ticket.status(), ticket.detail());
        match status.phase() {
            _ if detail == UNCOUNTED => None,
            State::Closed if outcome == Outcome::Ignored => None,
            State::Closed => {
                let began = Duration::from_nanos(detail);
                let since = || (detail != 0).then(|| self.elapsed(&clock).saturating_sub(began));
                let slow = self.rules.is_slow(|| took.or_else(since));
                let (reason, retry_after) = self.count(status, outcome, slow, &clock)?;
                let mut machine = lock(&self.machine);
                let change = machine.trip(status.generation(), reason, retry_after, clock.now(), random());
                self.publish_if(change, &machine)
            }
            _ => {
                let mut machine = lock(&self.machine);
                let at = clock.now();
                let slow = |took| self.rules.is_slow(|| Some(took));
                let change = machine.probe_ended(ticket.probe()?, outcome, took, slow, at, random());
                self.publish_if(change, &machine)
            }
        }
    }

    /// The call was cancelled. Says whether that gave a probe back.
    pub(super) fn cancel(&self, ticket: Ticket) -> bool {
        ticket.probe().is_some_and(|probe| lock(&self.machine).probe_dropped(probe))
    }

    /// Counts an outcome of the closed state, and says why it is time to open, if it is.
    fn count(
        &self,
        status: Status,
        outcome: Outcome,
        slow: bool,
        clock: &impl Clock,
    ) -> Option<(ChangeReason, Option<Duration>)> {
        let fault = outcome.fault();
        // Never waited for: where two calls fail at once, either's cause is the last.
        if let (Some(fault), Ok(mut last)) = (fault, self.last.try_lock()) {
            *last = fault.cause;
        }
        let record = Record { failed: fault.is_some(), slow };
        let window = self.window(status)?;
        let tally = window.record(status.generation(), record, || self.elapsed(clock))?;
        let row = self.count_row(status.generation(), outcome)?;
        let reason = self.rules.verdict(tally, row, window.size(), || *lock(&self.last))?;
        Some((reason, fault.and_then(|fault| fault.retry_after)))
    }

    /// How many have failed in a row, if that is a rule; `None` if the generation is over.
    fn count_row(&self, generation: u32, outcome: Outcome) -> Option<u32> {
        if !self.rules.look_at_rows() {
            return Some(0);
        }
        match outcome {
            Outcome::Failure(_) => update(&self.row, generation, Ordering::Relaxed, |row| row.saturating_add(1))
                .map(|row| row.saturating_add(1)),
            Outcome::Success if unpack(self.row.load(Ordering::Relaxed)) != (generation, 0) => {
                update(&self.row, generation, Ordering::Relaxed, |_| 0).map(|_| 0)
            }
            _ => Some(0),
        }
    }

    /// By hand: to Closed, ForcedOpen, Disabled or Shadow.
    pub(super) fn force(&self, to: State) -> Option<Change> {
        let mut machine = lock(&self.machine);
        let change = machine.force(to);
        self.publish(&machine, self.status().window());
        change
    }

    pub(super) fn tally(&self, now: Instant) -> Tally {
        let status = self.status();
        match self.window(status) {
            Some(window) if status.phase() == State::Closed => {
                window.tally(status.generation(), Duration::from_nanos(self.nanos(now)))
            }
            _ => Tally::default(),
        }
    }

    pub(super) fn machine(&self) -> MutexGuard<'_, Machine> {
        lock(&self.machine)
    }

    #[inline]
    fn elapsed(&self, clock: &impl Clock) -> Duration {
        Duration::from_nanos(clock.since(self.made))
    }

    fn nanos(&self, at: Instant) -> u64 {
        self.made.nanos(at)
    }

    #[inline]
    fn status(&self) -> Status {
        Status(self.status.load(Ordering::Acquire))
    }

    #[inline]
    fn window(&self, status: Status) -> Option<&AnyWindow> {
        self.windows[usize::from(status.window()) % WINDOWS].get()
    }

    /// The number of the window with these settings: one the breaker had before, or the next free one.
    fn window_for(&self, window: Window) -> Result<u8, InvalidConfig> {
        for (number, slot) in self.windows.iter().enumerate() {
            if slot.get_or_init(|| AnyWindow::new(window)).is(window) {
                return Ok(number as u8);
            }
        }
        Err(too_many_windows(window))
    }

    fn publish_if(&self, change: Option<Change>, machine: &Machine) -> Option<Change> {
        if change.is_some() {
            self.publish(machine, self.status().window());
        }
        change
    }

    /// Only with the lock held.
    fn publish(&self, machine: &Machine, window: u8) {
        if let Some(until) = machine.open_until() {
            self.open_until.store(self.nanos(until), Ordering::Relaxed);
        }
        if let Some((since, over)) = machine.ramp() {
            self.ramping_since.store(self.nanos(since), Ordering::Relaxed);
            self.ramp.store(over.as_nanos() as u64, Ordering::Relaxed);
        }
        self.status.store(Status::of(machine, window).0, Ordering::Release);
    }
}

pub(super) fn too_many_windows(window: Window) -> InvalidConfig {
    let nth = WINDOWS + 1;
    let problem = format!("{window:?} would be the breaker's {nth}th different window, and it can have {WINDOWS}");
    InvalidConfig::new("circuit_breaker.window", problem)
}

#[cfg(all(test, buttress_loom))]
mod loom_tests;
