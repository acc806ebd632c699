//! What the bulkhead tells.

use tracing::{debug, info, trace};

use crate::{
    bulkhead::{adaptive::Change, config::BulkheadConfig, handle::Bulkhead},
    name::Name,
    rejection::Reason,
    span,
};

pub(super) fn refused(bulkhead: &Bulkhead, reason: Reason) {
    span::rejected("bulkhead", bulkhead.name(), reason);
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

/// At debug when it is a tenth away from where it was last told; a limit that finds itself is never quite still.
pub(super) fn limit_moved(bulkhead: &Bulkhead, change: Change) {
    let Change { before, after, much_since, reason } = change;
    match much_since {
        Some(before) => {
            debug!(policy = "bulkhead", name = bulkhead.name().as_str(), before, after, %reason, "limit moved");
        }
        None => trace!(policy = "bulkhead", name = bulkhead.name().as_str(), before, after, %reason, "limit moved"),
    }
}

pub(super) fn reconfigured(name: &Name, before: &BulkheadConfig, after: &BulkheadConfig) {
    if before != after {
        info!(policy = "bulkhead", name = name.as_str(), ?before, ?after, "settings changed");
    }
}
