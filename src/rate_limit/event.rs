//! What the rate limit tells.

use std::{fmt, time::Duration};

use tracing::{debug, info, trace, warn};

use crate::{
    name::Name,
    rate_limit::{config::RateLimitConfig, handle::RateLimit},
};

pub(super) fn refused(limit: &RateLimit, weight: u32, retry_after: Duration) {
    // The fields are evaluated for a subscriber only.
    debug!(
        policy = "rate_limit",
        name = limit.name().as_str(),
        reason = "rate_limited",
        weight,
        ?retry_after,
        waiting = limit.waiting(),
        "call refused"
    );
}

/// A mistake in the settings or in what is sent, that no waiting heals.
pub(super) fn too_heavy(limit: &RateLimit, weight: u32) {
    warn!(
        policy = "rate_limit",
        name = limit.name().as_str(),
        reason = "rate_limited",
        weight,
        burst = limit.config().burst_or_limit(),
        "call refused: it weighs more than the burst, and never can be let through"
    );
}

pub(super) fn queued(limit: &RateLimit, weight: u32) {
    trace!(
        policy = "rate_limit",
        name = limit.name().as_str(),
        weight,
        waiting = limit.waiting(),
        "waiting for its turn"
    );
}

pub(super) fn forgotten(name: &Name, key: &dyn fmt::Debug) {
    debug!(policy = "rate_limit", name = name.as_str(), ?key, "key forgotten");
}

pub(super) fn reconfigured(name: &Name, before: &RateLimitConfig, after: &RateLimitConfig) {
    if before != after {
        info!(policy = "rate_limit", name = name.as_str(), ?before, ?after, "settings changed");
    }
}
