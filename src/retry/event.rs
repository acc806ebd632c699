//! What a retry policy tells.

use std::time::Duration;

use tracing::{debug, info, warn};

use super::{config::RetryConfig, handle::GaveUp};
use crate::{name::Name, span};

pub(super) fn retrying(name: &Name, attempt: u32, wait: Duration) {
    debug!(policy = "retry", %name, attempt, wait_ms = wait.as_millis() as u64, "attempt failed, trying again");
}

pub(super) fn gave_up(name: &Name, attempts: u32, why: GaveUp) {
    if attempts > 1 {
        span::attempts(attempts);
    }
    debug!(policy = "retry", %name, reason = why.as_str(), attempts, "attempt failed, handed on");
}

pub(super) fn budget_exhausted(name: &Name) {
    warn!(policy = "retry", %name, "retry budget exhausted");
}

pub(super) fn recovered(name: &Name, attempt: u32) {
    span::attempts(attempt);
    debug!(policy = "retry", %name, attempt, "succeeded after a retry");
}

pub(super) fn too_large(name: &Name, at_most: usize) {
    debug!(policy = "retry", %name, at_most, "request body too large to be kept");
}

pub(super) fn unsaid(name: &Name) {
    warn!(
        policy = "retry",
        %name,
        "nothing is retried: a plain service's layer has to be told what is safe, with idempotent() or safe_when()"
    );
}

pub(super) fn reconfigured(name: &Name, before: &RetryConfig, after: &RetryConfig) {
    if before != after {
        info!(policy = "retry", %name, ?before, ?after, "settings changed");
    }
}
