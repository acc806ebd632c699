//! What a retry policy counts for those who watch it from outside.

use super::handle::GaveUp;
use crate::meter::{Counter, Histogram, Metric, Register, Whose, cancelled};

const ATTEMPTS: Metric = Metric {
    name: "buttress_retry_attempts",
    help: "How many attempts a call took, whatever came of it. Cancelled calls are not in it.",
};
const RETRIES: Metric = Metric { name: "buttress_retry_retries_total", help: "Attempts after the first." };
const RECOVERED: Metric =
    Metric { name: "buttress_retry_recovered_total", help: "Calls that succeeded after a retry." };
const GAVE_UP: Metric =
    Metric { name: "buttress_retry_gave_up_total", help: "Failures that were handed on, by why there was no retry." };
const TOO_LARGE: Metric = Metric {
    name: "buttress_retry_bodies_too_large_total",
    help: "Requests whose body was too large to be kept, and could not be sent again.",
};

#[derive(Debug)]
pub(super) struct Handles {
    pub(super) attempts: Histogram,
    pub(super) retries: Counter,
    pub(super) recovered: Counter,
    pub(super) too_large: Counter,
    pub(super) cancelled: Counter,
    gave_up: [Counter; 7],
}

impl Handles {
    pub(super) fn gave_up(&self, why: GaveUp) {
        self.gave_up[why as usize].increment();
    }
}

impl Register for Handles {
    fn register(whose: Whose<'_>) -> Self {
        Self {
            attempts: Histogram::register(ATTEMPTS, whose),
            retries: Counter::register(RETRIES, whose, &[]),
            recovered: Counter::register(RECOVERED, whose, &[]),
            too_large: Counter::register(TOO_LARGE, whose, &[]),
            cancelled: cancelled(whose),
            gave_up: GaveUp::ALL.map(|why| Counter::register(GAVE_UP, whose, &[("reason", why.as_str())])),
        }
    }
}

#[cfg(feature = "metrics")]
pub(super) mod gauges {
    use super::{Metric, Whose};
    use crate::metrics::Gauges;

    const BUDGET: Metric = Metric {
        name: "buttress_retry_budget_available",
        help: "How many retries the budget has left. One that is shared is shown for each policy.",
    };

    pub(in crate::retry) fn of(whose: Whose<'_>, available: u64, gauges: &mut Gauges) {
        gauges.lowest(BUDGET, whose, available as f64);
    }
}
