//! What the bulkhead tells.

use std::fmt::Debug;

use tracing::{debug, info, trace};

use crate::{
    bulkhead::{POLICY, adaptive::Change, config::BulkheadConfig, handle::Bulkhead},
    name::Name,
    rejection::Reason,
    span,
};

/// `key` is a field for the bulkheads of a keyed one only.
pub(super) fn refused(bulkhead: &Bulkhead, reason: Reason) {
    span::rejected(POLICY, bulkhead.name(), reason);
    // The fields are evaluated for a subscriber only.
    debug!(
        policy = POLICY,
        name = bulkhead.name().as_str(),
        key = bulkhead.key().map(tracing::field::debug),
        reason = reason.as_str(),
        limit = bulkhead.gate().counts().limit,
        in_flight = bulkhead.gate().counts().inside,
        waiting = bulkhead.gate().counts().waiting,
        "call refused"
    );
}

/// All keys there may be have calls.
pub(super) fn crowded_out(name: &Name, key: &dyn Debug, keys: usize) {
    let reason = Reason::BulkheadFull;
    span::rejected(POLICY, name, reason);
    debug!(policy = POLICY, name = name.as_str(), ?key, reason = reason.as_str(), keys, "no room for another key");
}

pub(super) fn forgotten(name: &Name, key: &dyn Debug) {
    debug!(policy = POLICY, name = name.as_str(), ?key, "key forgotten to make room for another");
}

pub(super) fn reconfigured_keyed(name: &Name, max_keys: usize, config: &BulkheadConfig) {
    info!(policy = POLICY, name = name.as_str(), max_keys, ?config, "settings changed for all keys");
}

pub(super) fn queued(bulkhead: &Bulkhead) {
    trace!(
        policy = POLICY,
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
            debug!(policy = POLICY, name = bulkhead.name().as_str(), before, after, %reason, "limit moved");
        }
        None => trace!(policy = POLICY, name = bulkhead.name().as_str(), before, after, %reason, "limit moved"),
    }
}

pub(super) fn reconfigured(name: &Name, before: &BulkheadConfig, after: &BulkheadConfig) {
    if before != after {
        info!(policy = POLICY, name = name.as_str(), ?before, ?after, "settings changed");
    }
}
