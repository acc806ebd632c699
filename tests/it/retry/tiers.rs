//! Retry layers on top of each other.

use std::time::Duration;

use buttress::{
    BoxError, RetryLayer,
    budget::Budget,
    protocol::Plain,
    retry::{Idempotent, Stock},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use super::Script;

fn tier(name: &'static str, attempts: u32) -> RetryLayer<Plain, Idempotent<Stock>> {
    RetryLayer::new(name).max_attempts(attempts).idempotent()
}

fn failing(_: usize, _: &u32) -> Result<u32, BoxError> {
    Err("no luck".into())
}

#[tokio::test(start_paused = true)]
async fn three_tiers_of_three_attempts_make_three_calls() {
    let inner = Script::new(failing);
    let tiers = ["edge", "orders", "payments"].map(|name| tier(name, 3));
    let [edge, orders, payments] = tiers.each_ref().map(|layer| layer.handle());
    let [outer, middle, lowest] = tiers;
    let service = ServiceBuilder::new().layer(outer).layer(middle).layer(lowest).service(inner.clone());
    assert!(service.oneshot(1).await.is_err());
    assert_eq!(inner.calls(), 3);
    // The lowest tier made them, out of its own budget and the outermost one's.
    assert_eq!([&edge, &orders, &payments].map(|retry| retry.snapshot().retries), [0, 0, 2]);
    assert_eq!([&edge, &orders, &payments].map(|retry| retry.budget().available()), [98, 100, 98]);
    assert_eq!([&edge, &orders, &payments].map(|retry| retry.snapshot().gave_up_tiers), [1, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn the_tiers_make_no_more_attempts_than_the_most_patient_of_them() {
    for (outer, inner, calls) in [(3, 3, 3), (5, 3, 5), (3, 5, 5), (1, 3, 3), (3, 1, 3), (2, 2, 2)] {
        let script = Script::new(failing);
        let service = tier("outer", outer).layer(tier("inner", inner).layer(script.clone()));
        assert!(service.oneshot(1).await.is_err());
        assert_eq!(script.calls(), calls, "{outer} over {inner}");
    }
}

#[tokio::test(start_paused = true)]
async fn tiers_are_seen_through_handlers_in_the_same_task() {
    let script = Script::new(failing);
    let client = tier("client", 3).layer(script.clone());
    let handler = service_fn(move |request: u32| {
        let client = client.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            client.oneshot(request).await
        }
    });
    assert!(tier("server", 3).layer(handler).oneshot(1).await.is_err());
    assert_eq!(script.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_task_of_its_own_is_a_call_of_its_own() {
    let script = Script::new(failing);
    let client = tier("client", 3).layer(script.clone());
    let handler = service_fn(move |request: u32| {
        let client = client.clone();
        async move { tokio::spawn(client.oneshot(request)).await.unwrap() }
    });
    assert!(tier("server", 3).layer(handler).oneshot(1).await.is_err());
    assert_eq!(script.calls(), 9);
}

#[tokio::test(start_paused = true)]
async fn retries_below_that_helped_do_not_count_against_the_next_call() {
    let flaky = Script::new(
        |calls: usize, request: &u32| {
            if calls % 3 < 2 { Err(BoxError::from("no luck")) } else { Ok(*request) }
        },
    );
    let client = tier("client", 3).layer(flaky.clone());
    let handler = service_fn(move |request: u32| {
        let mut client = client.clone();
        async move {
            for _ in 0..4 {
                client.ready().await?.call(request).await?;
            }
            Ok::<_, BoxError>(request)
        }
    });
    tier("server", 3).layer(handler).oneshot(1).await.unwrap();
    assert_eq!(flaky.calls(), 12);
}

#[tokio::test(start_paused = true)]
async fn an_exhausted_outermost_budget_stops_the_retries_below() {
    let script = Script::new(failing);
    let outer = tier("outer", 3).budget(Budget::tokens(1, 0.001));
    outer.handle().budget().failed();
    let inner = tier("inner", 3);
    assert!(outer.layer(inner.layer(script.clone())).oneshot(1).await.is_err());
    assert_eq!(script.calls(), 1);
    // What the inner one had withdrawn already went back.
    assert_eq!(inner.handle().budget().available(), 100);
    assert_eq!(inner.handle().snapshot().gave_up_budget, 1);
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_tiers_share_is_charged_once_and_pays_once() {
    let budget = Budget::share(1.0, 0);
    let script = Script::new(failing);
    let [outer, inner] = ["outer", "inner"].map(|name| tier(name, 5).budget(budget.clone()));
    assert!(outer.layer(inner.layer(script.clone())).oneshot(1).await.is_err());
    // One call was made, so there is one retry.
    assert_eq!(script.calls(), 2);
}
