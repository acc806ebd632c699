//! What the rate limit tells.

use std::{fmt, time::Duration};

use tracing::{debug, info, trace, warn};

use crate::{
    name::Name,
    rate_limit::{
        config::RateLimitConfig,
        handle::RateLimit,
        meter::{self, Why},
    },
    rejection::Reason,
    span,
};

pub(super) fn refused(limit: &RateLimit, why: Why, weight: u32, retry_after: Duration) {
    span::rejected("rate_limit", limit.name(), Reason::RateLimited);
    // The fields are evaluated for a subscriber only.
    debug!(
        policy = "rate_limit",
        name = limit.name().as_str(),
        reason = Reason::RateLimited.as_str(),
        why = why.as_str(),
        weight,
        ?retry_after,
        waiting = limit.waiting(),
        "call refused"
    );
}

/// A mistake in the settings or in what is sent, that no waiting heals.
pub(super) fn too_heavy(limit: &RateLimit, weight: u32) {
    span::rejected("rate_limit", limit.name(), Reason::RateLimited);
    warn!(
        policy = "rate_limit",
        name = limit.name().as_str(),
        reason = Reason::RateLimited.as_str(),
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
    meter::forgotten(name);
    debug!(policy = "rate_limit", name = name.as_str(), ?key, "key forgotten to make room for another");
}

pub(super) fn reconfigured(name: &Name, before: &RateLimitConfig, after: &RateLimitConfig) {
    if before != after {
        info!(policy = "rate_limit", name = name.as_str(), ?before, ?after, "settings changed");
    }
}
