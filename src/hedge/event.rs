//! What a hedge tells.

use std::time::Duration;

use tracing::{debug, info, warn};

use super::{config::HedgeConfig, handle::HeldBack};
use crate::name::Name;

pub(super) fn hedging(name: &Name, attempt: u32, waited: Duration) {
    debug!(policy = "hedge", %name, attempt, waited_ms = waited.as_millis() as u64, "sending the request again beside the first");
}

pub(super) fn won(name: &Name, attempt: u32) {
    debug!(policy = "hedge", %name, attempt, "a hedge answered first");
}

pub(super) fn lost(name: &Name, hedges: u32) {
    debug!(policy = "hedge", %name, hedges, "hedges dropped, another attempt has answered");
}

pub(super) fn held_back(name: &Name, why: HeldBack) {
    debug!(policy = "hedge", %name, reason = why.as_str(), "request not sent again");
}

pub(super) fn budget_exhausted(name: &Name) {
    warn!(policy = "hedge", %name, "hedge budget exhausted");
}

pub(super) fn too_large(name: &Name, at_most: usize) {
    debug!(policy = "hedge", %name, at_most, "request body too large to be kept");
}

pub(super) fn unsaid(name: &Name) {
    warn!(
        policy = "hedge",
        %name,
        "nothing is hedged: the layer of a plain or a gRPC service has to be told what may be carried out twice, with \
         idempotent(), safe_when() or methods()"
    );
}

pub(super) fn reconfigured(name: &Name, before: &HedgeConfig, after: &HedgeConfig) {
    if before != after {
        info!(policy = "hedge", %name, ?before, ?after, "settings changed");
    }
}
