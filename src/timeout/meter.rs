//! What a timeout counts for those who watch it from outside.

use crate::{
    meter::{Counter, Histogram, Metric, Register, Whose, rejections},
    rejection::Reason,
};

const FIRST_BYTE: Metric = Metric {
    name: "buttress_timeout_first_byte_seconds",
    help: "How long until the head of the answer was there, or its error.",
};
const END: Metric = Metric {
    name: "buttress_timeout_exchange_seconds",
    help: "How long until the end of the exchange: of the body, or when its time ran out.",
};
const ELAPSED: Metric =
    Metric { name: "buttress_timeout_elapsed_total", help: "Exchanges whose time ran out, by whose deadline it was." };

#[derive(Debug)]
pub(super) struct Handles {
    pub(super) first_byte: Histogram,
    pub(super) end: Histogram,
    own: Counter,
    inherited: Counter,
    pub(super) refused: Counter,
}

impl Handles {
    pub(super) fn elapsed(&self, inherited: bool) {
        if inherited { &self.inherited } else { &self.own }.increment();
    }
}

impl Register for Handles {
    fn register(whose: Whose<'_>) -> Self {
        Self {
            first_byte: Histogram::register(FIRST_BYTE, whose),
            end: Histogram::register(END, whose),
            own: Counter::register(ELAPSED, whose, &[("deadline", "own")]),
            inherited: Counter::register(ELAPSED, whose, &[("deadline", "inherited")]),
            refused: rejections(whose, Reason::DeadlinePassed),
        }
    }
}

#[cfg(feature = "metrics")]
pub(super) mod gauges {
    use super::{Metric, Whose};
    use crate::metrics::Gauges;

    const WITHIN: Metric =
        Metric { name: "buttress_timeout_within_seconds", help: "How long an exchange may take, as it is set." };

    pub(in crate::timeout) fn of(whose: Whose<'_>, within: std::time::Duration, gauges: &mut Gauges) {
        gauges.lowest(WITHIN, whose, within.as_secs_f64());
    }
}
