//! What a hedge counts for those who watch it from outside.

use super::handle::HeldBack;
use crate::meter::{Counter, Metric, Register, Whose, cancelled};

const HEDGED: Metric =
    Metric { name: "buttress_hedge_calls_hedged_total", help: "Calls whose request was sent more than once." };
const SENT: Metric =
    Metric { name: "buttress_hedge_sent_total", help: "Requests sent besides the first of each call: hedges." };
const WON: Metric = Metric {
    name: "buttress_hedge_won_total",
    help: "Hedges whose answer was handed on before the first attempt had one, and was no failure.",
};
const LOST: Metric = Metric {
    name: "buttress_hedge_lost_total",
    help: "Hedges that were cancelled, or failed, because another attempt's answer was handed on.",
};
const WITHHELD: Metric =
    Metric { name: "buttress_hedge_withheld_total", help: "Hedges that were due and not sent, by why." };
const TOO_LARGE: Metric = Metric {
    name: "buttress_hedge_bodies_too_large_total",
    help: "Requests whose body was too large to be kept, and could not be sent again.",
};

#[derive(Debug)]
pub(super) struct Handles {
    pub(super) hedged: Counter,
    pub(super) sent: Counter,
    pub(super) won: Counter,
    pub(super) lost: Counter,
    pub(super) too_large: Counter,
    pub(super) cancelled: Counter,
    withheld: [Counter; 4],
}

impl Handles {
    pub(super) fn withheld(&self, why: HeldBack) {
        self.withheld[why as usize].increment();
    }
}

impl Register for Handles {
    fn register(whose: Whose<'_>) -> Self {
        let counter = |metric| Counter::register(metric, whose, &[]);
        Self {
            hedged: counter(HEDGED),
            sent: counter(SENT),
            won: counter(WON),
            lost: counter(LOST),
            too_large: counter(TOO_LARGE),
            cancelled: cancelled(whose),
            withheld: HeldBack::ALL.map(|why| Counter::register(WITHHELD, whose, &[("reason", why.as_str())])),
        }
    }
}

#[cfg(feature = "metrics")]
pub(super) mod gauges {
    use std::time::Duration;

    use super::{Metric, Whose};
    use crate::metrics::Gauges;

    const DELAY: Metric = Metric {
        name: "buttress_hedge_delay_seconds",
        help: "How long an answer is waited for before the request is sent again; 0 if too little was observed to know.",
    };
    const BUDGET: Metric = Metric {
        name: "buttress_hedge_budget_available",
        help: "How many hedges the budget has left. One that is shared is shown for each policy.",
    };

    pub(in crate::hedge) fn of(whose: Whose<'_>, delay: Option<Duration>, available: u64, gauges: &mut Gauges) {
        gauges.lowest(DELAY, whose, delay.unwrap_or_default().as_secs_f64());
        gauges.lowest(BUDGET, whose, available as f64);
    }
}
