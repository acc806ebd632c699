//! What threads share of a breaker: a lock-free way through the closed state, and a lock around the rest.

use std::{fmt, sync::OnceLock, time::Duration};

use tokio::time::Instant;

use super::{
    config::{CircuitBreakerConfig, WhenOpen, Window},
    event::{Change, ChangeReason, State},
    state::{Admission, Machine, Refused},
};
use crate::{
    config::InvalidConfig,
    outcome::{Cause, Outcome},
    sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering, lock},
    window::{CountWindow, Record, Tally, TimeWindow, unpack, update},
};

/// How many different windows a breaker can be given in its life. Windows are never taken away, so that the closed
/// state can read them without a lock or a reference count.
const WINDOWS: usize = 16;

/// A call of the closed state is admitted by one load of `status`, and recorded by a bounded number of atomic operations on the
/// window. Everything else happens under the lock of `machine`, which then publishes what it decided in `status`.
///
/// `status` is stored with Release under the lock and loaded with Acquire, so whoever sees a generation also sees the
/// window it counts in and until when it is open. The settings are read one by one: a call that runs while they are
/// changed may be judged by some of the old ones and some of the new.
#[derive(Debug)]
pub(super) struct Core {
    status: AtomicU64,
    /// Nanoseconds since `made`.
    open_until: AtomicU64,
    made: Instant,
    windows: [OnceLock<AnyWindow>; WINDOWS],
    rules: Rules,
    /// Failures in a row, of a generation.
    row: AtomicU64,
    /// Why the last failure failed, for people to read.
    last: Mutex<Cause>,
    machine: Mutex<Machine>,
}

/// The settings that the closed state reads. Zero is off.
#[derive(Debug)]
struct Rules {
    failure_rate: AtomicU64,
    slow_rate: AtomicU64,
    slow_nanos: AtomicU64,
    minimum_calls: AtomicU32,
    consecutive_failures: AtomicU32,
}

#[derive(Debug)]
enum AnyWindow {
    Count(CountWindow),
    Time(Box<TimeWindow>),
}

/// What a call that was let through carries until it ends. The lower half is the status under which it was let through;
/// the upper half is of a probe its number, and of a counted call when it began, in nanoseconds since the breaker was
/// made, or zero if nobody will ask; or one of the values below.
///
/// One number and not two fields, for the compiler then moves it through registers. As a struct it is copied as one
/// piece of memory right after it was written as two, which stalls the processor for longer than all the rest takes.
#[derive(Clone, Copy)]
pub(super) struct Ticket(u128);

/// The call isn't counted.
const UNCOUNTED: u64 = u64::MAX;
/// Somebody has already told how the call ended.
const SPENT: u64 = u64::MAX - 1;

/// An answer of the core, with the change that it caused.
pub(super) type Told<T> = (T, Option<Change>);

impl Core {
    pub(super) fn new(config: CircuitBreakerConfig, now: Instant) -> Result<Self, InvalidConfig> {
        config.validate()?;
        let core = Self {
            status: AtomicU64::new(0),
            open_until: AtomicU64::new(0),
            made: now,
            windows: std::array::from_fn(|_| OnceLock::new()),
            rules: Rules {
                failure_rate: AtomicU64::new(0),
                slow_rate: AtomicU64::new(0),
                slow_nanos: AtomicU64::new(0),
                minimum_calls: AtomicU32::new(0),
                consecutive_failures: AtomicU32::new(0),
            },
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

    /// Whether an open breaker makes its service unready instead of refusing.
    pub(super) fn pauses(&self) -> bool {
        self.status().has(PAUSES)
    }

    /// Whether the breaker is closed and there is nothing else to know about it.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.status().is_plain()
    }

    pub(super) fn state(&self) -> State {
        let status = self.status();
        if status.has(SHADOW) { State::Shadow } else { status.phase() }
    }

    /// Lets a call through if the breaker is closed.
    #[inline]
    pub(super) fn admit_if_closed(&self, now: impl Fn() -> Instant) -> Option<Ticket> {
        let status = self.status();
        if status.is_plain() {
            return Some(Ticket::new(status, 0));
        }
        (status.phase() == State::Closed).then(|| self.counted(status, now))
    }

    /// Asks for a call to be let through, whatever the state.
    pub(super) fn admit(
        &self,
        now: impl Fn() -> Instant,
        random: impl FnOnce() -> f64,
    ) -> Told<Result<Ticket, Refused>> {
        if let Some(refused) = self.peek(&now) {
            return (Err(refused), None);
        }
        let at = now();
        let mut machine = lock(&self.machine);
        let (admission, change) = machine.admit(at, random());
        let change = self.publish_if(change, &machine);
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
    pub(super) fn peek(&self, now: impl Fn() -> Instant) -> Option<Refused> {
        let status = self.status();
        match status.phase() {
            _ if status.has(SHADOW) => None,
            State::ForcedOpen => Some(Refused { retry_after: None, ask_again_in: None }),
            State::Open => {
                let left = self.open_until.load(Ordering::Relaxed).saturating_sub(self.nanos(now()));
                let retry_after = Some(Duration::from_nanos(left));
                (left != 0).then_some(Refused { retry_after, ask_again_in: None })
            }
            _ => None,
        }
    }

    fn counted(&self, status: Status, now: impl Fn() -> Instant) -> Ticket {
        let began = if status.has(SLOW_CALLS) { self.nanos(now()).max(1) } else { 0 };
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
        now: impl Fn() -> Instant,
        random: impl FnOnce() -> f64,
    ) -> Option<Change> {
        let (status, detail) = (ticket.status(), ticket.detail());
        match status.phase() {
            _ if detail == UNCOUNTED => None,
            State::Closed if outcome == Outcome::Ignored => None,
            State::Closed => {
                let began = Duration::from_nanos(detail);
                let since = || (detail != 0).then(|| self.elapsed(now()).saturating_sub(began));
                let slow = self.rules.is_slow(|| took.or_else(since));
                let (reason, retry_after) = self.count(status, outcome, slow, &now)?;
                let mut machine = lock(&self.machine);
                let change = machine.trip(status.generation(), reason, retry_after, now(), random());
                self.publish_if(change, &machine)
            }
            _ => {
                let mut machine = lock(&self.machine);
                let at = now();
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
        now: &impl Fn() -> Instant,
    ) -> Option<(ChangeReason, Option<Duration>)> {
        let fault = outcome.fault();
        if let Some(fault) = fault {
            *lock(&self.last) = fault.cause;
        }
        let record = Record { failed: fault.is_some(), slow };
        let window = self.window(status)?;
        let tally = window.record(status.generation(), record, || self.elapsed(now()))?;
        let row = self.count_row(status.generation(), outcome)?;
        let reason = self.rules.verdict(tally, row, window.size(), || *lock(&self.last))?;
        Some((reason, fault.and_then(|fault| fault.retry_after)))
    }

    /// How many have failed in a row, if that is a rule; `None` if the generation is over.
    fn count_row(&self, generation: u32, outcome: Outcome) -> Option<u32> {
        if self.rules.consecutive_failures.load(Ordering::Relaxed) == 0 {
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
            Some(window) if status.phase() == State::Closed => window.tally(status.generation(), self.elapsed(now)),
            _ => Tally::default(),
        }
    }

    pub(super) fn machine(&self) -> MutexGuard<'_, Machine> {
        lock(&self.machine)
    }

    fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.made)
    }

    fn nanos(&self, at: Instant) -> u64 {
        self.elapsed(at).as_nanos() as u64
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
        Err(InvalidConfig::new(
            "circuit_breaker.window",
            format!("{window:?} would be the breaker's {}th different window, and it can have {WINDOWS}", WINDOWS + 1),
        ))
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
        self.status.store(Status::of(machine, window).0, Ordering::Release);
    }
}

// ===== impl Ticket =====

impl Ticket {
    #[inline]
    fn new(status: Status, detail: u64) -> Self {
        Self((u128::from(detail) << 64) | u128::from(status.0))
    }

    #[inline]
    fn status(self) -> Status {
        Status(self.0 as u64)
    }

    #[inline]
    fn detail(self) -> u64 {
        (self.0 >> 64) as u64
    }

    /// The ticket, and a spent one in its place.
    #[inline]
    pub(super) fn take(&mut self) -> Self {
        let ticket = *self;
        *self = Self::new(self.status(), SPENT);
        ticket
    }

    #[inline]
    pub(super) fn is_spent(self) -> bool {
        self.detail() == SPENT
    }

    /// The number of the probe that this is; no two probes of a breaker have the same.
    pub(super) fn probe(self) -> Option<u64> {
        (self.status().phase() == State::HalfOpen && self.detail() != UNCOUNTED).then_some(self.detail())
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("status", &self.status()).field("detail", &self.detail()).finish()
    }
}

// ===== impl Status =====

/// What every call looks at, in one word: the generation, the number of the window, flags and phase. A closed breaker
/// with a count window and a failure rate, the usual one, has neither phase nor flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Status(u64);

const PHASES: [State; 5] = [State::Closed, State::Open, State::HalfOpen, State::ForcedOpen, State::Disabled];
const PHASE: u64 = 0b111;
const SHADOW: u64 = 1 << 3;
const PAUSES: u64 = 1 << 4;
const SLOW_CALLS: u64 = 1 << 5;
const IN_A_ROW: u64 = 1 << 6;
const TIMED: u64 = 1 << 7;
const WINDOW: u32 = 8;
const GENERATION: u32 = 32;

impl Status {
    fn of(machine: &Machine, window: u8) -> Self {
        let CircuitBreakerConfig { when_open, slow_calls, consecutive_failures, window: kind, .. } = &machine.config;
        let flag = |flag: u64, set: bool| if set { flag } else { 0 };
        let phase = PHASES.iter().position(|phase| *phase == machine.phase()).unwrap_or_default();
        Self(
            (u64::from(machine.generation) << GENERATION)
                | (u64::from(window) << WINDOW)
                | flag(SHADOW, machine.shadow)
                | flag(PAUSES, *when_open == WhenOpen::Pause)
                | flag(SLOW_CALLS, slow_calls.is_some())
                | flag(IN_A_ROW, consecutive_failures.is_some())
                | flag(TIMED, matches!(kind, Window::Time(_)))
                | phase as u64,
        )
    }

    #[inline]
    fn is_plain(self) -> bool {
        self.0 & 0xff == 0
    }

    #[inline]
    fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    #[inline]
    fn phase(self) -> State {
        PHASES[((self.0 & PHASE) as usize).min(PHASES.len() - 1)]
    }

    #[inline]
    fn window(self) -> u8 {
        (self.0 >> WINDOW) as u8
    }

    #[inline]
    fn generation(self) -> u32 {
        (self.0 >> GENERATION) as u32
    }
}

// ===== impl Rules =====

impl Rules {
    fn set(&self, config: &CircuitBreakerConfig) {
        let CircuitBreakerConfig { failure_rate, slow_calls, minimum_calls, consecutive_failures, .. } = config;
        self.failure_rate.store(failure_rate.unwrap_or(0.0).to_bits(), Ordering::Relaxed);
        self.slow_rate.store(slow_calls.map_or(0.0, |slow| slow.rate).to_bits(), Ordering::Relaxed);
        self.slow_nanos.store(slow_calls.map_or(0, |slow| slow.longer_than.as_nanos() as u64), Ordering::Relaxed);
        self.minimum_calls.store(*minimum_calls, Ordering::Relaxed);
        self.consecutive_failures.store(consecutive_failures.unwrap_or(0), Ordering::Relaxed);
    }

    fn is_slow(&self, took: impl FnOnce() -> Option<Duration>) -> bool {
        let longer_than = self.slow_nanos.load(Ordering::Relaxed);
        longer_than != 0 && took().is_some_and(|took| took > Duration::from_nanos(longer_than))
    }

    /// Why it is time to open, if it is.
    fn verdict(&self, tally: Tally, row: u32, size: Option<u32>, last: impl Fn() -> Cause) -> Option<ChangeReason> {
        let Tally { calls, failures, slow } = tally;
        let limit = self.consecutive_failures.load(Ordering::Relaxed);
        if limit != 0 && row >= limit {
            return Some(ChangeReason::ConsecutiveFailures { failures: row, last: last() });
        }
        if failures == 0 && slow == 0 {
            return None;
        }
        let minimum = self.minimum_calls.load(Ordering::Relaxed).min(size.unwrap_or(u32::MAX));
        if calls < u64::from(minimum) {
            return None;
        }
        // Divided, not multiplied: 7 of 100 is then exactly the 0.07 of the setting.
        let exceeds = |part: u64, rate: &AtomicU64| {
            let rate = f64::from_bits(rate.load(Ordering::Relaxed));
            rate > 0.0 && part as f64 / calls as f64 >= rate
        };
        if exceeds(failures, &self.failure_rate) {
            Some(ChangeReason::FailureRate { failures, calls, last: last() })
        } else if exceeds(slow, &self.slow_rate) {
            Some(ChangeReason::SlowCalls { slow, calls })
        } else {
            None
        }
    }
}

// ===== impl AnyWindow =====

impl AnyWindow {
    fn new(window: Window) -> Self {
        match window {
            Window::Count(calls) => Self::Count(CountWindow::new(calls)),
            Window::Time(span) => Self::Time(Box::new(TimeWindow::new(span))),
        }
    }

    fn is(&self, window: Window) -> bool {
        match (self, window) {
            (Self::Count(counted), Window::Count(calls)) => counted.size() == calls,
            (Self::Time(timed), Window::Time(span)) => timed.span() == span,
            _ => false,
        }
    }

    fn record(&self, generation: u32, record: Record, elapsed: impl FnOnce() -> Duration) -> Option<Tally> {
        match self {
            Self::Count(window) => window.record(generation, record),
            Self::Time(window) => window.record(generation, record, elapsed()),
        }
    }

    /// Whether to record a success would change nothing.
    #[inline]
    fn ignores_success(&self, generation: u32) -> bool {
        matches!(self, Self::Count(window) if window.is_full_and_faultless(generation))
    }

    fn tally(&self, generation: u32, elapsed: Duration) -> Tally {
        match self {
            Self::Count(window) => window.tally(generation),
            Self::Time(window) => window.tally(generation, elapsed),
        }
    }

    fn size(&self) -> Option<u32> {
        match self {
            Self::Count(window) => Some(window.size()),
            Self::Time(_) => None,
        }
    }
}

#[cfg(all(test, buttress_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    fn core() -> Arc<Core> {
        let mut config = CircuitBreakerConfig::default();
        config.failure_rate = None;
        config.consecutive_failures = Some(2);
        config.half_open_calls = 1;
        Arc::new(Core::new(config, now()).unwrap())
    }

    fn now() -> Instant {
        thread_local!(static NOW: Instant = Instant::now());
        NOW.with(|now| *now)
    }

    fn later() -> Instant {
        now() + Duration::from_secs(60)
    }

    fn fail(core: &Core) -> Option<Change> {
        let ticket = core.admit_if_closed(now)?;
        core.record(ticket, Outcome::FAILURE, None, now, || 0.5)
    }

    #[test]
    fn two_failures_at_once_open_it_once() {
        loom::model(|| {
            let core = core();
            let at = now();
            let other = thread::spawn({
                let core = core.clone();
                move || {
                    let ticket = core.admit_if_closed(|| at);
                    ticket.and_then(|ticket| core.record(ticket, Outcome::FAILURE, None, || at, || 0.5)).is_some()
                }
            });
            let mine = fail(&core).is_some();
            let other = other.join().unwrap();
            assert!(mine != other, "{mine} {other}");
            assert_eq!(core.state(), State::Open);
        });
    }

    #[test]
    fn the_last_probe_is_given_once_and_a_cancelled_one_again() {
        loom::model(|| {
            let core = core();
            let at = later();
            fail(&core);
            fail(&core);
            let take = move |core: &Core| core.admit(|| at, || 0.5).0;
            let other = thread::spawn({
                let core = core.clone();
                move || take(&core).map(|ticket| core.cancel(ticket)).is_ok()
            });
            let mine = take(&core);
            let other = other.join().unwrap();
            assert!(mine.is_ok() || other);
            match mine {
                Ok(ticket) => {
                    assert!(take(&core).is_err(), "a second probe beside the only one");
                    assert!(core.cancel(ticket));
                }
                Err(_) => {}
            }
            assert!(take(&core).is_ok(), "the probe was lost");
        });
    }

    #[test]
    fn an_outcome_of_an_earlier_state_reaches_no_later_one() {
        loom::model(|| {
            let core = core();
            let at = now();
            let ticket = core.admit_if_closed(now).unwrap();
            let late = thread::spawn({
                let core = core.clone();
                move || {
                    core.record(ticket, Outcome::FAILURE, None, || at, || 0.5);
                }
            });
            core.force(State::ForcedOpen);
            core.force(State::Closed);
            late.join().unwrap();
            assert_eq!(core.tally(at), Tally::default());
            assert!(fail(&core).is_none(), "the late failure was counted in a row with this one");
        });
    }
}
