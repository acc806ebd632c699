//! What the numbers are.

use std::{convert::Infallible, time::Duration};

use axum::{Router, routing::get};
use buttress::{
    BoxError, BulkheadLayer, CircuitBreakerLayer, FallbackLayer, Outcome, RateLimitLayer, TimeoutLayer,
    bulkhead::Bulkhead,
    circuit_breaker::CircuitBreaker,
    fallback::Failure,
    metrics::{observe, observe_every},
    saga::{
        Call, Coordinator, CoordinatorBuilder, CoordinatorConfig, Saga, SagaError,
        journal::{
            Filter, Journal, JournalError, Lookup, MemoryJournal, Needs, Record, SagaRow, State, Write, Written,
        },
    },
    step::SagaId,
};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Full};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::time::{advance, sleep};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use crate::scrape::{fetch, page, prometheus};

/// The value of the series of this name with all of these labels.
pub(crate) fn value(scrape: &str, metric: &str, labels: &[(&str, &str)]) -> Option<f64> {
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
async fn who_waits_for_a_rate_limit_and_what_it_has_left_can_be_seen() {
    let _installed = prometheus();
    let limit = RateLimitLayer::new("seen").limit(5, Duration::from_secs(1)).max_wait(Duration::from_secs(9)).handle();
    let gauge = |gauge| now(&format!("buttress_rate_limit_{gauge}"), "seen", ("policy", "rate_limit"));
    assert_eq!((gauge("available"), gauge("waiting")), (Some(5.0), Some(0.0)));
    limit.try_acquire_many(3).unwrap();
    assert_eq!(gauge("available"), Some(2.0));
    limit.try_acquire_many(2).unwrap();
    let mut waits = [0; 3].map(|_| tokio_test::task::spawn(limit.acquire()));
    waits.iter_mut().for_each(|wait| assert!(wait.poll().is_pending()));
    assert_eq!((gauge("available"), gauge("waiting")), (Some(0.0), Some(3.0)));
    drop(waits);
    assert_eq!(gauge("waiting"), Some(0.0));
    assert_eq!(now("buttress_calls_cancelled_total", "seen", ("policy", "rate_limit")), Some(3.0));
}

#[tokio::test(start_paused = true)]
async fn a_fallback_is_under_way_to_the_end_of_its_body() {
    let _installed = prometheus();
    let broken = service_fn(async |_: http::Request<()>| {
        Ok::<_, Infallible>(http::Response::builder().status(500).body(Full::<Bytes>::default()).unwrap())
    });
    let layer = FallbackLayer::http("under way")
        .with(async |_: http::request::Parts, _: Failure| http::Response::new(Full::<Bytes>::from("instead")));
    let answer = layer.layer(broken).oneshot(http::Request::new(())).await.unwrap();
    let under_way = || now("buttress_fallback_in_flight", "under way", ("policy", "fallback"));
    assert_eq!(under_way(), Some(1.0));
    answer.into_body().collect().await.unwrap();
    assert_eq!(under_way(), Some(0.0));
}

const TAKE_BACK: Call<()> = Call::new("counts.take-back");

fn impatient(journal: &MemoryJournal) -> CoordinatorBuilder {
    let mut config = CoordinatorConfig::default();
    config.undo_attempts = 1;
    let never = service_fn(async |()| Err::<(), BoxError>("never".into()));
    Coordinator::with_inline_journal(journal.clone()).config(config).on(TAKE_BACK, never)
}

#[tokio::test(start_paused = true)]
async fn sagas_are_in_flight_until_they_are_at_rest_and_how_long_that_took_is_known() {
    let _installed = prometheus();
    let coordinator = Coordinator::in_memory().start().await.unwrap();
    let saga = |metric: &str| now(&format!("buttress_saga_{metric}"), "timed", ("policy", "saga"));
    let sagas = [1, 2, 3].map(|seconds| {
        let coordinator = coordinator.clone();
        tokio::spawn(async move {
            let done: Result<(), SagaError> = coordinator
                .scope("timed", async move |saga: Saga| {
                    let sleeps = async |_| {
                        sleep(Duration::from_secs(seconds)).await;
                        Ok::<_, BoxError>(())
                    };
                    saga.step("sleep").run(sleeps).await
                })
                .await;
            done.unwrap();
        })
    });
    sleep(Duration::from_millis(1_500)).await;
    assert_eq!((saga("begun_total"), saga("in_flight")), (Some(3.0), Some(2.0)));
    for saga in sagas {
        saga.await.unwrap();
    }
    assert_eq!((saga("in_flight"), saga("seconds_count"), saga("seconds_sum")), (Some(0.0), Some(3.0), Some(6.0)));
}

#[tokio::test(start_paused = true)]
async fn parked_sagas_are_shown_by_whoever_has_the_journal_until_somebody_sees_to_them() {
    let _installed = prometheus();
    let journal = MemoryJournal::new();
    let parked = || now("buttress_saga_parked", "to be parked", ("policy", "saga"));
    let first = impatient(&journal).start().await.unwrap();
    for _ in 0..3 {
        let failed: Result<(), SagaError> = first
            .scope("to be parked", async |saga: Saga| {
                saga.step("reserve").undo(TAKE_BACK, |_| ()).run(async |_| Err::<(), BoxError>("no".into())).await
            })
            .await;
        failed.unwrap_err();
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(parked(), Some(3.0));
    first.drain(Duration::from_secs(1)).await.unwrap();
    drop(first);
    tokio::task::yield_now().await;
    let second = impatient(&journal).start().await.unwrap();
    assert_eq!(parked(), Some(3.0), "they stay so over a restart");
    let filter = Filter { state: Some(State::Parked), name: None, before: None, limit: 1 };
    second.abandon(second.sagas(filter).await.unwrap()[0].id, "it is gone").await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(parked(), Some(2.0));
}

/// A journal that takes no write before it is told to.
struct Held(MemoryJournal, std::sync::mpsc::Receiver<()>);

impl Journal for Held {
    fn write(&mut self, batch: &[Write]) -> Result<Vec<Written>, JournalError> {
        self.1.recv().unwrap();
        self.0.write(batch)
    }

    fn reader(&self) -> Result<Box<dyn Lookup + Send>, JournalError> {
        self.0.reader()
    }
}

impl Lookup for Held {
    fn saga(&mut self, id: SagaId) -> Result<Option<SagaRow>, JournalError> {
        self.0.saga(id)
    }

    fn by_key(&mut self, scope_key: &str) -> Result<Option<SagaRow>, JournalError> {
        self.0.by_key(scope_key)
    }

    fn records(&mut self, id: SagaId) -> Result<Vec<Record>, JournalError> {
        self.0.records(id)
    }

    fn list(&mut self, filter: &Filter) -> Result<Vec<SagaRow>, JournalError> {
        self.0.list(filter)
    }

    fn needs(&mut self) -> Result<Needs, JournalError> {
        self.0.needs()
    }
}

#[tokio::test]
async fn what_waits_for_the_journal_and_how_much_it_takes_at_once_can_be_seen() {
    let _installed = prometheus();
    let (go, held) = std::sync::mpsc::channel();
    // The first transaction is that of the start.
    go.send(()).unwrap();
    let mut config = CoordinatorConfig::default();
    config.lease = Duration::from_secs(3600);
    let builder = Coordinator::with_journal(Held(MemoryJournal::new(), held)).named("held").config(config);
    let coordinator = builder.start().await.unwrap();
    let journal = |metric: &str| now(&format!("buttress_saga_journal_{metric}"), "held", ("policy", "saga_journal"));
    assert_eq!((journal("batch_writes_count"), journal("batch_writes_sum")), (Some(1.0), Some(1.0)));
    let steps = async |coordinator: Coordinator| {
        coordinator
            .scope::<(), SagaError, _>("held", async |saga: Saga| {
                saga.step("s").run(async |_| Ok::<_, BoxError>(())).await
            })
            .await
    };
    let first = tokio::spawn(steps(coordinator.clone()));
    while journal("waiting") != Some(1.0) {
        tokio::task::yield_now().await;
    }
    let others = [(); 6].map(|()| tokio::spawn(steps(coordinator.clone())));
    while journal("waiting") != Some(7.0) {
        tokio::task::yield_now().await;
    }
    (0..100).for_each(|_| go.send(()).unwrap());
    first.await.unwrap().unwrap();
    for other in others {
        other.await.unwrap().unwrap();
    }
    let (batches, writes) = (journal("batch_writes_count").unwrap(), journal("batch_writes_sum").unwrap());
    // A saga of one step is begun, committed, and at rest.
    assert!(writes >= 14.0 && batches < writes, "{batches} transactions took {writes} writes");
    assert_eq!((journal("waiting"), journal("write_seconds_count")), (Some(0.0), Some(batches)));
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
