//! What the bulkhead tells.

use tracing::{debug, info, trace};

use crate::{
    bulkhead::{config::BulkheadConfig, handle::Bulkhead},
    name::Name,
    rejection::Reason,
};

pub(super) fn refused(bulkhead: &Bulkhead, reason: Reason) {
    // The fields are evaluated for a subscriber only.
    debug!(
        policy = "bulkhead",
        name = bulkhead.name().as_str(),
        reason = reason.as_str(),
        limit = bulkhead.gate().counts().limit,
        in_flight = bulkhead.gate().counts().inside,
        waiting = bulkhead.gate().counts().waiting,
        "call refused"
    );
}

pub(super) fn queued(bulkhead: &Bulkhead) {
    trace!(
        policy = "bulkhead",
        name = bulkhead.name().as_str(),
        waiting = bulkhead.gate().counts().waiting,
        "waiting for a permit"
    );
}

pub(super) fn reconfigured(name: &Name, before: &BulkheadConfig, after: &BulkheadConfig) {
    if before != after {
        info!(policy = "bulkhead", name = name.as_str(), ?before, ?after, "settings changed");
    }
}
