//! Retry, circuit breaker and bulkhead, one around the other.

use buttress::{BulkheadLayer, CircuitBreakerLayer, RetryLayer};
use tower::{Layer, ServiceBuilder, limit::GlobalConcurrencyLimitLayer, load_shed::LoadShedLayer};

use super::{
    breaker::{context, seatbelt as seatbelt_breaker},
    retry::{seatbelt as seatbelt_retry, tower_resilience as tower_resilience_retry},
};
use crate::{
    call::{Layered, Noop, PerCall, ROOMY},
    harness::Bench,
    tower_retry::TowerPolicy,
};

pub(crate) fn rows(bench: &mut Bench) {
    bench.group("retry + circuit breaker + bulkhead");
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new("bench").idempotent())
        .layer(CircuitBreakerLayer::new("bench"))
        .layer(BulkheadLayer::new("bench").max_concurrent(ROOMY));
    bench.reference("buttress", PerCall(stack.service(Noop)));
    // tower has no breaker; what comes nearest is to refuse what isn't ready.
    let stack = ServiceBuilder::new()
        .layer(tower::retry::RetryLayer::new(TowerPolicy::default()))
        .layer(LoadShedLayer::new())
        .layer(GlobalConcurrencyLimitLayer::new(ROOMY));
    bench.candidate("tower 0.5 Retry + LoadShed + ConcurrencyLimit", PerCall(stack.service(Noop)));
    let bulkhead = tower_resilience_bulkhead::BulkheadLayer::builder().max_concurrent_calls(ROOMY).reject_when_full();
    let breaker = tower_resilience_circuitbreaker::CircuitBreakerLayer::builder()
        .sliding_window_size(100)
        .minimum_number_of_calls(20)
        .failure_rate_threshold(0.5);
    let stack = ServiceBuilder::new()
        .layer(tower_resilience_retry().build())
        .layer(breaker.build().expect("these are sensible settings"))
        .layer(bulkhead.build().expect("these are sensible settings"));
    bench.candidate("tower-resilience 0.14", PerCall(stack.service(Noop)));

    // seatbelt has no bulkhead.
    bench.group("retry + circuit breaker");
    let stack =
        ServiceBuilder::new().layer(RetryLayer::new("bench").idempotent()).layer(CircuitBreakerLayer::new("bench"));
    bench.reference("buttress", PerCall(stack.service(Noop)));
    let context = context();
    let stack = seatbelt_retry(&context).layer(seatbelt_breaker(&context).layer(Noop));
    bench.candidate("seatbelt 0.11", PerCall(stack.clone()));
    bench.candidate("seatbelt 0.11, layered", Layered(stack.into()));
}
