//! What happens if two layers are swapped: the lines of the table in `docs/order.md`, each beside the right order.

use std::{
    convert::Infallible,
    future::{pending, ready},
    time::Duration,
};

use buttress::{
    BoxError, BulkheadLayer, CircuitBreakerLayer, Rejection, RetryLayer, TimeoutLayer,
    backoff::{Backoff, Jitter},
    retry::{Idempotent, Stock},
};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);

/// Three attempts, a second apart.
fn retry() -> RetryLayer<buttress::protocol::Plain, Idempotent<Stock>> {
    RetryLayer::new("r").idempotent().backoff(Backoff::constant(SECOND).jitter(Jitter::None))
}

fn within(limit: Duration) -> TimeoutLayer {
    TimeoutLayer::new("t").within(limit)
}

#[tokio::test(start_paused = true)]
async fn a_whole_timeout_inside_the_retry_is_one_more_attempt_timeout() {
    let hangs = service_fn(|()| pending::<Result<(), BoxError>>());
    let right = ServiceBuilder::new().layer(within(2 * SECOND)).layer(retry()).service(hangs);
    let wrong = ServiceBuilder::new().layer(retry()).layer(within(2 * SECOND)).service(hangs);
    let start = Instant::now();
    right.oneshot(()).await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 2);
    let start = Instant::now();
    wrong.oneshot(()).await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 3 * 2 + 2, "three times as long, and the waits");
}

#[tokio::test(start_paused = true)]
async fn a_breaker_outside_the_retry_sees_one_outcome_for_three_attempts() {
    let fails = service_fn(|()| ready(Err::<(), BoxError>("no".into())));
    let breaker = CircuitBreakerLayer::new("b");
    ServiceBuilder::new().layer(retry()).layer(breaker.clone()).service(fails).oneshot(()).await.unwrap_err();
    assert_eq!(breaker.handle().snapshot().failures, 3);
    let breaker = CircuitBreakerLayer::new("b");
    ServiceBuilder::new().layer(breaker.clone()).layer(retry()).service(fails).oneshot(()).await.unwrap_err();
    assert_eq!(breaker.handle().snapshot().failures, 1);
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_outside_the_retry_is_full_of_sleepers() {
    let fails = service_fn(|()| ready(Err::<(), BoxError>("no".into())));
    let (right, wrong) = (BulkheadLayer::new("b"), BulkheadLayer::new("b"));
    let calls = [
        tokio::spawn(ServiceBuilder::new().layer(retry()).layer(right.clone()).service(fails).oneshot(())),
        tokio::spawn(ServiceBuilder::new().layer(wrong.clone()).layer(retry()).service(fails).oneshot(())),
    ];
    sleep(SECOND / 2).await;
    assert_eq!((right.handle().snapshot().in_flight, wrong.handle().snapshot().in_flight), (0, 1));
    calls.iter().for_each(|call| call.abort());
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_outside_the_breaker_queues_calls_that_are_refused_anyway() {
    let breaker = CircuitBreakerLayer::new("b");
    breaker.handle().force_open();
    let bulkhead = BulkheadLayer::new("b").max_concurrent(1).max_wait(10 * SECOND);
    let inside = bulkhead.handle().try_acquire().unwrap();
    let answers = service_fn(|()| ready(Ok::<_, Infallible>(())));
    let took = async |service: tower::util::BoxCloneService<(), (), BoxError>| {
        let start = Instant::now();
        let error = service.oneshot(()).await.unwrap_err();
        (start.elapsed().as_secs(), Rejection::find(&error).unwrap().policy())
    };
    let right = ServiceBuilder::new().layer(breaker.clone()).layer(bulkhead.clone()).service(answers);
    assert_eq!(took(right.boxed_clone()).await, (0, "circuit_breaker"));
    let wrong = ServiceBuilder::new().layer(bulkhead).layer(breaker).service(answers);
    assert_eq!(took(wrong.boxed_clone()).await, (10, "bulkhead"));
    drop(inside);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_timeout_outside_the_bulkhead_counts_the_queue() {
    let answers = service_fn(|()| ready(Ok::<_, Infallible>(())));
    let timeout = within(SECOND);
    let bulkhead = BulkheadLayer::new("b").max_concurrent(1).max_wait(10 * SECOND);
    let inside = bulkhead.handle().try_acquire().unwrap();
    let right = tokio::spawn(bulkhead.layer(timeout.layer(answers)).oneshot(()));
    let wrong = tokio::spawn(timeout.layer(bulkhead.layer(answers)).oneshot(()));
    sleep(2 * SECOND).await;
    drop(inside);
    right.await.unwrap().unwrap();
    let error = wrong.await.unwrap().unwrap_err();
    assert_eq!(Rejection::find(&error).unwrap().policy(), "bulkhead", "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_breaker_inside_the_attempt_timeout_never_sees_that_a_service_hangs() {
    let hangs = service_fn(|()| pending::<Result<(), BoxError>>());
    let breaker = CircuitBreakerLayer::new("b");
    breaker.layer(within(SECOND).layer(hangs)).oneshot(()).await.unwrap_err();
    assert_eq!((breaker.handle().snapshot().failures, breaker.handle().snapshot().cancelled), (1, 0));
    let breaker = CircuitBreakerLayer::new("b");
    within(SECOND).layer(breaker.layer(hangs)).oneshot(()).await.unwrap_err();
    assert_eq!((breaker.handle().snapshot().failures, breaker.handle().snapshot().cancelled), (0, 1));
}
