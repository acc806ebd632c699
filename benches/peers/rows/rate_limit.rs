//! A rate limit that isn't reached.

use std::num::NonZeroU32;

use governor::{Quota, RateLimiter};
use tower::Layer;
use tower_resilience_ratelimiter::RateLimiterLayer;

use crate::{
    call::{Noop, PerCall},
    harness::{Bench, Direct},
};

/// A second. More than anybody can ask for.
const RATE: u32 = 1_000_000_000;

pub(crate) fn rows(bench: &mut Bench) {
    // tower's own isn't `Clone`, so it can't be called this way.
    bench.group("rate limit, below it");
    let layer = RateLimiterLayer::builder().limit_for_period(RATE as usize).burst_size(0).build();
    bench.reference("tower-resilience 0.14, token bucket", PerCall(layer.expect("sensible settings").layer(Noop)));

    bench.group("rate limit, below it, without tower");
    let limiter =
        std::sync::Arc::new(RateLimiter::direct(Quota::per_second(NonZeroU32::new(RATE).expect("above zero"))));
    bench.reference("governor 0.10", Direct(move || limiter.check().is_ok()));
}
