//! Additive increase, multiplicative decrease.

use crate::{
    bulkhead::adaptive::course::{Load, Reason},
    config::{InvalidConfig, check},
};

/// Goes up by one call a window, and down by a part when calls are dropped: TCP's congestion avoidance, as Netflix's
/// `AIMDLimit` has it for services.
///
/// It looks at drops only. A service that answers everything, however late, is never found to have too much to do, so
/// have a timeout inside the bulkhead.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Aimd {
    /// What is left of the limit after a window with drops. 0.5 to 1 (1 excluded), by default 0.9 (Netflix's).
    pub backoff: f64,
}

impl Default for Aimd {
    fn default() -> Self {
        Self { backoff: 0.9 }
    }
}

impl Aimd {
    pub(super) fn validate(&self) -> Result<(), InvalidConfig> {
        check("bulkhead.adaptive.algorithm.aimd.backoff", self.backoff, 0.5..1.0, "at least 0.5 and less than 1")
    }

    pub(super) fn next(&self, load: &Load) -> (f64, Reason) {
        if load.drops {
            // By one at least, or the limit would stay for ever where a tenth is less than a call.
            ((load.limit * self.backoff).min(load.limit - 1.0), Reason::Drops)
        } else {
            (load.limit + 1.0, Reason::Room)
        }
    }
}
