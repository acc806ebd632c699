//! Whose call matters more.

use crate::priority::Priority;

/// Which part of the limit calls of the lower classes may use: beyond it, what is left is for those that matter more. It
/// goes by all calls inside, so that under light load there is no difference.
///
/// Waiting calls are let in by class too, the highest first; and a call that finds the queue full takes the place of the
/// last that came of the lowest class, if that is lower than its own.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Priorities {
    /// Up to which part of the limit [`SheddablePlus`](Priority::SheddablePlus) calls come in. Above 0, at most 1, by
    /// default 0.8.
    pub sheddable_plus: f64,
    /// Up to which part of the limit [`Sheddable`](Priority::Sheddable) calls come in. Above 0, at most
    /// `sheddable_plus`, by default 0.5.
    pub sheddable: f64,
}

impl Default for Priorities {
    fn default() -> Self {
        Self { sheddable_plus: 0.8, sheddable: 0.5 }
    }
}

impl Priorities {
    /// How many calls may be inside for one of this class to come in: at least one, or a low limit would shut it out.
    pub(in crate::bulkhead) fn most(&self, priority: Priority, limit: u32) -> u32 {
        let part = match priority {
            Priority::CriticalPlus | Priority::Critical => return limit,
            Priority::SheddablePlus => self.sheddable_plus,
            Priority::Sheddable => self.sheddable,
        };
        ((f64::from(limit) * part - 1e-6).ceil() as u32).clamp(1, limit.max(1))
    }
}
