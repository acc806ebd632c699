//! What the numbers are.

use std::{convert::Infallible, time::Duration};

use axum::{Router, routing::get};
use buttress::{
    BulkheadLayer, CircuitBreakerLayer, Outcome, TimeoutLayer,
    bulkhead::Bulkhead,
    circuit_breaker::CircuitBreaker,
    metrics::{observe, observe_every},
};
use http::StatusCode;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::time::{advance, sleep};
use tower::{ServiceBuilder, ServiceExt};

use crate::scrape::{fetch, page, prometheus};

/// The value of the series of this name with all of these labels.
fn value(scrape: &str, metric: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
    let of_it =
        |line: &&str| line.starts_with(&format!("{metric}{{")) && labels.iter().all(|label| line.contains(label));
    scrape.lines().find(of_it).map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

fn now(metric: &str, name: &str, label: (&str, &str)) -> Option<f64> {
    observe();
    value(&prometheus().render(), metric, &[("name", name), label])
}

#[tokio::test]
async fn the_calls_of_a_server_are_counted_when_their_bodies_have_ended() {
    let _installed = prometheus();
    let app = Router::new()
        .route("/", get(async || "hello"))
        .route("/broken", get(async || StatusCode::INTERNAL_SERVER_ERROR))
        .layer(BulkheadLayer::http("served"))
        .layer(CircuitBreakerLayer::http("served"))
        .layer(TimeoutLayer::http("served"))
        .merge(page());
    fetch(app.clone(), "/", 3).await;
    fetch(app.clone(), "/broken", 2).await;
    let scrape = fetch(app, "/metrics", 1).await;
    for policy in ["bulkhead", "circuit_breaker"] {
        for (outcome, calls) in [("success", 3.0), ("failure", 2.0), ("cancelled", 0.0)] {
            let labels = [("policy", policy), ("name", "served"), ("outcome", outcome)];
            assert_eq!(value(&scrape, "buttress_calls_total", &labels), Some(calls), "{policy} {outcome}");
        }
    }
    for metric in ["buttress_timeout_first_byte_seconds_count", "buttress_timeout_exchange_seconds_count"] {
        assert_eq!(value(&scrape, metric, &[("name", "served")]), Some(5.0), "{metric}");
    }
    assert_eq!(value(&scrape, "buttress_circuit_breaker_window_failures", &[("name", "served")]), Some(2.0));
    assert_eq!(value(&scrape, "buttress_bulkhead_in_flight", &[("name", "served")]), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_was_made_before_the_recorder_was_installed_still_reports() {
    let breaker = CircuitBreaker::new("early");
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _installed = metrics::set_default_local_recorder(&recorder);
    breaker.try_acquire().unwrap().success();
    let labels = [("name", "early"), ("outcome", "success")];
    assert_eq!(value(&handle.render(), "buttress_calls_total", &labels), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn a_permit_counts_once_however_it_ends() {
    let _installed = prometheus();
    let bulkhead = Bulkhead::new("once");
    bulkhead.try_acquire().unwrap().record(Outcome::Success);
    drop(bulkhead.try_acquire().unwrap());
    let ended = |outcome| now("buttress_calls_total", "once", ("outcome", outcome));
    assert_eq!((ended("success"), ended("cancelled")), (Some(1.0), Some(1.0)));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_is_cancelled_and_nothing_else() {
    let _installed = prometheus();
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new("dropped"))
        .layer(CircuitBreakerLayer::new("dropped"))
        .layer(BulkheadLayer::new("dropped"))
        .service_fn(async |()| std::future::pending::<Result<(), Infallible>>().await);
    assert!(tokio::time::timeout(Duration::from_millis(1), service.oneshot(())).await.is_err());
    for policy in ["circuit_breaker", "bulkhead"] {
        for (outcome, calls) in [("success", 0.0), ("failure", 0.0), ("ignored", 0.0), ("cancelled", 1.0)] {
            let labels = [("policy", policy), ("name", "dropped"), ("outcome", outcome)];
            assert_eq!(value(&prometheus().render(), "buttress_calls_total", &labels), Some(calls), "{policy}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_queued_is_timed_and_who_did_not_is_not() {
    let _installed = prometheus();
    let bulkhead = BulkheadLayer::new("queue").max_concurrent(1).max_wait(Duration::from_secs(10)).handle();
    let first = bulkhead.acquire().await.unwrap();
    let waits = tokio::spawn({
        let bulkhead = bulkhead.clone();
        async move { bulkhead.acquire().await.unwrap() }
    });
    sleep(Duration::from_secs(2)).await;
    drop(first);
    drop(waits.await.unwrap());
    let scrape = prometheus().render();
    let queued = |suffix| value(&scrape, &format!("buttress_bulkhead_queue_seconds_{suffix}"), &[("name", "queue")]);
    assert_eq!((queued("count"), queued("sum")), (Some(1.0), Some(2.0)));
}

#[tokio::test(start_paused = true)]
async fn the_gauges_of_one_name_are_added_up_and_go_to_zero_with_the_last() {
    let _installed = prometheus();
    let state = |state| now("buttress_circuit_breaker_state", "two", ("state", state));
    let breakers = [CircuitBreaker::new("two"), CircuitBreaker::new("two")];
    breakers[0].force_open();
    assert_eq!((state("closed"), state("forced_open"), state("open")), (Some(1.0), Some(1.0), Some(0.0)));
    breakers[1].force_open();
    assert_eq!((state("closed"), state("forced_open")), (Some(0.0), Some(2.0)));
    drop(breakers);
    assert_eq!((state("closed"), state("forced_open")), (Some(0.0), Some(0.0)));
}

#[tokio::test(start_paused = true)]
async fn the_states_of_a_keyed_breaker_are_those_of_its_keys() {
    let _installed = prometheus();
    let keyed = CircuitBreakerLayer::new("keys").keyed(|key: &u32| *key).handle();
    (0..3).for_each(|key| keyed.try_acquire(&key).unwrap().success());
    keyed.get(&1).unwrap().force_open();
    let state = |state| now("buttress_circuit_breaker_state", "keys", ("state", state));
    assert_eq!((state("closed"), state("forced_open")), (Some(2.0), Some(1.0)));
    assert_eq!(now("buttress_calls_total", "keys", ("outcome", "success")), Some(3.0), "all keys count together");
}

#[tokio::test(start_paused = true)]
async fn a_task_keeps_the_gauges_up_to_date() {
    let _installed = prometheus();
    let bulkhead = Bulkhead::new("task");
    let in_flight = || value(&prometheus().render(), "buttress_bulkhead_in_flight", &[("name", "task")]);
    let task = tokio::spawn(observe_every(Duration::from_secs(5)));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(in_flight(), Some(0.0), "at once");
    let _permit = bulkhead.try_acquire().unwrap();
    advance(Duration::from_secs(5)).await;
    sleep(Duration::from_millis(1)).await;
    assert_eq!(in_flight(), Some(1.0));
    task.abort();
}

#[test]
#[should_panic(expected = "longer than zero")]
fn a_period_of_nothing_is_refused_where_it_is_asked_for() {
    drop(observe_every(Duration::ZERO));
}
