//! What a breaker tells: its states, and why it went from one to another.

use std::{
    fmt::{self, Debug},
    time::Duration,
};

use tracing::field::debug;

use super::{breaker::CircuitBreaker, config::CircuitBreakerConfig};
use crate::{name::Name, outcome::Cause, rejection::Reason, span};

/// The state of a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Calls go through and are counted.
    Closed,
    /// Calls are refused.
    Open,
    /// A few calls go through to find out whether the service is back.
    HalfOpen,
    /// By hand: calls are refused until somebody says otherwise.
    ForcedOpen,
    /// By hand: calls go through and nothing is counted.
    Disabled,
    /// By hand: calls go through and are counted, and what would have been done is reported.
    Shadow,
}

impl State {
    /// All there are, in the order in which they are counted of a keyed breaker.
    #[cfg(feature = "metrics")]
    pub(super) const ALL: [Self; 6] =
        [Self::Closed, Self::Open, Self::HalfOpen, Self::ForcedOpen, Self::Disabled, Self::Shadow];

    /// The state as a label of a metric or a field of a log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::Disabled => "disabled",
            Self::Shadow => "shadow",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A breaker went from one state to another.
///
/// Displays as `Closed -> Open (10 of 20 failed, last: http 503), next probe in 4.2s`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Change {
    /// The state before.
    pub from: State,
    /// The state since.
    pub to: State,
    /// Why.
    pub reason: ChangeReason,
    /// For how long the breaker is open, where it is.
    pub open_for: Option<Duration>,
    /// How long until it lets all calls through again, where it closed and [ramps](CircuitBreakerConfig::ramp).
    pub ramp: Option<Duration>,
    /// Whether the breaker is a [shadow](State::Shadow), which only says what it would have done.
    pub shadow: bool,
}

/// Why a breaker changed its state.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum ChangeReason {
    /// Too large a share of the calls in the window failed.
    FailureRate {
        /// How many failed.
        failures: u64,
        /// Of how many.
        calls: u64,
        /// Why the last of them failed.
        last: Cause,
    },
    /// Too large a share of the calls in the window was slow.
    SlowCalls {
        /// How many were slow.
        slow: u64,
        /// Of how many.
        calls: u64,
    },
    /// Too many calls failed in a row.
    ConsecutiveFailures {
        /// How many failed.
        failures: u32,
        /// Why the last of them failed.
        last: Cause,
    },
    /// The breaker was open for long enough.
    OpenElapsed,
    /// The probes went well.
    ProbesSucceeded {
        /// How many of them did.
        successes: u32,
    },
    /// The probes went badly.
    ProbesFailed {
        /// How many failed or were slow.
        failures: u32,
        /// Of how many.
        probes: u32,
        /// Why the last of them failed.
        last: Cause,
    },
    /// By hand.
    ByHand,
}

impl fmt::Display for ChangeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FailureRate { failures, calls, last } => write!(f, "{failures} of {calls} failed, last: {last}"),
            Self::SlowCalls { slow, calls } => write!(f, "{slow} of {calls} were slow"),
            Self::ConsecutiveFailures { failures, last } => write!(f, "{failures} failed in a row, last: {last}"),
            Self::OpenElapsed => f.write_str("time for a probe"),
            Self::ProbesSucceeded { successes } => write!(f, "{successes} probes succeeded"),
            Self::ProbesFailed { failures, probes, last } => {
                write!(f, "{failures} of {probes} probes failed, last: {last}")
            }
            Self::ByHand => f.write_str("by hand"),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, reason, open_for, ramp, shadow } = self;
        if *shadow {
            f.write_str("shadow: ")?;
        }
        write!(f, "{from} -> {to} ({reason})")?;
        match (open_for, ramp) {
            (Some(open_for), _) => write!(f, ", next probe in {:.1}s", open_for.as_secs_f64()),
            (None, Some(ramp)) => write!(f, ", all calls in {:.1}s", ramp.as_secs_f64()),
            (None, None) => Ok(()),
        }
    }
}

/// `key` is a field of the breakers of a keyed one only.
pub(super) fn changed(name: &Name, key: Option<&dyn Debug>, change: &Change) {
    let key = key.map(debug);
    let (policy, name, from, to) = (super::POLICY, name.as_str(), change.from.as_str(), change.to.as_str());
    match change.to {
        State::Open | State::ForcedOpen => tracing::warn!(policy, name, key, from, to, "{change}"),
        _ => tracing::info!(policy, name, key, from, to, "{change}"),
    }
}

#[inline]
pub(super) fn refused(breaker: &CircuitBreaker, retry_after: Option<Duration>) {
    span::rejected(super::POLICY, breaker.name(), Reason::CircuitOpen);
    // The fields are evaluated for a subscriber only.
    tracing::debug!(
        policy = super::POLICY,
        name = breaker.name().as_str(),
        key = breaker.key().map(debug),
        reason = Reason::CircuitOpen.as_str(),
        state = breaker.state().as_str(),
        ?retry_after,
        "call refused"
    );
}

pub(super) fn reconfigured(name: &Name, config: &CircuitBreakerConfig) {
    tracing::info!(policy = super::POLICY, name = name.as_str(), ?config, "settings changed");
}

pub(super) fn reconfigured_keyed(name: &Name, max_keys: usize, config: &CircuitBreakerConfig) {
    tracing::info!(policy = super::POLICY, name = name.as_str(), max_keys, ?config, "settings changed for all keys");
}

pub(super) fn forgotten(name: &Name, key: &dyn Debug, state: State) {
    let (policy, name, state) = (super::POLICY, name.as_str(), state.as_str());
    tracing::debug!(policy, name, ?key, state, "key forgotten to make room for another");
}
