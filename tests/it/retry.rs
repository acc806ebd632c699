//! The retry layer, in dialogue.

mod bodies;
mod grpc;
mod http;
mod plain;
mod tiers;

use std::time::Duration;

use buttress::backoff::{Backoff, Jitter};

use crate::support::script::Script;

/// Waits that the tests can count on: 100 ms, 200 ms, 400 ms, ...
fn waits() -> Backoff {
    Backoff::exponential(Duration::from_millis(100)).jitter(Jitter::None)
}

/// Waits that real time can spare.
fn hardly() -> Backoff {
    Backoff::constant(Duration::from_millis(1)).jitter(Jitter::None)
}
