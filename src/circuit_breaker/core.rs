//! What threads share of a breaker: a lock-free way through the closed state, and a lock around the rest.

use std::{sync::OnceLock, time::Duration};

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

/// The closed state is admitted by one load of `status`, and recorded by a bounded number of atomic operations on the
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
    Time(TimeWindow),
}

/// What a call that was let through carries until it ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    kind: TicketKind,
    generation: u32,
    /// When it began, if that matters.
    began: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TicketKind {
    /// Counted in the window of this number.
    Counted(u8),
    Probe(u64),
    Uncounted,
}

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
        if window != Status::unpack(self.status.load(Ordering::Relaxed)).window && machine.phase() == State::Closed {
            machine.new_generation();
        }
        machine.config = config;
        self.publish(&machine, window);
        Ok(())
    }

    /// Whether an open breaker makes its service unready instead of refusing.
    pub(super) fn pauses(&self) -> bool {
        Status::unpack(self.status.load(Ordering::Relaxed)).pauses
    }

    pub(super) fn state(&self) -> State {
        let status = Status::unpack(self.status.load(Ordering::Acquire));
        if status.shadow { State::Shadow } else { status.phase }
    }

    /// Lets a call through if the breaker is closed.
    #[inline]
    pub(super) fn admit_if_closed(&self, now: impl Fn() -> Instant) -> Option<Ticket> {
        let status = Status::unpack(self.status.load(Ordering::Acquire));
        (status.phase == State::Closed).then(|| self.ticket(status, TicketKind::Counted(status.window), now))
    }

    /// Asks for a call to be let through, whatever the state.
    pub(super) fn admit(
        &self,
        now: impl Fn() -> Instant,
        random: impl FnOnce() -> f64,
    ) -> Told<Result<Ticket, Refused>> {
        let status = Status::unpack(self.status.load(Ordering::Acquire));
        if let Some(refused) = self.refusal(status, &now) {
            return (Err(refused), None);
        }
        let at = now();
        let mut machine = lock(&self.machine);
        let (admission, change) = machine.admit(at, random());
        if change.is_some() {
            self.publish(&machine, self.window());
        }
        let status = Status::unpack(self.status.load(Ordering::Relaxed));
        drop(machine);
        let kind = match admission {
            Admission::Counted => TicketKind::Counted(status.window),
            Admission::Probe(probe) => TicketKind::Probe(probe),
            Admission::Uncounted => TicketKind::Uncounted,
            Admission::Refused(refused) => return (Err(refused), change),
        };
        (Ok(self.ticket(status, kind, || at)), change)
    }

    /// The refusal of an open state whose time isn't over, without the lock.
    pub(super) fn peek(&self, now: impl Fn() -> Instant) -> Option<Refused> {
        let status = Status::unpack(self.status.load(Ordering::Acquire));
        if status.phase == State::Closed { None } else { self.refusal(status, &now) }
    }

    fn refusal(&self, status: Status, now: &impl Fn() -> Instant) -> Option<Refused> {
        match status.phase {
            _ if status.shadow => None,
            State::ForcedOpen => Some(Refused { retry_after: None, ask_again: None }),
            State::Open => {
                let until = self.made + Duration::from_nanos(self.open_until.load(Ordering::Relaxed));
                let left = until.saturating_duration_since(now());
                (!left.is_zero()).then_some(Refused { retry_after: Some(left), ask_again: Some(until) })
            }
            _ => None,
        }
    }

    fn ticket(&self, status: Status, kind: TicketKind, now: impl Fn() -> Instant) -> Ticket {
        let timed = self.rules.slow_nanos.load(Ordering::Relaxed) != 0;
        Ticket { kind, generation: status.generation, began: timed.then(now) }
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
        let slow = self.rules.is_slow(|| took.or_else(|| Some(now().saturating_duration_since(ticket.began?))));
        match ticket.kind {
            TicketKind::Uncounted => None,
            TicketKind::Counted(_) if outcome == Outcome::Ignored => None,
            TicketKind::Counted(window) => {
                let (reason, retry_after) = self.count(window, ticket.generation, outcome, slow, &now)?;
                let mut machine = lock(&self.machine);
                let change = machine.trip(ticket.generation, reason, retry_after, now(), random());
                self.publish_if(change, &machine)
            }
            TicketKind::Probe(probe) => {
                let mut machine = lock(&self.machine);
                if machine.generation != ticket.generation {
                    return None;
                }
                let change = machine.probe_ended(probe, outcome, slow, now(), random());
                self.publish_if(change, &machine)
            }
        }
    }

    /// The call was cancelled. Says whether that gave a probe back.
    pub(super) fn cancel(&self, ticket: Ticket) -> bool {
        let TicketKind::Probe(probe) = ticket.kind else { return false };
        let mut machine = lock(&self.machine);
        machine.generation == ticket.generation && machine.probe_dropped(probe)
    }

    /// Counts an outcome of the closed state, and says why it is time to open, if it is.
    fn count(
        &self,
        window: u8,
        generation: u32,
        outcome: Outcome,
        slow: bool,
        now: &impl Fn() -> Instant,
    ) -> Option<(ChangeReason, Option<Duration>)> {
        let fault = outcome.fault();
        let record = Record { failed: fault.is_some(), slow };
        let tally = self.windows[usize::from(window)].get()?.record(generation, record, || self.elapsed(now()))?;
        let row = self.count_row(generation, outcome)?;
        let last = fault.map_or(Cause::Slow, |fault| fault.cause);
        let reason = self.rules.verdict(tally, row, self.windows[usize::from(window)].get()?.size(), last)?;
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
        self.publish(&machine, self.window());
        change
    }

    pub(super) fn tally(&self, now: Instant) -> Tally {
        let status = Status::unpack(self.status.load(Ordering::Acquire));
        let window = self.windows[usize::from(status.window)].get();
        match window {
            Some(window) if status.phase == State::Closed => window.tally(status.generation, self.elapsed(now)),
            _ => Tally::default(),
        }
    }

    pub(super) fn machine(&self) -> MutexGuard<'_, Machine> {
        lock(&self.machine)
    }

    fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.made)
    }

    fn window(&self) -> u8 {
        Status::unpack(self.status.load(Ordering::Relaxed)).window
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
            self.publish(machine, self.window());
        }
        change
    }

    /// Only with the lock held.
    fn publish(&self, machine: &Machine, window: u8) {
        if let Some(until) = machine.open_until() {
            self.open_until.store(self.elapsed(until).as_nanos() as u64, Ordering::Relaxed);
        }
        let status = Status {
            phase: machine.phase(),
            shadow: machine.shadow,
            pauses: machine.config.when_open == WhenOpen::Pause,
            window,
            generation: machine.generation,
        };
        self.status.store(status.pack(), Ordering::Release);
    }
}

// ===== impl Ticket =====

impl Ticket {
    pub(super) fn is_probe(&self) -> bool {
        matches!(self.kind, TicketKind::Probe(_))
    }
}

// ===== impl Status =====

/// What every call looks at, in one word.
#[derive(Debug, Clone, Copy)]
struct Status {
    phase: State,
    shadow: bool,
    pauses: bool,
    window: u8,
    generation: u32,
}

const PHASES: [State; 5] = [State::Closed, State::Open, State::HalfOpen, State::ForcedOpen, State::Disabled];

impl Status {
    fn pack(self) -> u64 {
        let phase = PHASES.iter().position(|phase| *phase == self.phase).unwrap_or_default();
        u64::from(self.generation) << 32
            | u64::from(self.window) << 8
            | u64::from(self.pauses) << 4
            | u64::from(self.shadow) << 3
            | phase as u64
    }

    fn unpack(word: u64) -> Self {
        Self {
            phase: PHASES.get((word & 0b111) as usize).copied().unwrap_or(State::Closed),
            shadow: word & 1 << 3 != 0,
            pauses: word & 1 << 4 != 0,
            window: (word >> 8) as u8,
            generation: (word >> 32) as u32,
        }
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
    fn verdict(&self, tally: Tally, row: u32, size: Option<u32>, last: Cause) -> Option<ChangeReason> {
        let Tally { calls, failures, slow } = tally;
        let limit = self.consecutive_failures.load(Ordering::Relaxed);
        if limit != 0 && row >= limit {
            return Some(ChangeReason::ConsecutiveFailures { failures: row, last });
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
            Some(ChangeReason::FailureRate { failures, calls, last })
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
            Window::Time(span) => Self::Time(TimeWindow::new(span)),
        }
    }

    fn is(&self, window: Window) -> bool {
        match (self, window) {
            (Self::Count(counted), Window::Count(calls)) => counted.size() == calls,
            (Self::Time(timed), Window::Time(span)) => timed.span() == span,
            _ => false,
        }
    }

    #[inline]
    fn record(&self, generation: u32, record: Record, elapsed: impl FnOnce() -> Duration) -> Option<Tally> {
        match self {
            Self::Count(window) => window.record(generation, record),
            Self::Time(window) => window.record(generation, record, elapsed()),
        }
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
