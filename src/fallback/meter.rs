//! What a fallback counts for those who watch it from outside.

use super::failure::Failure;
use crate::meter::{Counter, Metric, Register, Whose, cancelled};

const FAILURES: Metric = Metric {
    name: "buttress_fallback_failures_total",
    help: "Failures that the fallback is for, by what failed and what became of it.",
};
const TOO_LARGE: Metric = Metric {
    name: "buttress_fallback_bodies_too_large_total",
    help: "Requests whose body was too large to be kept for a fallback service.",
};

/// What became of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Became {
    /// The fallback answered.
    Answered,
    /// The fallback failed too.
    Failed,
    /// Handed on: there were as many fallbacks as there may be.
    Full,
    /// Handed on: the request wasn't kept.
    NotReplayable,
    /// Dropped before the fallback had answered.
    Cancelled,
}

impl Became {
    /// In the order of their discriminants.
    const ALL: [Self; 5] = [Self::Answered, Self::Failed, Self::Full, Self::NotReplayable, Self::Cancelled];

    fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Full => "full",
            Self::NotReplayable => "not_replayable",
            Self::Cancelled => "cancelled",
        }
    }
}

#[derive(Debug)]
pub(super) struct Handles {
    pub(super) cancelled: Counter,
    pub(super) too_large: Counter,
    rejected: [Counter; 5],
    elapsed: [Counter; 5],
    failed: [Counter; 5],
}

impl Handles {
    pub(super) fn failure(&self, failure: &Failure, became: Became) {
        let of_kind = match failure {
            Failure::Rejected(_) => &self.rejected,
            Failure::Elapsed(_) => &self.elapsed,
            Failure::Failed(_) => &self.failed,
        };
        of_kind[became as usize].increment();
    }
}

impl Register for Handles {
    fn register(whose: Whose<'_>) -> Self {
        let of_kind = |kind| {
            Became::ALL
                .map(|became| Counter::register(FAILURES, whose, &[("failure", kind), ("outcome", became.as_str())]))
        };
        Self {
            cancelled: cancelled(whose),
            too_large: Counter::register(TOO_LARGE, whose, &[]),
            rejected: of_kind("rejected"),
            elapsed: of_kind("elapsed"),
            failed: of_kind("failed"),
        }
    }
}

#[cfg(feature = "metrics")]
pub(super) mod gauges {
    use super::{Metric, Whose};
    use crate::metrics::Gauges;

    const IN_FLIGHT: Metric = Metric {
        name: "buttress_fallback_in_flight",
        help: "How many fallbacks are under way, each to the end of its body.",
    };
    const LIMIT: Metric =
        Metric { name: "buttress_fallback_limit", help: "How many fallbacks may be under way at once." };

    pub(in crate::fallback) fn of(whose: Whose<'_>, in_flight: usize, limit: usize, gauges: &mut Gauges) {
        gauges.add(IN_FLIGHT, whose, in_flight as u64);
        gauges.add(LIMIT, whose, limit as u64);
    }
}
