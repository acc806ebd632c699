//! What the fault layer tells.

use tracing::info;

use crate::{
    fault::{config::FaultConfig, injected::Injected},
    name::Name,
};

/// With all it takes to have the same fault again.
pub(super) fn injected(injected: &Injected, seed: u64) {
    info!(
        policy = "fault",
        name = injected.name().as_str(),
        fault = injected.fault().as_str(),
        call = injected.call(),
        seed,
        "fault injected"
    );
}

pub(super) fn reconfigured(name: &Name, before: &FaultConfig, after: &FaultConfig, seed: u64) {
    if before != after {
        info!(policy = "fault", name = name.as_str(), seed, ?before, ?after, "settings changed");
    }
}
