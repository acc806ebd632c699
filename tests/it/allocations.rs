//! What a call costs of the heap: on the accept path, nothing.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
    time::Duration,
};

use buttress::{
    BulkheadLayer, CircuitBreakerLayer, Deadline, FallbackLayer, FaultLayer, HedgeLayer, RateLimitLayer, RetryLayer,
    TimeoutLayer, bulkhead::Adaptive, circuit_breaker::Window, standard,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, Service};

use crate::support::allocations::{Echo, allocations, call_now};

const CALLS: u64 = 100;

/// What calls of a service cost in all, once it is warm.
fn cost<S, Req>(mut service: S, request: impl Fn() -> Req) -> u64
where
    S: Service<Req>,
{
    assert!(call_now(&mut service, request()).is_ok(), "the accept path was asked for");
    let requests: Vec<Req> = (0..CALLS).map(|_| request()).collect();
    allocations(|| requests.into_iter().for_each(|request| drop(call_now(&mut service, request))))
}

fn plain<L>(layer: L) -> u64
where
    L: Layer<Echo, Service: Service<u64>>,
{
    cost(layer.layer(Echo), || 7)
}

fn over_http<L>(layer: L) -> u64
where
    L: Layer<Hello, Service: Service<Request<()>>>,
{
    cost(layer.layer(Hello), || Request::new(()))
}

/// Answers with a body that is complete, and allocates nothing by itself.
#[derive(Debug, Clone)]
struct Hello;

impl Service<Request<()>> for Hello {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<()>) -> Self::Future {
        ready(Ok(Response::new(Full::from("hello"))))
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(7)))), 1);
}

#[test]
fn accept_paths_do_not_allocate() {
    // One line a layer, and one for each protocol it knows.
    assert_eq!(plain(BulkheadLayer::new("b")), 0, "bulkhead, plain");
    assert_eq!(over_http(BulkheadLayer::http("b")), 0, "bulkhead, http");
    assert_eq!(over_http(BulkheadLayer::grpc("b")), 0, "bulkhead, grpc");
    assert_eq!(plain(BulkheadLayer::new("b").adaptive(Adaptive::default())), 0, "bulkhead, adaptive");
    assert_eq!(plain(CircuitBreakerLayer::new("c")), 0, "circuit breaker, plain");
    assert_eq!(over_http(CircuitBreakerLayer::http("c")), 0, "circuit breaker, http");
    let all_rules = CircuitBreakerLayer::new("c").slow_calls(Duration::from_secs(1), 0.5).consecutive_failures(5);
    assert_eq!(plain(all_rules.window(Window::time(Duration::from_secs(10)))), 0, "circuit breaker, every rule");
    let keyed = CircuitBreakerLayer::new("c").keyed(|key: &u64| *key);
    assert_eq!(plain(keyed), 0, "circuit breaker a key, a known key, plain");
    let keyed = CircuitBreakerLayer::http("c").keyed(|request: &Request<()>| request.uri().authority().cloned());
    assert_eq!(over_http(keyed), 0, "circuit breaker a key, a known key, http");
    let keyed = CircuitBreakerLayer::grpc("c").keyed(|_: &Request<()>| "inventory");
    assert_eq!(over_http(keyed), 0, "circuit breaker a key, a known key, grpc");
    assert_eq!(plain(FaultLayer::new("f")), 0, "fault, plain, nothing goes wrong");
    assert_eq!(over_http(FaultLayer::http("f")), 0, "fault, http, nothing goes wrong");
    let roomy = Duration::from_secs(1);
    assert_eq!(plain(RateLimitLayer::new("l").limit(1_000, roomy)), 0, "rate limit, plain");
    assert_eq!(
        plain(RateLimitLayer::new("l").limit(1_000, roomy).max_wait(roomy)),
        0,
        "rate limit with a queue, plain"
    );
    assert_eq!(over_http(RateLimitLayer::http("l").limit(1_000, roomy)), 0, "rate limit, http");
    assert_eq!(over_http(RateLimitLayer::grpc("l").limit(1_000, roomy)), 0, "rate limit, grpc");
    let keyed = RateLimitLayer::new("l").limit(1_000, roomy).keyed(|request: &u64| *request);
    assert_eq!(plain(keyed), 0, "rate limit a key, plain");
    assert_eq!(plain(TimeoutLayer::new("t")), 0, "timeout, plain");
    assert_eq!(plain(RetryLayer::new("r")), 0, "retry, plain, not said to be safe");
    assert_eq!(plain(RetryLayer::new("r").idempotent()), 0, "retry, plain, safe");
    assert_eq!(plain(HedgeLayer::new("h")), 0, "hedge, plain, not said to be safe");
    assert_eq!(plain(HedgeLayer::new("h").idempotent()), 0, "hedge, plain, safe");
    assert_eq!(plain(HedgeLayer::new("h").idempotent().after(Duration::from_secs(1))), 0, "hedge, plain, a delay");
    assert_eq!(plain(FallbackLayer::new("f")), 0, "fallback, plain, nothing");
    assert_eq!(plain(FallbackLayer::new("f").value(7_u64)), 0, "fallback, plain, a value");
    assert_eq!(
        plain(FallbackLayer::new("f").with(async |_: u64, _| Ok::<_, Infallible>(7))),
        0,
        "fallback, plain, a function"
    );
    assert_eq!(over_http(FallbackLayer::http("f").value(Response::new(Full::from("f")))), 0, "fallback, http, a value");
    assert_eq!(plain(standard::new("s").retry(|retry| retry.idempotent())), 0, "the whole stack, plain");
    let full = standard::new("s").retry(|retry| retry.idempotent()).fallback(|fallback| fallback.value(7_u64));
    let full = full.hedge(|hedge| hedge).rate_limit(|limit| limit.limit(1_000, roomy));
    assert_eq!(plain(full), 0, "the whole stack with all there is, plain");
}

#[test]
fn handing_a_deadline_on_allocates_no_more_than_the_header_that_says_it() {
    // The first header and the first extension of a request make room for all that follow.
    let carrying = |header: &'static str, left: &'static str| {
        let extension = Deadline::after(Duration::from_secs(1));
        move || Request::builder().extension(extension).header(header, left).body(()).unwrap()
    };
    let http = cost(TimeoutLayer::http("t").layer(Hello), carrying("x-request-timeout-ms", "900"));
    assert_eq!(http, CALLS, "timeout, http");
    let grpc = cost(TimeoutLayer::grpc("t").layer(Hello), carrying("grpc-timeout", "900m"));
    assert_eq!(grpc, CALLS, "timeout, grpc");
    assert!(over_http(TimeoutLayer::http("t")) <= 6 * CALLS, "timeout, http, nothing carried yet");
}

#[test]
fn keeping_a_request_for_another_time_costs_what_its_head_and_body_cost() {
    // A bare head has nothing on the heap, and a body of `Bytes` is a reference.
    let request = || Request::get("/").body(Full::from("hello")).unwrap();
    let hedge = HedgeLayer::http("h").after(Duration::from_secs(1));
    assert_eq!(cost(hedge.layer(Whole), request), 0, "hedge");
    let headed = || Request::get("/").header("accept", "*/*").body(Full::from("hello")).unwrap();
    assert_eq!(cost(hedge.layer(Whole), headed), 3 * CALLS, "hedge, the header's table, its entry and its value");
    let function = FallbackLayer::http("f").with(async |_, _| Response::new(Full::from("f")));
    assert_eq!(cost(function.layer(Whole), request), 0, "fallback, a function");
    let service = FallbackLayer::http("f").service(Whole);
    assert_eq!(cost(service.layer(Whole), request), 0, "fallback, a service");
}

/// As [`Hello`], for a request with a body.
#[derive(Debug, Clone)]
struct Whole;

impl Service<Request<Full<Bytes>>> for Whole {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<Full<Bytes>>) -> Self::Future {
        ready(Ok(Response::new(Full::from("hello"))))
    }
}

#[test]
fn a_key_takes_no_more_memory_than_the_documentation_says() {
    const KEYS: u64 = 1000;
    let breakers = CircuitBreakerLayer::new("c").keyed(|key: &u64| *key).handle();
    let info = allocation_counter::measure(|| (0..KEYS).for_each(|key| drop(breakers.try_acquire(&key))));
    let each = info.bytes_current / KEYS as i64;
    assert!(each < 2048, "{each} bytes a key");
    assert_eq!(breakers.len() as u64, KEYS);
}

/// Fails every other time, with an error that takes no memory.
#[derive(Debug, Clone)]
struct Flickers(std::sync::Arc<std::sync::atomic::AtomicU64>);

impl Service<u64> for Flickers {
    type Response = u64;
    type Error = std::fmt::Error;
    type Future = Ready<Result<u64, std::fmt::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), std::fmt::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        let call = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        ready(if call.is_multiple_of(2) { Err(std::fmt::Error) } else { Ok(request) })
    }
}

#[test]
fn a_hedge_allocates_three_times_and_a_fallback_once() {
    let budget = buttress::budget::Budget::share(10.0, 1000);
    let hedge = HedgeLayer::new("h").idempotent().after(Duration::from_secs(1)).budget(budget);
    assert_eq!(cost(hedge.layer(Flickers(Default::default())), || 7), 3 * CALLS);
    assert_eq!(hedge.handle().snapshot().won, CALLS + 1);
    let fallback = FallbackLayer::new("f").value(7);
    assert_eq!(cost(fallback.layer(Flickers(Default::default())), || 7), CALLS / 2);
}
