//! What a rate limit counts for those who watch it from outside.

use crate::{
    meter::{Counter, Histogram, Metric, Register, Whose, cancelled, rejections},
    name::Name,
    rejection::Reason,
};

const ALLOWED: Metric = Metric {
    name: "buttress_rate_limit_allowed_total",
    help: "Calls that were let through, those that waited for it included.",
};
const REFUSED: Metric = Metric {
    name: "buttress_rate_limit_refused_total",
    help: "Calls that were refused, by why they could not come or wait.",
};
const WAITED: Metric = Metric {
    name: "buttress_rate_limit_wait_seconds",
    help: "How long calls waited that had to, until their turn came or they were refused.",
};
const FORGOTTEN: Metric = Metric {
    name: "buttress_rate_limit_keys_forgotten_total",
    help: "Keys that were forgotten to make room for others.",
};

/// Why a call is refused: all of it is [`Reason::RateLimited`] to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Its turn would come later than it may wait.
    Rate,
    /// As many wait as may.
    QueueFull,
    /// Its turn would come in time, but for its deadline.
    Deadline,
    /// It weighs more than the burst: its turn never comes.
    TooHeavy,
}

impl Why {
    /// In the order of their discriminants.
    const ALL: [Self; 4] = [Self::Rate, Self::QueueFull, Self::Deadline, Self::TooHeavy];

    /// As a label of a metric or a field of a log.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::QueueFull => "queue_full",
            Self::Deadline => "deadline",
            Self::TooHeavy => "too_heavy",
        }
    }
}

/// All keys' limits of a keyed one have the same.
#[derive(Debug)]
pub(super) struct Handles {
    pub(super) allowed: Counter,
    pub(super) waited: Histogram,
    pub(super) cancelled: Counter,
    rejections: Counter,
    refused: [Counter; 4],
}

impl Handles {
    pub(super) fn refused(&self, why: Why) {
        self.rejections.increment();
        self.refused[why as usize].increment();
    }
}

impl Register for Handles {
    fn register(whose: Whose<'_>) -> Self {
        Self {
            allowed: Counter::register(ALLOWED, whose, &[]),
            waited: Histogram::register(WAITED, whose),
            cancelled: cancelled(whose),
            rejections: rejections(whose, Reason::RateLimited),
            refused: Why::ALL.map(|why| Counter::register(REFUSED, whose, &[("why", why.as_str())])),
        }
    }
}

pub(super) fn whose(name: &Name) -> Whose<'_> {
    Whose { policy: "rate_limit", name }
}

/// Seldom enough to be looked up each time.
pub(super) fn forgotten(name: &Name) {
    Counter::register(FORGOTTEN, whose(name), &[]).increment();
}

#[cfg(feature = "metrics")]
pub(super) mod gauges {
    use super::{Metric, whose};
    use crate::{metrics::Gauges, name::Name};

    const WAITING: Metric = Metric { name: "buttress_rate_limit_waiting", help: "How many calls wait for their turn." };
    const AVAILABLE: Metric =
        Metric { name: "buttress_rate_limit_available", help: "How many calls would be let through at once now." };
    const KEYS: Metric = Metric { name: "buttress_rate_limit_keys", help: "How many keys there are limits for." };
    const KEYS_LIMITED: Metric = Metric {
        name: "buttress_rate_limit_keys_limited",
        help: "Of how many keys a call would not be let through at once now.",
    };

    pub(in crate::rate_limit) fn of_one(name: &Name, waiting: u64, available: u64, gauges: &mut Gauges) {
        gauges.add(WAITING, whose(name), waiting);
        gauges.lowest(AVAILABLE, whose(name), available as f64);
    }

    pub(in crate::rate_limit) fn of_keys(name: &Name, waiting: u64, keys: usize, limited: usize, gauges: &mut Gauges) {
        gauges.add(WAITING, whose(name), waiting);
        gauges.add(KEYS, whose(name), keys as u64);
        gauges.add(KEYS_LIMITED, whose(name), limited as u64);
    }
}
