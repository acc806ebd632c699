//! What is told, held to the table of events.

use std::{collections::BTreeSet, convert::Infallible};

use axum::{Router, body::Body, routing::get};
use buttress::{
    BoxError, BulkheadLayer, CircuitBreakerLayer, FallbackLayer, HedgeLayer, RateLimitLayer, RetryLayer, TimeoutLayer,
    circuit_breaker::CircuitBreaker,
    saga::{Coordinator, Saga, SagaError},
    standard,
};
use http::Request;
use tower::{ServiceBuilder, ServiceExt};
use tracing::{field::Empty, info_span};

use crate::{
    caught::{Caught, Said},
    everything, table,
};

#[test]
fn every_event_of_the_table_is_told_and_no_other() {
    let told: BTreeSet<Said> = everything::happened()
        .events
        .iter()
        .cloned()
        .map(|mut said| {
            if said.message.contains(" -> ") {
                let to = if said.level == "warn" { "Closed -> Open (...)" } else { "Open -> HalfOpen (...)" };
                said.message = to.to_owned();
            }
            said
        })
        .collect();
    let documented: BTreeSet<Said> = table::rows("event")
        .into_iter()
        .map(|row| {
            let [message, policy, level, fields, _metric, _when] = &row[..] else { panic!("not six columns: {row:?}") };
            let first = |cell| table::quoted(cell).next().unwrap();
            let fields = table::quoted(fields).collect();
            Said { message: first(message), policy: first(policy), level: level.clone(), fields }
        })
        .collect();
    let untold: Vec<_> = documented.difference(&told).collect();
    let undocumented: Vec<_> = told.difference(&documented).collect();
    assert!(untold.is_empty() && undocumented.is_empty(), "not told: {untold:#?}\nnot in the table: {undocumented:#?}");
}

#[tokio::test]
async fn the_happy_path_tells_nothing_at_info_or_above() {
    let caught = Caught::from_here_on();
    for _ in 0..200 {
        let plain = ServiceBuilder::new()
            .layer(standard::new("happy").retry(|retry| retry.idempotent()))
            .layer(CircuitBreakerLayer::new("happy").keyed(|_: &u32| "key"))
            .layer(BulkheadLayer::new("happy").partition("tenant", 0.5).partition_by(|_: &u32| "tenant"))
            .service_fn(async |n: u32| Ok::<_, Infallible>(n));
        plain.oneshot(7).await.unwrap();
    }
    let app = Router::new()
        .route("/", get(async || "hello"))
        .layer(BulkheadLayer::http("happy"))
        .layer(CircuitBreakerLayer::http("happy"))
        .layer(RetryLayer::http("happy"))
        .layer(TimeoutLayer::http("happy"));
    let answer = app.oneshot(Request::new(Body::empty())).await.unwrap();
    axum::body::to_bytes(answer.into_body(), 100).await.unwrap();

    let plain = ServiceBuilder::new()
        .layer(FallbackLayer::new("happy").value(7))
        .layer(HedgeLayer::new("happy").idempotent())
        .layer(RateLimitLayer::new("happy"))
        .service_fn(async |n: u32| Ok::<_, Infallible>(n));
    plain.oneshot(7).await.unwrap();
    let coordinator = Coordinator::in_memory().start().await.unwrap();
    let done: Result<(), SagaError> = coordinator
        .scope("happy", async |saga: Saga| saga.step("step").run(async |_| Ok::<_, BoxError>(())).await)
        .await;
    done.unwrap();
    assert!(coordinator.drain(std::time::Duration::from_secs(10)).await.unwrap().in_time);

    let loud: Vec<_> = caught.events().into_iter().filter(|said| !["debug", "trace"].contains(&&*said.level)).collect();
    assert!(loud.is_empty(), "{loud:#?}");
}

#[tokio::test(start_paused = true)]
async fn the_current_span_learns_what_happened_if_it_declares_the_field() {
    let caught = Caught::from_here_on();
    let spans = || caught.told.span.lock().unwrap().clone();
    let breaker = CircuitBreaker::new("payments");
    breaker.force_open();
    info_span!("call").in_scope(|| breaker.try_acquire().unwrap_err());
    assert_eq!(spans(), [""; 0], "a span that doesn't declare it");
    info_span!("call", buttress.rejected = Empty).in_scope(|| breaker.try_acquire().unwrap_err());
    assert_eq!(spans(), ["buttress.rejected=circuit_breaker payments: circuit_open"]);
    let limit = RateLimitLayer::new("payments").limit(1, std::time::Duration::from_secs(1)).handle();
    limit.try_acquire().unwrap();
    info_span!("call", buttress.rejected = Empty).in_scope(|| limit.try_acquire().unwrap_err());
    assert_eq!(spans()[1..], ["buttress.rejected=rate_limit payments: rate_limited"]);

    let span = info_span!("call", buttress.attempts = Empty, buttress.elapsed = Empty);
    let _entered = span.enter();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new("payments").idempotent().max_attempts(2))
        .layer(TimeoutLayer::new("payments-attempt"))
        .service_fn(async |()| std::future::pending::<Result<(), Infallible>>().await);
    service.oneshot(()).await.unwrap_err();
    let attempt = "buttress.elapsed=\"payments-attempt\"";
    assert_eq!(spans()[2..], [attempt, attempt, "buttress.attempts=2"]);
}

#[test]
fn every_event_of_a_decision_says_which_metric_counts_it_and_that_one_does() {
    let page = &everything::happened().page;
    for row in table::rows("event") {
        let (message, metric) = (&row[0], table::quoted(&row[4]).next());
        let Some(metric) = metric else {
            // What people decide, or put together wrongly; and what becomes of a file.
            let told = ["settings changed", "nothing is hedged", "route has no SagaLayer", "migrating"];
            assert!(told.iter().any(|told| message.contains(told)), "{message} is counted by nothing");
            continue;
        };
        let policy = table::quoted(&row[1]).next().unwrap();
        // What a call in a step says, the saga's step counts.
        let policy = if policy == "step" { "saga" } else { &policy };
        let label = format!("{{policy=\"{policy}\",");
        let counts = |line: &str| {
            let series =
                [&*metric, &format!("{metric}_count")].iter().any(|of| line.starts_with(&format!("{of}{label}")));
            series && !line.ends_with(" 0")
        };
        assert!(page.lines().any(counts), "{message}: {metric} of {policy} counts nothing");
    }
}
