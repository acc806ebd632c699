//! Plain services: waits, attempts, budget, deadline, cancellation.

use std::{io, time::Duration};

use buttress::{
    BoxError, Deadline, Reason, Rejection, RetryLayer,
    backoff::{Backoff, Jitter},
    budget::{Budget, BudgetConfig, Cost},
    retry::{Retry, RetryConfig},
};
use tokio::time::Instant;
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer};
use tower_test::{assert_request_eq, mock};
use tracing_subscriber::filter::LevelFilter;

use super::{Script, waits};
use crate::support::{
    allocations::{Echo, allocations, call_now},
    events::Events,
};

const MS: Duration = Duration::from_millis(1);

fn failing(_: usize, _: &u32) -> Result<u32, BoxError> {
    Err("no luck".into())
}

fn twice_failing(calls: usize, request: &u32) -> Result<u32, BoxError> {
    if calls < 2 { Err("no luck".into()) } else { Ok(*request) }
}

#[tokio::test(start_paused = true)]
async fn tries_again_after_a_growing_wait() {
    let layer = RetryLayer::new("test").backoff(waits()).idempotent();
    let retry = layer.handle();
    let (mut service, mut inner) = mock::spawn_layer::<u32, &str, _>(layer);
    assert_ready_ok!(service.poll_ready());
    let mut call = task::spawn(service.call(7));

    assert_pending!(call.poll());
    assert_request_eq!(inner, 7).send_error("one");
    assert_pending!(call.poll());
    tokio::time::advance(99 * MS).await;
    assert_pending!(call.poll());
    assert_pending!(inner.poll_request());
    tokio::time::advance(2 * MS).await;
    assert_pending!(call.poll());
    assert_request_eq!(inner, 7).send_error("two");
    assert_pending!(call.poll());
    tokio::time::advance(199 * MS).await;
    assert_pending!(call.poll());
    assert_pending!(inner.poll_request());
    tokio::time::advance(2 * MS).await;
    assert_pending!(call.poll());
    assert_request_eq!(inner, 7).send_response("three");
    assert_eq!(assert_ready_ok!(call.poll()), "three");

    let snapshot = retry.snapshot();
    assert_eq!((snapshot.retries, snapshot.recovered), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn hands_on_the_last_failure() {
    let layer = RetryLayer::new("test").max_attempts(2).idempotent();
    let retry = layer.handle();
    let (mut service, mut inner) = mock::spawn_layer::<u32, u32, _>(layer);
    assert_ready_ok!(service.poll_ready());
    let mut call = task::spawn(service.call(7));
    assert_pending!(call.poll());
    assert_request_eq!(inner, 7).send_error("one");
    assert_pending!(call.poll());
    tokio::time::advance(100 * MS).await;
    assert_pending!(call.poll());
    assert_request_eq!(inner, 7).send_error("two");
    assert_eq!(assert_ready_err!(call.poll()).to_string(), "two");
    assert_eq!(retry.snapshot().gave_up_attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn one_attempt_is_no_retry() {
    let inner = Script::new(failing);
    let layer = RetryLayer::new("test").max_attempts(1).idempotent();
    assert!(layer.layer(inner.clone()).oneshot(1).await.is_err());
    assert_eq!(inner.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_retried_until_it_is_said_what_is_safe() {
    let events = Events::at(LevelFilter::WARN);
    let inner = Script::new(failing);
    let layer = RetryLayer::new("test");
    for _ in 0..3 {
        assert!(layer.layer(inner.clone()).oneshot(1).await.is_err());
    }
    assert_eq!(inner.calls(), 3);
    assert_eq!(layer.handle().snapshot().gave_up_unsafe, 3);
    // And that is told, once.
    assert_eq!(events.take().matches("idempotent()").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn only_what_is_safe_is_retried() {
    let inner = Script::new(failing);
    let layer = RetryLayer::new("test").safe_when(|request: &u32| *request > 10);
    assert!(layer.layer(inner.clone()).oneshot(10).await.is_err());
    assert_eq!(inner.calls(), 1);
    assert!(layer.layer(inner.clone()).oneshot(11).await.is_err());
    assert_eq!(inner.calls(), 1 + 3);
}

#[tokio::test(start_paused = true)]
async fn the_user_says_what_is_worth_another_attempt() {
    // A response can be, and an error needn't.
    let inner = Script::new(|calls, _: &u32| if calls == 0 { Ok(0) } else { Err(io::Error::other("no")) });
    let layer = RetryLayer::new("test").idempotent().retry_if(|result: Result<&i32, &BoxError>| result.is_ok());
    assert!(layer.layer(inner.clone()).oneshot(1).await.is_err());
    assert_eq!(inner.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn never_retries_our_own_rejection() {
    let inner = Script::new(|_, _: &u32| {
        // However deep it lies.
        Err::<u32, _>(io::Error::other(Rejection::new("bulkhead", "b", Reason::BulkheadFull)))
    });
    let layer = RetryLayer::new("test").idempotent();
    let error = layer.layer(inner.clone()).oneshot(1).await.unwrap_err();
    assert!(Rejection::find(&error).is_some());
    assert_eq!(inner.calls(), 1);
    assert_eq!(layer.handle().snapshot().gave_up_refused, 1);
}

#[tokio::test(start_paused = true)]
async fn calls_an_instance_that_was_made_ready() {
    let inner = Script::new(twice_failing);
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::new("test").idempotent())
        .layer(ConcurrencyLimitLayer::new(1))
        .service(inner.clone());
    for calls in [3, 4, 5] {
        assert_eq!(service.ready().await.unwrap().call(1).await.unwrap(), 1);
        assert_eq!(inner.calls(), calls);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_cannot_be_made_ready_again_ends_the_call() {
    let layer = RetryLayer::new("test").idempotent();
    let retry = layer.handle();
    let (mut service, mut inner) = mock::spawn_layer::<u32, u32, _>(layer);
    assert_ready_ok!(service.poll_ready());
    let mut call = task::spawn(service.call(7));
    assert_pending!(call.poll());
    assert_request_eq!(inner, 7).send_error("one");
    assert_pending!(call.poll());
    inner.send_error("gone");
    tokio::time::advance(100 * MS).await;
    assert_eq!(assert_ready_err!(call.poll()).to_string(), "gone");
    assert_eq!((retry.snapshot().retries, retry.snapshot().budget_available), (0, 100));
}

#[tokio::test(start_paused = true)]
async fn dropped_at_any_point_it_leaves_nothing_behind() {
    let budget = Budget::share(0.0, 1);
    let layer = RetryLayer::new("test").budget(budget.clone()).backoff(waits()).idempotent();
    let limit = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
    let (inner, mut handle) = mock::pair::<u32, u32>();
    let inner = tower::limit::ConcurrencyLimit::with_semaphore(inner, limit.clone());
    let mut service = mock::Spawn::new(layer.layer(inner));
    handle.allow(100);

    for dropped_after in 0..5 {
        assert_eq!((limit.available_permits(), budget.available()), (1, 10), "{dropped_after}");
        assert_ready_ok!(service.poll_ready());
        let mut call = task::spawn(service.call(7));
        for step in 0..dropped_after {
            assert_pending!(call.poll());
            match step {
                0 => assert_request_eq!(handle, 7).send_error("one"),
                // Waiting: the permit is free, and the token taken.
                1 => assert_eq!((limit.available_permits(), budget.available()), (1, 9)),
                2 => {
                    // Held by somebody else, it can't be made ready.
                    let permit = limit.clone().try_acquire_owned().unwrap();
                    tokio::time::advance(101 * MS).await;
                    assert_pending!(call.poll());
                    assert_eq!(budget.available(), 9);
                    if dropped_after == 3 {
                        drop(permit);
                        break;
                    }
                    drop(permit);
                }
                // The second attempt is under way, and paid for.
                _ => assert_eq!(budget.available(), 9),
            }
        }
        drop(call);
        // Only the attempt that was made is paid for.
        let left = if dropped_after == 4 { 9 } else { 10 };
        assert_eq!((limit.available_permits(), budget.available()), (1, left), "{dropped_after}");
        while handle.poll_request().is_ready() {}
        tokio::time::advance(Duration::from_secs(10)).await;
    }
    assert_eq!((limit.available_permits(), budget.available()), (1, 10));
}

#[tokio::test(start_paused = true)]
async fn an_exhausted_budget_stops_retries_and_is_told_once() {
    let events = Events::at(LevelFilter::WARN);
    let inner = Script::new(failing);
    let layer = RetryLayer::new("test").budget(Budget::share(0.0, 1)).idempotent();
    let service = layer.layer(inner.clone());
    for _ in 0..20 {
        assert!(service.clone().oneshot(1).await.is_err());
    }
    // 20 calls, 10 retries; the clock ran for less than ten seconds.
    let snapshot = layer.handle().snapshot();
    assert_eq!((inner.calls(), snapshot.retries, snapshot.budget_available), (30, 10, 0));
    assert_eq!(snapshot.gave_up_budget, 15);
    assert_eq!(events.take().matches("retry budget exhausted").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_budget_is_shared_by_the_layers_it_is_given_to() {
    let budget = Budget::share(0.0, 1);
    let layers = ["a", "b"].map(|name| RetryLayer::new(name).budget(budget.clone()).idempotent());
    for layer in &layers {
        for _ in 0..3 {
            assert!(layer.layer(Script::new(failing)).oneshot(1).await.is_err());
        }
    }
    assert_eq!(budget.available(), 0);
    assert_eq!(layers.map(|layer| layer.handle().snapshot().retries), [6, 4]);
}

#[tokio::test(start_paused = true)]
async fn calls_pay_for_retries() {
    let budget = Budget::share(0.5, 0);
    let inner = Script::new(failing);
    let service = RetryLayer::new("test").max_attempts(2).budget(budget.clone()).idempotent().layer(inner.clone());
    for _ in 0..10 {
        assert!(service.clone().oneshot(1).await.is_err());
    }
    assert_eq!(inner.calls(), 15);
}

#[tokio::test(start_paused = true)]
async fn successes_fill_the_tokens_that_failures_take() {
    let budget = Budget::tokens(10, 0.5);
    let layer = RetryLayer::new("test").budget(budget.clone()).idempotent();
    // Four failures take four tokens of ten; the fifth would leave no more than half.
    let inner = Script::new(failing);
    assert!(layer.layer(inner.clone()).oneshot(1).await.is_err());
    assert!(layer.layer(inner.clone()).oneshot(1).await.is_err());
    assert_eq!(inner.calls(), 5);
    for _ in 0..20 {
        layer.layer(Script::new(|_, request: &u32| Ok::<_, BoxError>(*request))).oneshot(1).await.unwrap();
    }
    assert_eq!(budget.available(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_cost_of_a_retry_that_helped_comes_back() {
    let budget = Budget::costs();
    let layer = RetryLayer::new("test").budget(budget.clone()).idempotent();
    layer.layer(Script::new(twice_failing)).oneshot(1).await.unwrap();
    // Two retries at 14, and the last one's cost back: 486 are left.
    assert_eq!((0..).take_while(|_| budget.withdraw(Cost::Transient).map(|t| t.spend()).is_ok()).count(), 486 / 14);
}

#[tokio::test(start_paused = true)]
async fn the_answer_at_hand_is_given_when_the_wait_would_outlast_the_deadline() {
    let inner = Script::new(failing);
    let layer = RetryLayer::new("test").backoff(waits()).idempotent();
    let began = Instant::now();
    let call = layer.layer(inner.clone()).oneshot(1);
    assert!(Deadline::after(250 * MS).scope(call).await.is_err());
    // The first wait is 100 ms and the second 200 ms.
    assert_eq!((inner.calls(), began.elapsed().as_millis()), (2, 100));
    assert_eq!(layer.handle().snapshot().gave_up_deadline, 1);
    assert_eq!(layer.handle().budget().available(), 99);
}

#[tokio::test(start_paused = true)]
async fn is_set_anew_while_it_runs() {
    let inner = Script::new(failing);
    let layer = RetryLayer::new("test").budget(Budget::share(0.0, 2)).idempotent();
    let retry = layer.handle();
    let mut service = layer.layer(inner.clone());
    assert!(service.ready().await.unwrap().call(1).await.is_err());
    assert_eq!((inner.calls(), retry.budget().available()), (3, 18));

    let mut config = retry.config();
    config.max_attempts = 5;
    retry.reconfigure(config.clone()).unwrap();
    assert!(service.ready().await.unwrap().call(1).await.is_err());
    assert_eq!((inner.calls(), retry.budget().available()), (8, 14));

    config.max_attempts = 0;
    assert_eq!(retry.reconfigure(config.clone()).unwrap_err().setting(), "retry.max_attempts");
    assert_eq!(retry.config().max_attempts, 5);

    // Another budget's setting is another budget.
    config.max_attempts = 1;
    config.budget = BudgetConfig::Tokens { max_tokens: 10, token_ratio: 0.1 };
    retry.reconfigure(config.clone()).unwrap();
    assert_eq!(retry.config(), config);
    assert!(service.ready().await.unwrap().call(1).await.is_err());
    assert_eq!((inner.calls(), retry.budget().available()), (9, 4));
}

#[test]
fn nonsense_is_refused_by_name() {
    let with = |change: fn(&mut RetryConfig)| {
        let mut config = RetryConfig::default();
        change(&mut config);
        Retry::with_config("test", config).map(drop).map_err(|invalid| invalid.setting().to_owned())
    };
    assert_eq!(with(|_| ()), Ok(()));
    assert_eq!(with(|config| config.max_attempts = 0), Err("retry.max_attempts".to_owned()));
    assert_eq!(with(|config| config.max_attempts = 101), Err("retry.max_attempts".to_owned()));
    assert_eq!(with(|config| config.replay_at_most = usize::MAX), Err("retry.replay_at_most".to_owned()));
    assert_eq!(with(|config| config.backoff.factor = f64::NAN), Err("retry.backoff.factor".to_owned()));
    assert_eq!(with(|config| config.backoff.base = Duration::ZERO), Err("retry.backoff.base".to_owned()));
    assert_eq!(with(|config| config.backoff.jitter = Jitter::Spread(-1.0)), Err("retry.backoff.jitter".to_owned()));
    assert_eq!(
        with(|config| config.budget = BudgetConfig::Share { ratio: f64::NAN, per_second: 1 }),
        Err("retry.budget.share.ratio".to_owned())
    );
}

#[test]
#[should_panic(expected = "invalid setting retry.max_attempts: 0 is not between 1 and 100")]
fn nonsense_in_code_panics_with_the_setting_and_its_range() {
    let _ = RetryLayer::new("test").max_attempts(0);
}

#[test]
#[should_panic(expected = "invalid setting retry.backoff.at_most: 1ms is not at least backoff.base")]
fn nonsense_in_a_backoff_panics_too() {
    let _ = RetryLayer::new("test").backoff(Backoff::default().at_most(MS));
}

#[test]
#[should_panic(expected = "a policy's name must not be empty")]
fn a_policy_has_a_name() {
    let _ = RetryLayer::new("");
}

#[test]
fn a_first_attempt_that_succeeds_does_not_allocate() {
    for budget in [Budget::default(), Budget::tokens(10, 0.1), Budget::costs()] {
        let mut service = RetryLayer::new("test").budget(budget).idempotent().layer(Echo);
        call_now(&mut service, 7_u64).unwrap();
        let calls = || (0..100).for_each(|_| drop(call_now(&mut service, 7_u64)));
        assert_eq!(allocations(calls), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn runs_without_tower_too() {
    let retry = Retry::new("test");
    let mut attempts = Vec::new();
    let result = retry
        .run(
            |attempt| {
                attempts.push(attempt.number());
                std::future::ready(Err::<(), _>(io::Error::from(io::ErrorKind::TimedOut)))
            },
            |error| error.kind() == io::ErrorKind::TimedOut,
        )
        .await;
    assert!(result.is_err());
    assert_eq!(attempts, [1, 2, 3]);
    let rejected = || std::future::ready(Err::<(), BoxError>(Rejection::new("p", "n", Reason::CircuitOpen).into()));
    assert!(retry.run(|_| rejected(), |_| true).await.is_err());
    assert_eq!((retry.snapshot().retries, retry.snapshot().gave_up_refused), (2, 1));
}
