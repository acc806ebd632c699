//! What a timeout counts for those who watch it from outside.

use crate::{
    meter::{Counter, Histogram, Metric, Register, Whose, cancelled, rejections},
    name::Name,
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
const UNREADABLE: Metric = Metric {
    name: "buttress_timeout_headers_ignored_total",
    help: "Deadlines of callers that could not be read, and were ignored.",
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
    pub(super) cancelled: Counter,
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
            cancelled: cancelled(whose),
        }
    }
}

/// Seldom enough to be looked up each time.
pub(super) fn unreadable(name: &Name) {
    Counter::register(UNREADABLE, whose(name), &[]).increment();
}

pub(super) fn whose(name: &Name) -> Whose<'_> {
    Whose { policy: "timeout", name }
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
