//! Everything that breakers, bulkheads, retries and timeouts tell of.

use std::{any::Any, convert::Infallible, io, time::Duration};

use axum::body::Body;
use buttress::{
    BulkheadLayer, Cause, CircuitBreakerLayer, Deadline, Outcome, Reason, Rejection, RetryLayer, TimeoutLayer,
    budget::Budget,
    bulkhead::{Adaptive, Bulkhead},
    circuit_breaker::CircuitBreaker,
    retry::Retry,
    timeout::{REQUEST_TIMEOUT_MS, Timeout},
};
use http::{Method, Request, Response};
use tokio::{
    task::yield_now,
    time::{Instant, advance},
};
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

use super::Kept;

const SECOND: Duration = Duration::from_secs(1);

pub(super) async fn happen(kept: &mut Kept) {
    breaker(kept);
    bulkhead(kept).await;
    adaptive(kept).await;
    retry(kept).await;
    timeout(kept).await;
}

fn breaker(kept: &mut Kept) {
    let breaker = CircuitBreaker::new("everything");
    let permit = || breaker.try_acquire().unwrap();
    (0..5).for_each(|_| permit().success());
    (0..2).for_each(|_| permit().failure());
    (0..3).for_each(|_| permit().ignore());
    permit().record(Outcome::overload(Cause::Unknown), Duration::ZERO);
    (0..4).for_each(|_| drop(permit()));
    breaker.force_open();
    (0..6).for_each(|_| assert!(breaker.try_acquire().is_err()));
    breaker.force_closed();
    (0..3).for_each(|_| permit().success());
    let mut config = breaker.config();
    config.minimum_calls += 1;
    breaker.reconfigure(config).unwrap();

    let shadow = CircuitBreakerLayer::new("everything shadow").minimum_calls(1).handle();
    shadow.shadow();
    shadow.try_acquire().unwrap().failure();

    let keyed = CircuitBreakerLayer::new("everything keyed").keyed(|key: &u32| *key).max_keys(1).handle();
    (0..3).for_each(|key| keyed.try_acquire(&key).unwrap().success());
    keyed.reconfigure(keyed.config()).unwrap();
    kept.extend([Box::new(breaker) as Box<dyn Any>, Box::new(shadow), Box::new(keyed)]);
}

async fn bulkhead(kept: &mut Kept) {
    let bulkhead = BulkheadLayer::new("everything").max_concurrent(1).max_wait(SECOND).max_queue(1).handle();
    let inside = bulkhead.try_acquire().unwrap();
    (0..3).for_each(|_| assert!(bulkhead.try_acquire().is_err(), "full"));
    for _ in 0..2 {
        assert!(bulkhead.acquire().await.is_err(), "waited for too long");
    }
    let waits = tokio::spawn({
        let bulkhead = bulkhead.clone();
        async move { bulkhead.acquire().await }
    });
    yield_now().await;
    for _ in 0..5 {
        assert!(bulkhead.acquire().await.is_err(), "queue full");
    }
    assert!(Deadline::at(Instant::now()).scope(bulkhead.acquire()).await.is_err(), "deadline passed");
    inside.record(Outcome::Success);
    waits.await.unwrap().unwrap().record(Outcome::FAILURE);
    let outcomes = [Outcome::FAILURE, Outcome::Ignored, Outcome::Ignored, Outcome::Ignored];
    outcomes.into_iter().for_each(|outcome| bulkhead.try_acquire().unwrap().record(outcome));
    let overload = Outcome::overload(Cause::Unknown);
    (0..4).for_each(|_| bulkhead.try_acquire().unwrap().record(overload));
    (0..6).for_each(|_| drop(bulkhead.try_acquire().unwrap()));
    let mut config = bulkhead.config();
    config.max_concurrent += 1;
    bulkhead.reconfigure(config).unwrap();

    let partitioned: Bulkhead =
        BulkheadLayer::new("everything in partitions").max_concurrent(10).partition("tenant", 0.5).handle();

    let keyed = BulkheadLayer::new("everything keyed").max_concurrent(1).keyed(|key: &u32| *key).max_keys(1).handle();
    let inside = keyed.try_acquire(&0).unwrap();
    (0..2).for_each(|_| assert!(keyed.try_acquire(&0).is_err(), "full"));
    (0..3).for_each(|_| assert!(keyed.try_acquire(&1).is_err(), "crowded out"));
    inside.record(Outcome::Success);
    (1..4).for_each(|key| drop(keyed.try_acquire(&key).unwrap()));
    keyed.reconfigure(keyed.config()).unwrap();
    kept.extend([Box::new(bulkhead) as Box<dyn Any>, Box::new(partitioned), Box::new(keyed)]);
}

async fn adaptive(kept: &mut Kept) {
    let adaptive = Adaptive::aimd().window(SECOND).min_samples(1);
    let bulkhead = BulkheadLayer::new("everything adaptive").max_concurrent(20).adaptive(adaptive).handle();
    let (fine, late) = (Outcome::Success, Outcome::failure(Cause::TimedOut));
    for outcome in [fine, fine, fine, fine, late, late, late] {
        let permits: Vec<_> = std::iter::from_fn(|| bulkhead.try_acquire().ok()).collect();
        advance(2 * SECOND).await;
        permits.into_iter().for_each(|permit| permit.record(outcome));
    }
    kept.push(Box::new(bulkhead));
}

async fn retry(kept: &mut Kept) {
    let fails = || io::Error::from(io::ErrorKind::TimedOut);
    let retry = Retry::new("everything");
    retry.run(async |attempt| if attempt.is_first() { Err(fails()) } else { Ok(()) }, |_| true).await.unwrap();
    for _ in 0..2 {
        retry.run(async |_| Err::<(), _>(fails()), |_| true).await.unwrap_err();
    }
    for _ in 0..3 {
        let refused = || BoxError::from(Rejection::new("bulkhead", "below", Reason::BulkheadFull));
        retry.run(async |_| Err::<(), _>(refused()), |_| true).await.unwrap_err();
    }
    for _ in 0..4 {
        let late = retry.run(async |_| Err::<(), _>(fails()), |_| true);
        Deadline::at(Instant::now()).scope(late).await.unwrap_err();
    }
    retry.share_budget(Budget::tokens(1, 0.1));
    retry.run(async |_| Err::<(), _>(fails()), |_| true).await.unwrap_err();
    let mut config = retry.config();
    config.max_attempts += 1;
    retry.reconfigure(config).unwrap();

    let unsaid = RetryLayer::new("everything unsaid");
    let service = ServiceBuilder::new().layer(&unsaid).service_fn(async |()| Err::<(), BoxError>("broken".into()));
    service.oneshot(()).await.unwrap_err();

    let large = RetryLayer::http("everything large").replay_at_most(1);
    let service = service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::empty())));
    let request = Request::builder().method(Method::PUT).body(Body::from("hello")).unwrap();
    ServiceBuilder::new().layer(&large).service(service).oneshot(request).await.unwrap();
    let reads = service_fn(async |request: Request<Body>| {
        axum::body::to_bytes(Body::new(request.into_body()), 100).await.unwrap();
        Ok::<_, Infallible>(Response::builder().status(503).body(Body::empty()).unwrap())
    });
    for _ in 0..5 {
        let streamed = Body::from_stream(futures_util::stream::iter(["hel", "lo"].map(Ok::<_, Infallible>)));
        let request = Request::builder().method(Method::PUT).body(streamed).unwrap();
        ServiceBuilder::new().layer(&large).service(reads).oneshot(request).await.unwrap();
    }

    let outer = RetryLayer::new("everything outer").idempotent();
    let inner = RetryLayer::new("everything inner").idempotent();
    let tiers = ServiceBuilder::new().layer(&outer).layer(&inner);
    let tiers = tiers.service_fn(async |()| Err::<(), BoxError>("broken".into()));
    tiers.oneshot(()).await.unwrap_err();
    kept.extend([Box::new(retry) as Box<dyn Any>, Box::new(unsaid), Box::new(large), Box::new(outer), Box::new(inner)]);
}

async fn timeout(kept: &mut Kept) {
    let timeout = Timeout::new("everything");
    timeout.run(async {}).await.unwrap();
    let hangs = async || timeout.run(std::future::pending::<()>()).await;
    for _ in 0..3 {
        hangs().await.unwrap_err();
    }
    Deadline::after(SECOND).scope(hangs()).await.unwrap_err();
    for _ in 0..2 {
        Deadline::at(Instant::now()).scope(hangs()).await.unwrap_err();
    }
    let mut config = timeout.config();
    config.within *= 2;
    timeout.reconfigure(config).unwrap();

    let unreadable = TimeoutLayer::http("everything unreadable");
    let service = service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::empty())));
    let request = Request::builder().header(REQUEST_TIMEOUT_MS, "soon").body(Body::empty()).unwrap();
    ServiceBuilder::new().layer(&unreadable).service(service).oneshot(request).await.unwrap();
    kept.extend([Box::new(timeout) as Box<dyn Any>, Box::new(unreadable)]);
}
