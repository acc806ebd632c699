//! What is counted, by name.

use std::{
    future::{Future, Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use buttress::{
    BoxError, BulkheadLayer, CircuitBreakerLayer, HedgeLayer, RateLimitLayer, RetryLayer, TimeoutLayer,
    circuit_breaker::Window,
};
use tower::{Layer, Service, ServiceBuilder};

const HOUR: Duration = Duration::from_secs(3600);
const ROOMY: usize = 1000;

/// A name, and what makes so many calls.
type Candidate = (&'static str, fn(u64));

pub(crate) const CANDIDATES: &[Candidate] = &[
    ("nothing", |calls| run_calls(calls, Noop)),
    ("circuit breaker, closed", |calls| run_calls(calls, CircuitBreakerLayer::new("count").layer(Noop))),
    ("circuit breaker, closed, one in ten fails", |calls| {
        run_calls(calls, CircuitBreakerLayer::new("count").layer(Flaky));
    }),
    ("circuit breaker, closed, time window", |calls| {
        run_calls(calls, CircuitBreakerLayer::new("count").window(Window::time(HOUR)).layer(Noop));
    }),
    ("circuit breaker, open, refusing", |calls| {
        let layer = CircuitBreakerLayer::new("count").open_for(HOUR).open_at_most(HOUR).consecutive_failures(1);
        layer.handle().try_acquire().expect("closed").failure();
        run_calls(calls, layer.layer(Noop));
    }),
    ("bulkhead, with room", |calls| run_calls(calls, BulkheadLayer::new("count").max_concurrent(ROOMY).layer(Noop))),
    ("bulkhead, full, refusing", |calls| {
        let layer = BulkheadLayer::new("count").max_concurrent(1);
        let _permit = layer.handle().try_acquire().expect("the only permit");
        run_calls(calls, layer.layer(Noop));
    }),
    ("retry, first attempt", |calls| run_calls(calls, RetryLayer::new("count").idempotent().layer(Noop))),
    ("rate limit, below it", |calls| {
        run_calls(
            calls,
            RateLimitLayer::new("count").limit(10_000, Duration::from_millis(1)).burst(1_000_000).layer(Noop),
        );
    }),
    ("hedge, answered before it is due", |calls| {
        run_calls(calls, HedgeLayer::new("count").idempotent().after(HOUR).layer(Noop));
    }),
    ("timeout", |calls| run_calls(calls, TimeoutLayer::new("count").within(HOUR).layer(Noop))),
    ("retry + circuit breaker + bulkhead", |calls| {
        let stack = ServiceBuilder::new()
            .layer(RetryLayer::new("count").idempotent())
            .layer(CircuitBreakerLayer::new("count"))
            .layer(BulkheadLayer::new("count").max_concurrent(ROOMY));
        run_calls(calls, stack.service(Noop));
    }),
];

/// Runs one of them, and nothing else.
pub(crate) fn run(name: &str, calls: &str) -> Result<(), String> {
    let found = CANDIDATES.iter().find(|(candidate, _)| *candidate == name);
    let (_, candidate) = found.ok_or_else(|| format!("{name:?} is no candidate"))?;
    let calls = calls.parse().map_err(|_| format!("{calls:?} is no number of calls"))?;
    #[cfg(feature = "metrics")]
    crate::frugal::install()?;
    // For the timers.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| format!("there is no runtime: {error}"))?;
    let _entered = runtime.enter();
    candidate(calls);
    Ok(())
}

/// The service is cloned for each call, as axum does.
fn run_calls<S: Service<u64> + Clone>(calls: u64, service: S) {
    for number in 0..calls {
        let mut service = black_box(&service).clone();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(service.poll_ready(&mut cx).is_ready(), "nothing here waits");
        let answer = pin!(service.call(black_box(number))).poll(&mut cx);
        assert!(answer.is_ready(), "nothing here waits");
        black_box(&answer);
    }
}

/// Answers at once.
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
        // An error that takes no room, so that boxing it takes nothing.
        ready(if request.is_multiple_of(10) { Err(std::fmt::Error.into()) } else { Ok(request) })
    }
}
