//! What is told, held to the table of events.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    fmt::Debug,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Body, routing::get};
use buttress::{
    BulkheadLayer, CircuitBreakerLayer, RetryLayer, TimeoutLayer, circuit_breaker::CircuitBreaker, standard,
};
use http::Request;
use tower::{ServiceBuilder, ServiceExt};
use tracing::{
    Dispatch, Event, Subscriber,
    dispatcher::DefaultGuard,
    field::{Empty, Field, Visit},
    info_span,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
};

use crate::{everything, table};

/// Catches this thread's events, and what spans are told, for as long as it lives.
struct Caught {
    told: Told,
    _default: DefaultGuard,
    /// With only one dispatcher, tracing would ask any thread's default whether anybody is interested.
    _another: Dispatch,
}

#[derive(Debug, Clone, Default)]
struct Told {
    events: Arc<Mutex<Vec<Said>>>,
    span: Arc<Mutex<Vec<String>>>,
}

/// An event: message, policy, level, and the names of its other fields.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    message: String,
    policy: String,
    level: String,
    fields: BTreeSet<String>,
}

impl Caught {
    fn from_here_on() -> Self {
        let told = Told::default();
        let subscriber = tracing_subscriber::registry().with(told.clone());
        let _another = Dispatch::new(tracing_subscriber::registry());
        Self { told, _default: tracing::subscriber::set_default(subscriber), _another }
    }

    fn events(&self) -> Vec<Said> {
        self.told.events.lock().unwrap().clone()
    }
}

impl<S: Subscriber> Layer<S> for Told {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if !event.metadata().target().starts_with("buttress::") {
            return;
        }
        let mut values = Values::default();
        event.record(&mut values);
        let names = event.metadata().fields().iter().map(|field| field.name().to_owned());
        let fields = names.filter(|name| !["message", "policy", "name"].contains(&&**name)).collect();
        let level = event.metadata().level().as_str().to_lowercase();
        let Values { message, policy, .. } = values;
        self.events.lock().unwrap().push(Said { message, policy, level, fields });
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let mut values = Values::default();
        attributes.record(&mut values);
        self.span.lock().unwrap().extend(values.all);
    }

    fn on_record(&self, _: &Id, record: &Record<'_>, _: Context<'_, S>) {
        let mut values = Values::default();
        record.record(&mut values);
        self.span.lock().unwrap().extend(values.all);
    }
}

#[derive(Default)]
struct Values {
    message: String,
    policy: String,
    all: Vec<String>,
}

impl Visit for Values {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "policy" => self.policy = format!("{value:?}").trim_matches('"').to_owned(),
            name => self.all.push(format!("{name}={value:?}")),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_event_of_the_table_is_told_and_no_other() {
    let caught = Caught::from_here_on();
    drop(everything::happens().await);

    let told: BTreeSet<Said> = caught
        .events()
        .into_iter()
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
            let [message, policy, level, fields, _when] = &row[..] else { panic!("not five columns: {row:?}") };
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

    let span = info_span!("call", buttress.attempts = Empty, buttress.elapsed = Empty);
    let _entered = span.enter();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new("payments").idempotent().max_attempts(2))
        .layer(TimeoutLayer::new("payments-attempt"))
        .service_fn(async |()| std::future::pending::<Result<(), Infallible>>().await);
    service.oneshot(()).await.unwrap_err();
    let attempt = "buttress.elapsed=\"payments-attempt\"";
    assert_eq!(spans()[1..], [attempt, attempt, "buttress.attempts=2"]);
}
