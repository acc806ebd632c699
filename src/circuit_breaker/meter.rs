//! What a breaker counts for those who watch it from outside.

use super::{
    POLICY,
    event::{Change, State},
};
use crate::{
    meter::{Calls, Counter, Metric, Register, Whose, rejections},
    name::Name,
    rejection::Reason,
};

const TRANSITIONS: Metric = Metric {
    name: "buttress_circuit_breaker_transitions_total",
    help: "Changes of state. Those of a shadow are what it would have done.",
};
const FORGOTTEN: Metric = Metric {
    name: "buttress_circuit_breaker_keys_forgotten_total",
    help: "Keys that were forgotten to make room for others.",
};

/// All keys' breakers of a keyed one have the same.
#[derive(Debug)]
pub(super) struct Handles {
    pub(super) calls: Calls,
    pub(super) refused: Counter,
}

impl Register for Handles {
    fn register(whose: Whose<'_>) -> Self {
        Self { calls: Calls::register(whose), refused: rejections(whose, Reason::CircuitOpen) }
    }
}

pub(super) fn whose(name: &Name) -> Whose<'_> {
    Whose { policy: POLICY, name }
}

/// Seldom enough to be looked up each time.
pub(super) fn changed(name: &Name, change: &Change) {
    let shadow = if change.shadow { "true" } else { "false" };
    let labels = [("from", change.from.as_str()), ("to", change.to.as_str()), ("shadow", shadow)];
    Counter::register(TRANSITIONS, whose(name), &labels).increment();
}

pub(super) fn forgotten(name: &Name) {
    Counter::register(FORGOTTEN, whose(name), &[]).increment();
}

#[cfg(feature = "metrics")]
pub(super) mod gauges {
    use super::{Metric, State, whose};
    use crate::{
        circuit_breaker::{CircuitBreakerSnapshot, KeyedCircuitBreakerSnapshot},
        metrics::Gauges,
        name::Name,
    };

    const STATE: Metric =
        Metric { name: "buttress_circuit_breaker_state", help: "How many breakers of this name are in this state." };
    const CALLS: Metric = Metric {
        name: "buttress_circuit_breaker_window_calls",
        help: "How many calls the window of the closed state holds.",
    };
    const FAILURES: Metric =
        Metric { name: "buttress_circuit_breaker_window_failures", help: "How many calls in the window failed." };
    const SLOW: Metric =
        Metric { name: "buttress_circuit_breaker_window_slow", help: "How many calls in the window were slow." };
    const RAMP: Metric = Metric {
        name: "buttress_circuit_breaker_ramp_ratio",
        help: "The share of calls that a breaker lets through which closed of late; 1 if it does not ramp.",
    };
    const KEYS: Metric =
        Metric { name: "buttress_circuit_breaker_keys", help: "How many keys a keyed breaker has breakers for." };

    pub(in crate::circuit_breaker) fn of_one(snapshot: &CircuitBreakerSnapshot, gauges: &mut Gauges) {
        let whose = whose(&snapshot.name);
        for state in State::ALL {
            add_state(gauges, &snapshot.name, state, usize::from(state == snapshot.state));
        }
        gauges.add(CALLS, whose, snapshot.calls);
        gauges.add(FAILURES, whose, snapshot.failures);
        gauges.add(SLOW, whose, snapshot.slow);
        gauges.lowest(RAMP, whose, snapshot.ramp_share.unwrap_or(1.0));
    }

    pub(in crate::circuit_breaker) fn of_keys(snapshot: &KeyedCircuitBreakerSnapshot, gauges: &mut Gauges) {
        let KeyedCircuitBreakerSnapshot { name, closed, open, half_open, forced_open, disabled, shadow, .. } = snapshot;
        let counts = [closed, open, half_open, forced_open, disabled, shadow];
        for (state, count) in State::ALL.into_iter().zip(counts) {
            add_state(gauges, name, state, *count);
        }
        gauges.add(KEYS, whose(name), snapshot.keys as u64);
    }

    fn add_state(gauges: &mut Gauges, name: &Name, state: State, count: usize) {
        gauges.add_labelled(STATE, whose(name), ("state", state.as_str()), count as u64);
    }
}
