//! What happens if two layers are swapped: the lines of the table in `docs/order.md`, each beside the right order.

use std::{
    convert::Infallible,
    future::{pending, ready},
    sync::{Arc, Mutex, atomic::Ordering::SeqCst},
    time::Duration,
};

use buttress::{
    BoxError, BulkheadLayer, CircuitBreakerLayer, FallbackLayer, HedgeLayer, RateLimitLayer, Rejection, RetryLayer,
    TimeoutLayer,
    backoff::{Backoff, Jitter},
    hedge::Careful,
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

// ===== fallback, hedge and rate limit =====

/// The request again, beside the first, after a tenth of a second.
fn hedge() -> HedgeLayer<buttress::protocol::Plain, Idempotent<Careful>> {
    HedgeLayer::new("h").idempotent().after(SECOND / 10)
}

#[tokio::test(start_paused = true)]
async fn a_fallback_outside_the_whole_timeout_begins_when_the_time_is_up() {
    let hangs = service_fn(|()| pending::<Result<(), BoxError>>());
    let slow = FallbackLayer::new("f").with(async |(): (), _| {
        sleep(5 * SECOND).await;
        Ok::<_, BoxError>(())
    });
    let start = Instant::now();
    within(2 * SECOND).layer(slow.clone().layer(hangs)).oneshot(()).await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 2);
    let start = Instant::now();
    slow.layer(within(2 * SECOND).layer(hangs)).oneshot(()).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 2 + 5);
}

#[tokio::test(start_paused = true)]
async fn with_a_fallback_inside_the_retry_nothing_is_tried_again() {
    let flaky = |call: u32| if call == 0 { Err::<&str, BoxError>("a glitch".into()) } else { Ok("real") };
    let stands_in = || FallbackLayer::new("f").value("made up");
    let (service, _) = super::counted(flaky);
    assert_eq!(stands_in().layer(retry().layer(service)).oneshot(()).await.unwrap(), "real");
    let (service, calls) = super::counted(flaky);
    assert_eq!(retry().layer(stands_in().layer(service)).oneshot(()).await.unwrap(), "made up");
    assert_eq!(calls.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hedge_outside_the_retry_gives_the_service_no_rest() {
    let sent = async |hedged_outside: bool| {
        let (times, began) = (Arc::new(Mutex::new(Vec::new())), Instant::now());
        let seen = times.clone();
        let fails = service_fn(move |()| {
            seen.lock().unwrap().push(began.elapsed().as_millis());
            ready(Err::<(), BoxError>("overloaded".into()))
        });
        let error = if hedged_outside {
            hedge().layer(retry().layer(fails)).oneshot(()).await
        } else {
            retry().layer(hedge().layer(fails)).oneshot(()).await
        };
        error.unwrap_err();
        times.lock().unwrap().clone()
    };
    assert_eq!(sent(false).await, [0, 0, 1000, 1000, 2000, 2000], "nothing while the retry waits");
    assert_eq!(sent(true).await, [0, 100, 1000, 1100, 2000, 2100]);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_outside_the_hedge_sees_only_the_attempt_that_won() {
    let flaky = |call: u32| if call == 0 { Err::<(), BoxError>("no".into()) } else { Ok(()) };
    let seen =
        |breaker: &CircuitBreakerLayer| (breaker.handle().snapshot().calls, breaker.handle().snapshot().failures);
    let (breaker, (service, _)) = (CircuitBreakerLayer::new("b"), super::counted(flaky));
    hedge().layer(breaker.layer(service)).oneshot(()).await.unwrap();
    assert_eq!(seen(&breaker), (2, 1));
    let (breaker, (service, _)) = (CircuitBreakerLayer::new("b"), super::counted(flaky));
    breaker.layer(hedge().layer(service)).oneshot(()).await.unwrap();
    assert_eq!(seen(&breaker), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_outside_the_breaker_is_used_up_by_calls_that_are_refused_anyway() {
    let answers = service_fn(|()| ready(Ok::<_, Infallible>(())));
    let breaker = CircuitBreakerLayer::new("b");
    breaker.handle().force_open();
    let limit = || RateLimitLayer::new("l").limit(5, 3600 * SECOND);
    let (right, wrong) = (limit(), limit());
    for _ in 0..5 {
        breaker.layer(right.layer(answers)).oneshot(()).await.unwrap_err();
        wrong.layer(breaker.layer(answers)).oneshot(()).await.unwrap_err();
    }
    assert_eq!((right.handle().snapshot().available, wrong.handle().snapshot().available), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_outside_the_retry_counts_one_of_three_attempts() {
    let limit = || RateLimitLayer::new("l").limit(1, 3600 * SECOND);
    let fails = || super::counted(|_| Err::<(), BoxError>("no".into()));
    let (service, right) = fails();
    retry().layer(limit().layer(service)).oneshot(()).await.unwrap_err();
    let (service, wrong) = fails();
    limit().layer(retry().layer(service)).oneshot(()).await.unwrap_err();
    assert_eq!((right.load(SeqCst), wrong.load(SeqCst)), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_outside_the_rate_limit_is_full_of_calls_that_wait_for_their_turn() {
    let answers = service_fn(|()| ready(Ok::<_, Infallible>(())));
    let limit = || {
        let limit = RateLimitLayer::new("l").limit(1, 10 * SECOND).max_wait(20 * SECOND);
        limit.handle().try_acquire().unwrap();
        limit
    };
    let (right, wrong) = (BulkheadLayer::new("b"), BulkheadLayer::new("b"));
    let calls = [
        tokio::spawn(limit().layer(right.layer(answers)).oneshot(())),
        tokio::spawn(wrong.layer(limit().layer(answers)).oneshot(())),
    ];
    sleep(SECOND).await;
    assert_eq!((right.handle().snapshot().in_flight, wrong.handle().snapshot().in_flight), (0, 1));
    calls.iter().for_each(|call| call.abort());
}
