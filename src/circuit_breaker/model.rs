//! The breaker held to a slow, obvious model of the same rules, over random sequences of calls, ends, cancellations,
//! time steps and hands on the lever.

use std::time::Duration;

use proptest::{collection::vec, prelude::*};
use tokio::time::Instant;

use super::{
    config::{CircuitBreakerConfig, SlowCalls, Window},
    core::Core,
    event::State,
    status::Ticket,
};
use crate::outcome::{Cause, Fault, Outcome};

const RANDOM: f64 = 0.5;

/// Keeps every outcome it ever saw, and counts them all anew for every question.
struct Model {
    config: CircuitBreakerConfig,
    state: State,
    shadow: bool,
    era: u32,
    /// Of the closed state: the slice of time, failed, slow.
    ended: Vec<(u128, bool, bool)>,
    row: u32,
    until: Duration,
    failed_episodes: u32,
    ramping_since: Option<Duration>,
    /// Of the half-open state: the leases that are out, and whether each probe that ended was good and slow.
    leases: Vec<(u64, Duration)>,
    probes: Vec<(bool, bool)>,
    given: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Pass {
    Counted,
    Probe(u64),
    Uncounted,
    Refused(Option<Duration>),
}

impl Model {
    fn new(config: CircuitBreakerConfig) -> Self {
        Self {
            config,
            state: State::Closed,
            shadow: false,
            era: 0,
            ended: Vec::new(),
            row: 0,
            until: Duration::ZERO,
            failed_episodes: 0,
            ramping_since: None,
            leases: Vec::new(),
            probes: Vec::new(),
            given: 0,
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.era += 1;
        self.ended.clear();
        self.row = 0;
        self.ramping_since = None;
        self.leases.clear();
        self.probes.clear();
    }

    fn open(&mut self, now: Duration, retry_after: Duration, random: f64) {
        let most = self.config.open_at_most.max(self.config.open_for);
        let mut grown = self.config.open_for;
        for _ in 0..self.failed_episodes {
            grown = (grown * 2).min(most);
        }
        let wait = (grown / 2 + (grown / 2).mul_f64(random)).max(retry_after).min(most);
        self.enter(State::Open);
        self.until = now + wait;
    }

    fn quota(&self) -> usize {
        self.config.half_open_calls.max(self.config.half_open_successes.unwrap_or(0)) as usize
    }

    fn admit(&mut self, now: Duration, random: f64) -> Pass {
        if self.state == State::Open && now >= self.until {
            self.enter(State::HalfOpen);
        }
        if self.state == State::HalfOpen {
            let hung = self.leases.iter().filter(|(_, until)| now >= *until).count();
            self.leases.retain(|(_, until)| now < *until);
            self.probes.extend(std::iter::repeat_n((false, false), hung));
            self.judge_probes(now, Duration::ZERO, random);
        }
        let refused = |left| if self.shadow { Pass::Uncounted } else { Pass::Refused(left) };
        match self.state {
            State::Closed => match self.ramping_since.zip(self.config.ramp) {
                // A tenth at first, and the other nine bit by bit.
                Some((since, ramp)) if now < since + ramp && !self.shadow => {
                    let turn = |random: f64| ramp.as_secs_f64() * (random - 0.1) / 0.9;
                    let left = turn(random) - (now - since).as_secs_f64();
                    if left < 0.0 { Pass::Counted } else { refused(Some(Duration::from_secs_f64(left))) }
                }
                _ => Pass::Counted,
            },
            State::Disabled => Pass::Uncounted,
            State::ForcedOpen => refused(None),
            State::Open => refused(Some(self.until - now)),
            _ if self.leases.len() + self.probes.len() < self.quota() => {
                self.leases.push((self.given, now + self.config.half_open_for));
                self.given += 1;
                Pass::Probe(self.given - 1)
            }
            _ => refused(None),
        }
    }

    fn end(&mut self, pass: Pass, era: u32, outcome: Option<Outcome>, slow: bool, now: Duration) {
        if era != self.era {
            return;
        }
        if let Pass::Probe(probe) = pass {
            let out = self.leases.len();
            self.leases.retain(|(lease, _)| *lease != probe);
            if self.leases.len() == out {
                return;
            }
        }
        let Some(outcome) = outcome.filter(|outcome| *outcome != Outcome::Ignored) else { return };
        let fault = outcome.fault();
        let retry_after = fault.and_then(|fault| fault.retry_after).unwrap_or_default();
        match pass {
            Pass::Counted => {
                self.ended.push((self.slice(now), fault.is_some(), slow));
                match outcome {
                    Outcome::Success => self.row = 0,
                    Outcome::Failure(_) => self.row += 1,
                    _ => {}
                }
                if self.tripped(now) {
                    self.open(now, retry_after, RANDOM);
                }
            }
            Pass::Probe(_) => {
                self.probes.push((fault.is_none(), slow));
                self.judge_probes(now, retry_after, RANDOM);
            }
            _ => {}
        }
    }

    fn slice(&self, now: Duration) -> u128 {
        match self.config.window {
            Window::Count(_) => 0,
            Window::Time(span) => now.as_nanos() / (span.as_nanos() / 10),
        }
    }

    fn tally(&self, now: Duration) -> (usize, usize, usize) {
        let held: Vec<_> = match self.config.window {
            Window::Count(calls) => self.ended.iter().rev().take(calls as usize).collect(),
            Window::Time(_) => self.ended.iter().filter(|(slice, ..)| slice + 10 > self.slice(now)).collect(),
        };
        let failures = held.iter().filter(|(_, failed, _)| *failed).count();
        let slow = held.iter().filter(|(.., slow)| *slow).count();
        (held.len(), failures, slow)
    }

    fn tripped(&self, now: Duration) -> bool {
        let (calls, failures, slow) = self.tally(now);
        let minimum = match self.config.window {
            Window::Count(size) => self.config.minimum_calls.min(size),
            Window::Time(_) => self.config.minimum_calls,
        };
        let enough = calls >= minimum as usize;
        let share = |part: usize| part as f64 / calls as f64;
        self.config.consecutive_failures.is_some_and(|row| self.row >= row)
            || enough && self.config.failure_rate.is_some_and(|rate| share(failures) >= rate)
            || enough && self.config.slow_calls.is_some_and(|calls| share(slow) >= calls.rate)
    }

    fn judge_probes(&mut self, now: Duration, retry_after: Duration, random: f64) {
        let good = self.probes.iter().filter(|(good, _)| *good).count();
        let slow = self.probes.iter().filter(|(_, slow)| *slow).count();
        let bad = self.probes.len() - good;
        let share = |part: usize| part as f64 / self.probes.len() as f64;
        let verdict = match self.config.half_open_successes {
            Some(_) if bad > 0 || slow > 0 => Some(false),
            Some(enough) => (good >= enough as usize).then_some(true),
            None if self.probes.len() < self.quota() => None,
            None => {
                let failed = self.config.failure_rate.map_or(bad > 0, |rate| share(bad) >= rate);
                Some(!failed && self.config.slow_calls.is_none_or(|calls| share(slow) < calls.rate))
            }
        };
        match verdict {
            Some(true) => {
                self.failed_episodes = 0;
                self.enter(State::Closed);
                self.ramping_since = Some(now);
            }
            Some(false) => {
                self.failed_episodes += 1;
                self.open(now, retry_after, random);
            }
            None => {}
        }
    }

    fn force(&mut self, to: State) {
        let from = if self.shadow { State::Shadow } else { self.state };
        if from == to && matches!(to, State::ForcedOpen | State::Disabled) {
            return;
        }
        self.failed_episodes = 0;
        self.shadow = to == State::Shadow;
        self.enter(if self.shadow { State::Closed } else { to });
    }
}

#[derive(Debug, Clone)]
enum Step {
    Call { random: f64 },
    End { which: usize, outcome: Outcome, slow: bool },
    Cancel { which: usize },
    Pass { millis: u64 },
    Force(State),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let failure = |seconds: u64| Fault { cause: Cause::Error, retry_after: Some(Duration::from_secs(seconds)) };
    let outcome = prop_oneof![
        6 => Just(Outcome::Success),
        6 => Just(Outcome::FAILURE),
        1 => (0..90_u64).prop_map(move |seconds| Outcome::Failure(failure(seconds))),
        1 => (0..90_u64).prop_map(move |seconds| Outcome::Overload(failure(seconds))),
        1 => Just(Outcome::Ignored),
    ];
    let end = (any::<usize>(), outcome, prop::bool::weighted(0.2)).prop_map(|(which, outcome, slow)| Step::End {
        which,
        outcome,
        slow,
    });
    let force = prop_oneof![Just(State::Closed), Just(State::ForcedOpen), Just(State::Disabled), Just(State::Shadow)];
    let step = prop_oneof![
        20 => (0.0..1.0).prop_map(|random| Step::Call { random }),
        20 => end,
        2 => any::<usize>().prop_map(|which| Step::Cancel { which }),
        3 => (0..3_000_u64).prop_map(|millis| Step::Pass { millis }),
        1 => (0..90_000_u64).prop_map(|millis| Step::Pass { millis }),
        1 => force.prop_map(Step::Force),
    ];
    vec(step, 1..400)
}

fn configs() -> impl Strategy<Value = CircuitBreakerConfig> {
    let window = prop_oneof![
        (1..40_u32).prop_map(Window::Count),
        (1..20_u64).prop_map(|seconds| Window::Time(Duration::from_secs(seconds))),
    ];
    let rate = || prop_oneof![Just(0.1), Just(0.5), Just(0.07), Just(1.0)];
    let rules = (prop::option::of(rate()), prop::option::of(rate()), prop::option::of(1..6_u32), 1..30_u32);
    let ramp = prop::option::of((1..20_u64).prop_map(Duration::from_secs));
    (window, rules, 1..8_u32, prop::option::weighted(0.3, 1..4_u32), ramp).prop_map(
        |(window, (failure_rate, slow_rate, consecutive_failures, minimum_calls), half_open_calls, successes, ramp)| {
            CircuitBreakerConfig {
                window,
                failure_rate,
                slow_calls: slow_rate.map(|rate| SlowCalls::new(Duration::from_secs(1), rate)),
                consecutive_failures,
                minimum_calls,
                half_open_calls,
                half_open_successes: successes,
                half_open_for: Duration::from_secs(10),
                ramp,
                ..CircuitBreakerConfig::default()
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn does_what_the_model_does(config in configs(), steps in steps()) {
        let start = Instant::now();
        let core = Core::new(config.clone(), start).unwrap();
        let mut model = Model::new(config.clone());
        let mut now = Duration::ZERO;
        let mut running: Vec<(Ticket, Pass, u32)> = Vec::new();
        for step in steps {
            let at = || start + now;
            let took = |slow| Duration::from_millis(if slow { 1_001 } else { 1_000 });
            match step {
                Step::Call { random } => {
                    let expected = model.admit(now, random);
                    let ticket = match core.admit_if_closed(at) {
                        Some(ticket) => Ok(ticket),
                        None => core.admit(at, || random).0,
                    };
                    match ticket {
                        Ok(ticket) => running.push((ticket, expected, model.era)),
                        Err(refused) => {
                            let Pass::Refused(left) = expected else { panic!("refused, and not {expected:?}") };
                            prop_assert_eq!(refused.retry_after.is_some(), left.is_some());
                            // The arithmetic is in f64, and each has its own.
                            let told = refused.retry_after.unwrap_or_default();
                            prop_assert!(told.abs_diff(left.unwrap_or_default()) < Duration::from_micros(1));
                        }
                    }
                    prop_assert_eq!(ticket.is_err(), matches!(expected, Pass::Refused(_)));
                }
                Step::End { which, outcome, slow } if !running.is_empty() => {
                    let (ticket, pass, era) = running.swap_remove(which % running.len());
                    let slow = slow && config.slow_calls.is_some();
                    core.record(ticket, outcome, Some(took(slow)), at, || RANDOM);
                    model.end(pass, era, Some(outcome), slow, now);
                }
                Step::Cancel { which } if !running.is_empty() => {
                    let (ticket, pass, era) = running.swap_remove(which % running.len());
                    core.cancel(ticket);
                    model.end(pass, era, None, false, now);
                }
                Step::End { .. } | Step::Cancel { .. } => {}
                Step::Pass { millis } => now += Duration::from_millis(millis),
                Step::Force(state) => {
                    core.force(state);
                    model.force(state);
                }
            }
            let expected = if model.shadow { State::Shadow } else { model.state };
            prop_assert_eq!(core.state(), expected);
            prop_assert_eq!(core.machine().phase(), model.state);
            let ramps = model.ramping_since.zip(config.ramp).is_some_and(|(since, ramp)| now < since + ramp);
            prop_assert_eq!(core.ramp_share(start + now).is_some(), ramps && !model.shadow);
            if model.state == State::Closed {
                let tally = core.tally(start + now);
                let (calls, failures, slow) = model.tally(now);
                prop_assert_eq!((tally.calls, tally.failures, tally.slow), (calls as u64, failures as u64, slow as u64));
            }
        }
    }
}
