//! A limit on how many calls run at once, with room and without.

use std::{
    future::{Future, pending},
    pin::pin,
    task::{Context, Waker},
};

use buttress::{BoxError, BulkheadLayer};
use tower::{Layer, Service, ServiceBuilder, limit::GlobalConcurrencyLimitLayer, load_shed::LoadShedLayer, service_fn};
use tower_acc::Aimd;

use crate::{
    call::{Noop, PerCall, ROOMY},
    harness::Bench,
};

pub(crate) fn with_room(bench: &mut Bench) {
    bench.group("bulkhead, with room");
    bench.reference("buttress", PerCall(BulkheadLayer::new("bench").max_concurrent(ROOMY).layer(Noop)));
    bench.candidate("tower 0.5 ConcurrencyLimit", PerCall(GlobalConcurrencyLimitLayer::new(ROOMY).layer(Noop)));
    // Refuses when full, as ours does. Its other way, to wait without end, needs no timer.
    bench.candidate(
        "tower-resilience 0.14",
        PerCall(tower_resilience(ROOMY).reject_when_full().build().unwrap().layer(Noop)),
    );
    bench.candidate(
        "tower-resilience 0.14, waits for ever",
        PerCall(tower_resilience(ROOMY).build().unwrap().layer(Noop)),
    );
    // Its limit adapts itself; this is the simplest of its algorithms.
    let aimd = Aimd::builder().initial_limit(ROOMY).min_limit(ROOMY).max_limit(ROOMY).build();
    bench.candidate("tower-acc 0.1, AIMD (adapts)", PerCall(tower_acc::ConcurrencyLimitLayer::new(aimd).layer(Noop)));
}

pub(crate) fn full(bench: &mut Bench) {
    bench.group("bulkhead, full, refusing");
    let full = BulkheadLayer::new("bench").max_concurrent(1);
    // For as long as the process lives.
    std::mem::forget(full.handle().try_acquire().expect("the only permit"));
    bench.reference("buttress", PerCall(full.layer(Noop)));

    let layer = ServiceBuilder::new().layer(LoadShedLayer::new()).layer(GlobalConcurrencyLimitLayer::new(1));
    let mut greedy = layer.service(Noop);
    assert!(greedy.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready());
    std::mem::forget(greedy);
    bench.candidate("tower 0.5 LoadShed + ConcurrencyLimit", PerCall(layer.service(Noop)));

    let layer = tower_resilience(1).reject_when_full().build().unwrap();
    let mut full = layer.layer(service_fn(|_: u64| pending::<Result<u64, BoxError>>()));
    hold(full.call(0));
    bench.candidate("tower-resilience 0.14", PerCall(full));
}

fn tower_resilience(limit: usize) -> tower_resilience_bulkhead::BulkheadConfigBuilder {
    tower_resilience_bulkhead::BulkheadLayer::builder().max_concurrent_calls(limit)
}

/// Begins a call that never ends.
fn hold<F: Future + Unpin>(mut call: F) {
    assert!(pin!(&mut call).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    std::mem::forget(call);
}
