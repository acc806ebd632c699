//! What counting costs of the heap: nothing, once a policy has made its first call.

use std::sync::{Arc, atomic::AtomicU64};

use buttress::{BulkheadLayer, CircuitBreakerLayer, HedgeLayer, RateLimitLayer, RetryLayer, TimeoutLayer};
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tower::{Layer, Service};

#[path = "../it/support/allocations.rs"]
mod allocations;

use allocations::{Echo, allocations, call_now};

/// Counts, and allocates nothing for it, so that what is counted here is ours.
struct Frugal;

struct Forgetful;

impl HistogramFn for Forgetful {
    fn record(&self, _value: f64) {}
}

impl Recorder for Frugal {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(AtomicU64::new(0)))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Forgetful))
    }
}

fn cost<L>(layer: L) -> u64
where
    L: Layer<Echo, Service: Service<u64>>,
{
    let mut service = layer.layer(Echo);
    assert!(call_now(&mut service, 7).is_ok());
    allocations(|| (0..100).for_each(|_| drop(call_now(&mut service, 7))))
}

#[test]
fn counting_does_not_allocate_on_the_accept_path() {
    metrics::with_local_recorder(&Frugal, || {
        assert_eq!(cost(CircuitBreakerLayer::new("c")), 0, "circuit breaker");
        assert_eq!(cost(BulkheadLayer::new("b")), 0, "bulkhead");
        assert_eq!(cost(TimeoutLayer::new("t")), 0, "timeout");
        assert_eq!(cost(RateLimitLayer::new("r").limit(1_000_000, std::time::Duration::from_secs(1))), 0, "rate limit");
        assert_eq!(cost(HedgeLayer::new("h").idempotent()), 0, "hedge");
        assert_eq!(cost(RetryLayer::new("r").idempotent()), 0, "retry");
    });
}
