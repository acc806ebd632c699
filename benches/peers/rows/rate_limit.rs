//! A rate limit that isn't reached.

use std::{num::NonZeroU32, time::Duration};

use buttress::RateLimitLayer;
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
    bench.reference("buttress", PerCall(roomy().layer(Noop)));
    let layer = RateLimiterLayer::builder().limit_for_period(RATE as usize).burst_size(0).build();
    bench.candidate("tower-resilience 0.14, token bucket", PerCall(layer.expect("sensible settings").layer(Noop)));

    bench.group("rate limit, below it, without tower");
    let ours = roomy().handle();
    bench.reference("buttress", Direct(move || ours.try_acquire().is_ok()));
    // Both count the processor's cycles: it does so by itself, we with the feature `quanta`.
    let limiter =
        std::sync::Arc::new(RateLimiter::direct(Quota::per_second(NonZeroU32::new(RATE).expect("above zero"))));
    bench.candidate("governor 0.10", Direct(move || limiter.check().is_ok()));
}

fn roomy() -> RateLimitLayer {
    RateLimitLayer::new("bench").limit(10_000, Duration::from_millis(1)).burst(RATE)
}
