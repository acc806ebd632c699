//! What each layer costs over a service that does nothing, beside what tower has for the same purpose.
//!
//! `cargo bench -p buttress --bench layers`, or with `-- bulkhead` only those with this in their name, and what they are
//! held against. The candidates take turns in short rounds, so that whatever else the machine
//! is doing hits all of them alike; the figure is the median of the rounds. A ratio is worth more than a figure.
//!
//! The calls are polled by hand, without a runtime's scheduling in between. With two threads both call clones of one
//! service, which is what a server's connections do; the figure is what one call takes each of them.

mod harness;

use std::{
    future::{Ready, ready},
    num::NonZeroU32,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use buttress::{
    BoxError, BulkheadLayer, CircuitBreakerLayer, Priority, RateLimitLayer, TimeoutLayer,
    bulkhead::Adaptive,
    circuit_breaker::{CircuitBreaker, Window},
};
use tower::{
    Layer, Service, ServiceBuilder,
    limit::GlobalConcurrencyLimitLayer,
    load_shed::LoadShedLayer,
    retry::{
        Policy, RetryLayer,
        budget::{Budget, TpsBudget},
    },
    timeout::TimeoutLayer as TowerTimeoutLayer,
};

use crate::harness::{Bench, Candidate, Direct};

/// As many calls a second as a rate limit takes, and so more than any of this makes.
const PLENTY: NonZeroU32 = NonZeroU32::new(10_000_000).unwrap();
const ONE: NonZeroU32 = NonZeroU32::MIN;
/// More than any of this will use.
const ROOMY: usize = 1000;

fn main() {
    // Timers want one; nothing here runs on it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _entered = runtime.enter();

    let started = tokio::time::Instant::now();
    let mut bench = Bench::from_args();
    bench.group("nothing around it");
    bench.reference("no-op service", Noop);

    bench.group("a bulkhead with room");
    bench.reference("tower ConcurrencyLimit", GlobalConcurrencyLimitLayer::new(ROOMY).layer(Noop));
    bench.candidate("buttress bulkhead", BulkheadLayer::new("bench").max_concurrent(ROOMY).layer(Noop));
    let roomy = BulkheadLayer::new("bench").max_concurrent(ROOMY).handle();
    bench.candidate("buttress bulkhead, without tower", Direct(move || roomy.try_acquire().is_ok()));
    let adaptive = BulkheadLayer::new("bench").max_concurrent(ROOMY).adaptive(Adaptive::default().max(ROOMY));
    bench.candidate("buttress bulkhead, adaptive", adaptive.layer(Noop));
    let sorted = BulkheadLayer::new("bench").max_concurrent(ROOMY).priority(|_: &u64| Priority::Sheddable);
    bench.candidate("buttress bulkhead, by priority", sorted.layer(Noop));
    let sorted = BulkheadLayer::new("bench").max_concurrent(ROOMY).partition("a", 0.5).partition_by(|_: &u64| "a");
    bench.candidate("buttress bulkhead, by partition", sorted.layer(Noop));

    bench.group("a bulkhead for each key, with room");
    bench.reference("tower ConcurrencyLimit", GlobalConcurrencyLimitLayer::new(ROOMY).layer(Noop));
    let keyed = || BulkheadLayer::new("bench");
    bench.candidate("buttress bulkhead, 1 key", keyed().keyed(|_: &u64| 0_u64).layer(Noop));
    let thousand = keyed().keyed(|request: &u64| request % 1_000).layer(Noop);
    bench.candidate("buttress bulkhead, 1,000 keys in turn", thousand);
    let strangers = keyed().keyed(|request: &u64| *request).layer(Noop);
    bench.candidate("buttress bulkhead, a key nobody has seen, of 1,024", strangers);
    let busy = keyed().keyed(|request: &u64| *request + 2_000);
    let all_in_use: Vec<_> = (0..1024).map(|key| busy.handle().try_acquire(&key).expect("room")).collect();
    bench.candidate("buttress bulkhead, a key that finds no room", busy.layer(Noop));

    bench.group("a bulkhead that is full, and refuses");
    let (full, _all) = full_limit();
    bench.reference("tower LoadShed + ConcurrencyLimit", full);
    let full = BulkheadLayer::new("bench").max_concurrent(1);
    let permit = full.handle().try_acquire().expect("the only permit");
    bench.candidate("buttress bulkhead", full.layer(Noop));
    let handle = full.handle();
    bench.candidate("buttress bulkhead, without tower", Direct(move || handle.try_acquire().is_err()));

    bench.group("a circuit breaker that is closed");
    bench.reference("tower ConcurrencyLimit", GlobalConcurrencyLimitLayer::new(ROOMY).layer(Noop));
    bench.candidate("buttress circuit breaker", CircuitBreakerLayer::new("bench").layer(Noop));
    let direct = CircuitBreaker::new("bench");
    bench.candidate(
        "buttress circuit breaker, without tower",
        Direct(move || direct.try_acquire().map(|permit| permit.success()).is_ok()),
    );
    bench.candidate("buttress circuit breaker, 1 in 10 fails", CircuitBreakerLayer::new("bench").layer(Flaky));
    bench.candidate("buttress circuit breaker, time window", time_window(100));
    bench.candidate("  the same with 100,000 calls in it", time_window(100_000));

    bench.group("a circuit breaker for each key, closed");
    bench.reference("tower ConcurrencyLimit", GlobalConcurrencyLimitLayer::new(ROOMY).layer(Noop));
    let keyed = || CircuitBreakerLayer::new("bench");
    bench.candidate("buttress circuit breaker, 1 key", keyed().keyed(|_: &u64| 0_u64).layer(Noop));
    let thousand = keyed().keyed(|request: &u64| request % 1_000).layer(Noop);
    bench.candidate("buttress circuit breaker, 1,000 keys in turn", thousand);
    let strangers = keyed().keyed(|request: &u64| *request).layer(Noop);
    bench.candidate("buttress circuit breaker, a key nobody has seen, of 1,024", strangers);

    bench.group("a circuit breaker that is open, and refuses");
    let (full, _all) = full_limit();
    bench.reference("tower LoadShed + ConcurrencyLimit", full);
    let open = CircuitBreakerLayer::new("bench").open_for(Duration::from_secs(3600));
    let open = open.consecutive_failures(1);
    open.handle().try_acquire().expect("closed").failure();
    bench.candidate("buttress circuit breaker", open.layer(Noop));
    let handle = open.handle();
    bench.candidate("buttress circuit breaker, without tower", Direct(move || handle.try_acquire().is_err()));

    bench.group("a rate limit with room");
    let second = Duration::from_secs(1);
    let roomy = governor::Quota::per_second(PLENTY);
    let governor = Arc::new(governor::RateLimiter::direct(roomy));
    bench.reference("governor, its own clock", Direct(move || governor.check().is_ok()));
    let governor = Arc::new(governor::RateLimiter::direct_with_clock(roomy, TokioClock));
    bench.candidate("governor, tokio's clock: rate limit", Direct(move || governor.check().is_ok()));
    let direct = RateLimitLayer::new("bench").limit(PLENTY.get(), second).handle();
    bench.candidate("buttress rate limit, without tower", Direct(move || direct.try_acquire().is_ok()));
    bench.candidate("buttress rate limit", RateLimitLayer::new("bench").limit(PLENTY.get(), second).layer(Noop));

    bench.group("a rate limit that is used up, and refuses");
    let hourly = governor::Quota::per_hour(ONE);
    let governor = Arc::new(governor::RateLimiter::direct(hourly));
    governor.check().expect("the only one");
    bench.reference("governor, its own clock", Direct(move || governor.check().is_err()));
    let governor = Arc::new(governor::RateLimiter::direct_with_clock(hourly, TokioClock));
    governor.check().expect("the only one");
    bench.candidate("governor, tokio's clock: rate limit", Direct(move || governor.check().is_err()));
    let used_up = RateLimitLayer::new("bench").limit(1, Duration::from_secs(3600));
    used_up.handle().try_acquire().expect("the only one");
    let handle = used_up.handle();
    bench.candidate("buttress rate limit, without tower", Direct(move || handle.try_acquire().is_err()));
    bench.candidate("buttress rate limit", used_up.layer(Noop));

    bench.group("a timeout");
    bench.reference("tower Timeout", TowerTimeoutLayer::new(Duration::from_secs(1)).layer(Noop));
    bench.candidate("buttress timeout", TimeoutLayer::new("bench").within(Duration::from_secs(1)).layer(Noop));

    bench.group("a retry, first attempt");
    bench.reference("tower Retry with TpsBudget", RetryLayer::new(TowerPolicy::default()).layer(Noop));
    bench.candidate("buttress retry", buttress::RetryLayer::new("bench").idempotent().layer(Noop));

    bench.group("a stack of three");
    bench.reference(
        "tower Retry + LoadShed + ConcurrencyLimit",
        ServiceBuilder::new()
            .layer(RetryLayer::new(TowerPolicy::default()))
            .layer(LoadShedLayer::new())
            .layer(GlobalConcurrencyLimitLayer::new(ROOMY))
            .service(Noop),
    );
    bench.candidate(
        "buttress retry + breaker + bulkhead",
        ServiceBuilder::new()
            .layer(buttress::RetryLayer::new("bench").idempotent())
            .layer(CircuitBreakerLayer::new("bench"))
            .layer(BulkheadLayer::new("bench").max_concurrent(ROOMY))
            .service(Noop),
    );

    bench.group("for comparison");
    bench.reference("reading the clock", Direct(move || tokio::time::Instant::now() > started));

    bench.run();
    drop((permit, all_in_use));
}

/// A limit of one, and the service that has taken it.
fn full_limit() -> (impl Candidate, impl Sized) {
    let layer = ServiceBuilder::new().layer(LoadShedLayer::new()).layer(GlobalConcurrencyLimitLayer::new(1));
    let mut greedy = layer.service(Noop);
    let taken = greedy.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert!(taken.is_ready());
    (layer.service(Noop), greedy)
}

/// What tower's own documentation retries by: errors, once, within a budget.
#[derive(Clone, Default)]
struct TowerPolicy(Arc<TpsBudget>);

impl<Res, E> Policy<u64, Res, E> for TowerPolicy {
    type Future = Ready<()>;

    fn retry(&mut self, _request: &mut u64, result: &mut Result<Res, E>) -> Option<Ready<()>> {
        match result {
            Ok(_) => {
                self.0.deposit();
                None
            }
            Err(_) => self.0.withdraw().then(|| ready(())),
        }
    }

    fn clone_request(&mut self, request: &u64) -> Option<u64> {
        Some(*request)
    }
}

/// The clock that all of buttress reads, for governor.
#[derive(Debug, Clone, Copy)]
struct TokioClock;

impl governor::clock::Clock for TokioClock {
    type Instant = TokioInstant;

    fn now(&self) -> TokioInstant {
        TokioInstant(tokio::time::Instant::now())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct TokioInstant(tokio::time::Instant);

impl governor::clock::Reference for TokioInstant {
    fn duration_since(&self, earlier: Self) -> governor::nanos::Nanos {
        self.0.saturating_duration_since(earlier.0).into()
    }

    fn saturating_sub(&self, duration: governor::nanos::Nanos) -> Self {
        Self(self.0.checked_sub(duration.into()).unwrap_or(self.0))
    }
}

impl std::ops::Add<governor::nanos::Nanos> for TokioInstant {
    type Output = Self;

    fn add(self, duration: governor::nanos::Nanos) -> Self {
        Self(self.0 + Duration::from(duration))
    }
}

/// A breaker whose time window holds this many calls, one of them a failure.
fn time_window(calls: u32) -> impl Candidate {
    let layer = CircuitBreakerLayer::new("bench").window(Window::time(Duration::from_secs(3600)));
    let breaker = layer.handle();
    for call in 0..calls {
        let permit = breaker.try_acquire().expect("closed");
        if call == 0 { permit.failure() } else { permit.success() }
    }
    layer.layer(Noop)
}

/// Does nothing, and answers.
#[derive(Clone)]
struct Noop;

impl Service<u64> for Noop {
    type Response = u64;
    type Error = BoxError;
    type Future = Ready<Result<u64, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        ready(Ok(request))
    }
}

/// Fails one call in ten.
#[derive(Clone)]
struct Flaky;

impl Service<u64> for Flaky {
    type Response = u64;
    type Error = BoxError;
    type Future = Ready<Result<u64, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        ready(if request.is_multiple_of(10) { Err(Unit.into()) } else { Ok(request) })
    }
}

/// An error that takes no room, so that boxing it costs nothing.
#[derive(Debug)]
struct Unit;

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("one in ten")
    }
}

impl std::error::Error for Unit {}
