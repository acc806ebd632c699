//! What a fallback tells.

use tracing::{debug, info, warn};

use super::{config::FallbackConfig, failure::Failure};
use crate::name::Name;

pub(super) fn fell_back(name: &Name, failure: &Failure) {
    debug!(policy = "fallback", %name, kind = failure.kind(), %failure, "call failed, answered by the fallback");
}

pub(super) fn failed(name: &Name, failure: &Failure, own: &Failure) {
    warn!(policy = "fallback", %name, kind = failure.kind(), %failure, fallback = %own, "call failed, and so did the fallback");
}

pub(super) fn full(name: &Name, failure: &Failure, limit: u32) {
    debug!(policy = "fallback", %name, kind = failure.kind(), %failure, limit, "too many fallbacks at once, failure handed on");
}

pub(super) fn not_replayable(name: &Name, failure: &Failure) {
    debug!(policy = "fallback", %name, kind = failure.kind(), %failure, "request body not kept, failure handed on");
}

pub(super) fn too_large(name: &Name, at_most: usize) {
    debug!(policy = "fallback", %name, at_most, "request body too large to be kept");
}

pub(super) fn reconfigured(name: &Name, before: &FallbackConfig, after: &FallbackConfig) {
    if before != after {
        info!(policy = "fallback", %name, ?before, ?after, "settings changed");
    }
}
