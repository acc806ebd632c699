//! The laws that every layer keeps, in every protocol.
//!
//! Each law is written once, over any layer; each layer is listed once, in [`every_layer`], for all laws.

/// Runs a law over every layer of a protocol.
macro_rules! every_layer {
    ($protocol:ident, $law:path) => {{
        use std::time::Duration;

        use buttress::{
            BulkheadLayer, CircuitBreakerLayer, FallbackLayer, FaultLayer, HedgeLayer, RateLimitLayer, RetryLayer,
            SagaLayer, StepLayer, TimeoutLayer,
            bulkhead::WhenFull,
            circuit_breaker::WhenOpen,
            saga::{Coordinator, OnDisconnect},
            standard,
        };

        $law("circuit breaker", CircuitBreakerLayer::$protocol("law")).await;
        $law("circuit breaker that pauses", CircuitBreakerLayer::$protocol("law").when_open(WhenOpen::Pause)).await;
        let keyed = CircuitBreakerLayer::$protocol("law").keyed(|_: &_| "key");
        $law("circuit breaker a key", keyed).await;
        $law("bulkhead", BulkheadLayer::$protocol("law")).await;
        $law("bulkhead that adapts", BulkheadLayer::$protocol("law").adaptive(Default::default())).await;
        $law("bulkhead with a queue", BulkheadLayer::$protocol("law").max_wait(Duration::from_secs(1))).await;
        $law("bulkhead that is sorted", BulkheadLayer::$protocol("law").inherit_priority().partition("a", 0.5)).await;
        $law("bulkhead that pauses", BulkheadLayer::$protocol("law").when_full(WhenFull::Pause)).await;
        $law("timeout", TimeoutLayer::$protocol("law")).await;
        $law("retry", RetryLayer::$protocol("law")).await;
        // Time stands still in some of these, so it is earned ahead.
        let second = Duration::from_secs(1);
        $law("rate limit", RateLimitLayer::$protocol("law").limit(100_000, second)).await;
        let waits = RateLimitLayer::$protocol("law").limit(100_000, second).burst(1).max_wait(second).max_queue(1_000);
        $law("rate limit with a queue", waits).await;
        let keyed = RateLimitLayer::$protocol("law").limit(100_000, second).keyed(|_: &_| "key");
        $law("rate limit a key", keyed).await;
        $law("fault", FaultLayer::$protocol("law")).await;
        $law("fault that is late", FaultLayer::$protocol("law").delay(1.0, Duration::from_millis(1))).await;
        $law("hedge", HedgeLayer::$protocol("law")).await;
        $law("hedge of everything", HedgeLayer::$protocol("law").idempotent().after(Duration::from_secs(9))).await;
        $law("fallback", FallbackLayer::$protocol("law")).await;
        $law("step", StepLayer::$protocol()).await;
        let coordinator = Coordinator::in_memory().start().await.unwrap();
        $law("saga", SagaLayer::$protocol(&coordinator, "law")).await;
        let undone = SagaLayer::$protocol(&coordinator, "law").on_disconnect(OnDisconnect::Undo);
        $law("saga that is undone with its client", undone).await;
        $law("standard", standard::$protocol("law")).await;
        let full = standard::$protocol("law").fallback(|f| f).hedge(|h| h).rate_limit(|l| l.limit(100_000, second));
        $law("standard with all there is", full).await;
    }};
}

mod hammer;
mod laws;
mod refusals;
mod wiring;
