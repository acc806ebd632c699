//! Deciding: which state a breaker is in, and what that means for a call. No clock, no lock, no I/O.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    config::CircuitBreakerConfig,
    event::{Change, ChangeReason, State},
    ramp::{self, Pass},
};
use crate::{
    backoff::{Backoff, Jitter},
    outcome::{Cause, Outcome},
};

/// The states of a breaker and the ways between them. What is Closed is counted outside, where it needs no lock.
///
/// ```text
/// Closed   => Open                 a rule says so
/// Open     => HalfOpen             its time is over and somebody calls
/// HalfOpen => Closed | Open        the verdict over its probes
/// any      => any                  by hand
/// ```
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) config: CircuitBreakerConfig,
    pub(crate) shadow: bool,
    /// Counts the states that have been; an outcome of an earlier one means nothing any more.
    pub(crate) generation: u32,
    phase: Phase,
    /// How many half-open episodes have failed since the breaker was last closed.
    failed_episodes: u32,
    next_probe: u64,
    /// When the probes closed the breaker, until the ramp is over.
    ramping_since: Option<Instant>,
}

#[derive(Debug)]
enum Phase {
    Closed,
    Open { until: Instant },
    HalfOpen(Episode),
    ForcedOpen,
    Disabled,
}

/// The probes of a half-open state.
#[derive(Debug, Default)]
struct Episode {
    leases: Vec<Lease>,
    successes: u32,
    failures: u32,
    slow: u32,
    last: Cause,
}

#[derive(Debug)]
struct Lease {
    /// No two probes of a breaker have the same number, so one of an earlier episode is not found.
    probe: u64,
    began: Instant,
    until: Instant,
}

/// What a call is told that isn't let through by a closed breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It goes through and is counted by the window.
    Counted,
    /// It goes through as a probe.
    Probe(u64),
    /// It goes through and isn't counted.
    Uncounted,
    Refused(Refused),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    /// When a probe will be let through, if that is known.
    pub(crate) retry_after: Option<Duration>,
    /// When to ask again if that isn't known, should nobody say sooner that something changed.
    pub(crate) ask_again_in: Option<Duration>,
}

impl Machine {
    pub(crate) fn new(config: CircuitBreakerConfig) -> Self {
        Self {
            config,
            shadow: false,
            generation: 0,
            phase: Phase::Closed,
            failed_episodes: 0,
            next_probe: 0,
            ramping_since: None,
        }
    }

    /// The state, and for a shadow the state it would be in.
    pub(crate) fn phase(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen(_) => State::HalfOpen,
            Phase::ForcedOpen => State::ForcedOpen,
            Phase::Disabled => State::Disabled,
        }
    }

    pub(crate) fn open_until(&self) -> Option<Instant> {
        match self.phase {
            Phase::Open { until } => Some(until),
            _ => None,
        }
    }

    /// Since when a breaker lets only a share of the calls through, and over what time that grows to all. A shadow
    /// refuses nothing, so it has no use for a ramp.
    pub(crate) fn ramp(&self) -> Option<(Instant, Duration)> {
        self.ramping_since.zip(self.config.ramp).filter(|_| !self.shadow)
    }

    /// How many probes are on their way, and how many have ended well and badly.
    pub(crate) fn probes(&self) -> (u32, u32, u32) {
        match &self.phase {
            Phase::HalfOpen(episode) => (episode.leases.len() as u32, episode.successes, episode.failures),
            _ => (0, 0, 0),
        }
    }

    /// Asks for a call to be let through. `random` is in `0.0..1.0`.
    pub(crate) fn admit(&mut self, now: Instant, random: f64) -> (Admission, Option<Change>) {
        let mut change = None;
        match &mut self.phase {
            Phase::Closed => return (self.admit_closed(now, random), None),
            Phase::Disabled => return (Admission::Uncounted, None),
            Phase::ForcedOpen => return (self.refuse(None, None), None),
            Phase::Open { until } if now < *until => {
                let left = *until - now;
                return (self.refuse(Some(left), None), None);
            }
            Phase::Open { .. } => {
                change = Some(self.enter(Phase::HalfOpen(Episode::default()), ChangeReason::OpenElapsed));
            }
            Phase::HalfOpen(episode) => {
                episode.write_off(now);
                if let Some(reopened) = self.verdict(now, random, None) {
                    let (admission, _) = self.admit(now, random);
                    return (admission, Some(reopened));
                }
            }
        }
        let quota = self.quota();
        let Phase::HalfOpen(episode) = &mut self.phase else { unreachable!("just entered, or found so") };
        if episode.leases.len() as u32 + episode.ended() < quota {
            let probe = self.next_probe;
            self.next_probe += 1;
            episode.leases.push(Lease { probe, began: now, until: now + self.config.half_open_for });
            (Admission::Probe(probe), change)
        } else {
            let next_lease = episode.leases.iter().map(|lease| lease.until - now).min();
            (self.refuse(None, next_lease), change)
        }
    }

    fn admit_closed(&mut self, now: Instant, random: f64) -> Admission {
        let Some((since, over)) = self.ramp() else { return Admission::Counted };
        match ramp::pass(now.saturating_duration_since(since), over, random) {
            Pass::Over => {
                self.ramping_since = None;
                Admission::Counted
            }
            Pass::Admitted => Admission::Counted,
            Pass::Refused { retry_after } => self.refuse(Some(retry_after), None),
        }
    }

    /// A probe has ended, having taken as long as it says, or else as the clock does. Ignored outcomes give the probe
    /// back.
    pub(crate) fn probe_ended(
        &mut self,
        probe: u64,
        outcome: Outcome,
        took: Option<Duration>,
        is_slow: impl FnOnce(Duration) -> bool,
        now: Instant,
        random: f64,
    ) -> Option<Change> {
        let lease = self.give_back(probe)?;
        let slow = is_slow(took.unwrap_or_else(|| now.saturating_duration_since(lease.began)));
        let Phase::HalfOpen(episode) = &mut self.phase else { return None };
        let mut retry_after = None;
        match outcome {
            Outcome::Ignored => return None,
            Outcome::Success => episode.successes += 1,
            Outcome::Failure(fault) | Outcome::Overload(fault) => {
                episode.failures += 1;
                episode.last = fault.cause;
                retry_after = fault.retry_after;
            }
        }
        if slow {
            episode.slow += 1;
            if outcome == Outcome::Success {
                episode.last = Cause::Slow;
            }
        }
        self.verdict(now, random, retry_after)
    }

    /// A probe was cancelled: another may go in its place. Whether it was one, and of this episode.
    pub(crate) fn probe_dropped(&mut self, probe: u64) -> bool {
        self.give_back(probe).is_some()
    }

    fn give_back(&mut self, probe: u64) -> Option<Lease> {
        let Phase::HalfOpen(episode) = &mut self.phase else { return None };
        let found = episode.leases.iter().position(|lease| lease.probe == probe)?;
        Some(episode.leases.swap_remove(found))
    }

    /// A rule over the closed state's calls says that it is time to open.
    pub(crate) fn trip(
        &mut self,
        generation: u32,
        reason: ChangeReason,
        retry_after: Option<Duration>,
        now: Instant,
        random: f64,
    ) -> Option<Change> {
        let closed = matches!(self.phase, Phase::Closed) && self.generation == generation;
        closed.then(|| self.open(reason, retry_after, now, random))
    }

    /// By hand: to Closed, ForcedOpen, Disabled or Shadow. `None` if that is what it is.
    pub(crate) fn force(&mut self, to: State) -> Option<Change> {
        let from = self.seen();
        if from == to && to != State::Closed && to != State::Shadow {
            return None;
        }
        self.failed_episodes = 0;
        self.shadow = to == State::Shadow;
        let phase = match to {
            State::ForcedOpen => Phase::ForcedOpen,
            State::Disabled => Phase::Disabled,
            _ => Phase::Closed,
        };
        self.enter(phase, ChangeReason::ByHand);
        let reason = ChangeReason::ByHand;
        (from != to).then_some(Change { from, to, reason, open_for: None, ramp: None, shadow: false })
    }

    /// Forgets what was counted without a change of state: a new window was set.
    pub(crate) fn new_generation(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    /// The state as callers see it.
    pub(crate) fn seen(&self) -> State {
        if self.shadow { State::Shadow } else { self.phase() }
    }

    fn refuse(&self, retry_after: Option<Duration>, ask_again_in: Option<Duration>) -> Admission {
        if self.shadow { Admission::Uncounted } else { Admission::Refused(Refused { retry_after, ask_again_in }) }
    }

    fn quota(&self) -> u32 {
        self.config.half_open_calls.max(self.config.half_open_successes.unwrap_or(0))
    }

    /// Closes or opens again once the probes allow a verdict.
    fn verdict(&mut self, now: Instant, random: f64, retry_after: Option<Duration>) -> Option<Change> {
        let quota = self.quota();
        let Phase::HalfOpen(episode) = &self.phase else { return None };
        let healthy = match self.config.half_open_successes {
            Some(_) if episode.failures > 0 || episode.slow > 0 => false,
            Some(enough) if episode.successes >= enough => true,
            None if episode.ended() >= quota => !self.too_many(episode),
            _ => return None,
        };
        let Episode { successes, failures, slow, last, .. } = *episode;
        Some(if healthy {
            self.failed_episodes = 0;
            let mut change = self.enter(Phase::Closed, ChangeReason::ProbesSucceeded { successes });
            self.ramping_since = Some(now);
            change.ramp = self.ramp().map(|(_, over)| over);
            change
        } else {
            let probes = episode.ended();
            self.failed_episodes = self.failed_episodes.saturating_add(1);
            let reason = ChangeReason::ProbesFailed { failures: failures.max(slow), probes, last };
            self.open(reason, retry_after, now, random)
        })
    }

    /// The rules of the closed state over an episode; with no rate set, one failure is too many.
    fn too_many(&self, episode: &Episode) -> bool {
        let share = |part: u32| f64::from(part) / f64::from(episode.ended());
        let CircuitBreakerConfig { failure_rate, slow_calls, .. } = &self.config;
        match failure_rate {
            Some(rate) if share(episode.failures) >= *rate => true,
            None if episode.failures > 0 => true,
            _ => slow_calls.is_some_and(|slow| share(episode.slow) >= slow.rate),
        }
    }

    fn open(&mut self, reason: ChangeReason, retry_after: Option<Duration>, now: Instant, random: f64) -> Change {
        let at_most = self.config.open_at_most.max(self.config.open_for);
        let backoff = Backoff::exponential(self.config.open_for).at_most(at_most).jitter(Jitter::Equal);
        let jittered = backoff.delay(self.failed_episodes, None, random);
        let open_for = jittered.max(retry_after.unwrap_or_default()).min(at_most);
        let mut change = self.enter(Phase::Open { until: now + open_for }, reason);
        change.open_for = Some(open_for);
        change
    }

    fn enter(&mut self, phase: Phase, reason: ChangeReason) -> Change {
        let from = self.phase();
        self.phase = phase;
        self.ramping_since = None;
        self.new_generation();
        Change { from, to: self.phase(), reason, open_for: None, ramp: None, shadow: self.shadow }
    }
}

// ===== impl Episode =====

impl Episode {
    fn ended(&self) -> u32 {
        self.successes + self.failures
    }

    /// Counts probes whose lease is over as failed.
    fn write_off(&mut self, now: Instant) {
        let before = self.leases.len();
        self.leases.retain(|lease| now < lease.until);
        let hung = before - self.leases.len();
        if hung > 0 {
            self.failures += hung as u32;
            self.last = Cause::Hung;
        }
    }
}
