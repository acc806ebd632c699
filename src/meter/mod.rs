//! What policies count by: the one place that knows whether the feature `metrics` is on.
//!
//! A policy has a [`Meter`] of its handles, a struct of [`Counter`]s and [`Histogram`]s that says how it is registered.
//! Without the feature all of these are of no size and do nothing, so that no policy needs to ask.

#[cfg(not(feature = "metrics"))]
mod off;
#[cfg(feature = "metrics")]
mod on;

#[cfg(not(feature = "metrics"))]
pub(crate) use self::off::*;
#[cfg(feature = "metrics")]
pub(crate) use self::on::*;

use crate::{name::Name, outcome::Outcome, rejection::Reason};

/// Whether anything is counted; for what is remembered for that alone.
pub(crate) const COUNTS: bool = cfg!(feature = "metrics");

/// Whose metrics they are: their labels `policy` and `name`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whose<'a> {
    pub(crate) policy: &'static str,
    pub(crate) name: &'a Name,
}

/// A set of handles that belongs to a policy.
pub(crate) trait Register {
    fn register(whose: Whose<'_>) -> Self;
}

/// What a metric is called, and what it says. `docs/metrics.md` lists all of them, and a test holds it to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
}

const CALLS: Metric = Metric { name: "buttress_calls_total", help: "Calls that were let through, by how they ended." };
const REJECTIONS: Metric = Metric { name: "buttress_rejections_total", help: "Calls that were refused, by reason." };
const CANCELLED: Metric = Metric {
    name: "buttress_calls_cancelled_total",
    help: "Calls that were dropped before the policy was done with them: neither successes nor failures.",
};

/// The calls that a policy let through, by how they ended.
#[derive(Debug)]
pub(crate) struct Calls {
    success: Counter,
    failure: Counter,
    overload: Counter,
    ignored: Counter,
    pub(crate) cancelled: Counter,
}

impl Calls {
    #[inline]
    pub(crate) fn ended(&self, outcome: Outcome) {
        match outcome {
            Outcome::Success => &self.success,
            Outcome::Failure(_) => &self.failure,
            Outcome::Overload(_) => &self.overload,
            Outcome::Ignored => &self.ignored,
        }
        .increment();
    }
}

impl Register for Calls {
    fn register(whose: Whose<'_>) -> Self {
        let ended = |outcome| Counter::register(CALLS, whose, &[("outcome", outcome)]);
        Self {
            success: ended("success"),
            failure: ended("failure"),
            overload: ended("overload"),
            ignored: ended("ignored"),
            cancelled: ended("cancelled"),
        }
    }
}

/// The calls that were dropped before a policy was done with them, where that isn't an outcome among [`Calls`].
pub(crate) fn cancelled(whose: Whose<'_>) -> Counter {
    Counter::register(CANCELLED, whose, &[])
}

/// The calls that a policy refused for this reason.
pub(crate) fn rejections(whose: Whose<'_>, reason: Reason) -> Counter {
    Counter::register(REJECTIONS, whose, &[("reason", reason.as_str())])
}
