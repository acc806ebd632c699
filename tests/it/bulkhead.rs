//! The bulkhead layer, in dialogue.

mod adaptive;
mod bodies;
mod carried;
mod crowd;
mod keyed;
mod order;
mod partitions;
mod pause;
mod queue;

use std::{task::Poll, time::Duration};

use buttress::{
    BoxError, BulkheadLayer, Reason, Rejection,
    bulkhead::{Bulkhead, BulkheadConfig, BulkheadService, WhenFull},
    protocol::Plain,
};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service};
use tower_test::{assert_request_eq, mock};
use tracing_subscriber::filter::LevelFilter;

use crate::support::{events::Events, gate::Gate};

type Mock = mock::Mock<&'static str, &'static str>;

/// A service behind `layer`, and the other end of the dialogue.
fn spawn(
    layer: &BulkheadLayer,
) -> (mock::Spawn<BulkheadService<Mock, Plain>>, mock::Handle<&'static str, &'static str>) {
    mock::spawn_with(|inner| layer.layer(inner))
}

/// How many are inside, and how many wait.
fn counts(bulkhead: &Bulkhead) -> (usize, usize) {
    let snapshot = bulkhead.snapshot();
    (snapshot.in_flight, snapshot.waiting)
}

fn reason(error: &BoxError) -> Reason {
    Rejection::find(error).expect("a rejection").reason()
}

/// Makes the service ready and calls it.
macro_rules! call {
    ($service:expr, $request:expr) => {{
        assert_ready_ok!($service.poll_ready());
        task::spawn($service.call($request))
    }};
}
use call;

#[tokio::test(start_paused = true)]
async fn refuses_at_once_and_without_calling_the_service() {
    let layer = BulkheadLayer::new("lookup").max_concurrent(1);
    let (mut service, mut handle) = spawn(&layer);
    let mut first = call!(service, "first");
    let mut second = call!(service, "second");

    let error = assert_ready_err!(second.poll());
    let rejection = Rejection::find(&error).unwrap();
    assert_eq!((rejection.policy(), rejection.name().as_str()), ("bulkhead", "lookup"));
    assert_eq!(rejection.reason(), Reason::BulkheadFull);
    assert_eq!(error.to_string(), "lookup: bulkhead full");

    assert_request_eq!(handle, "first").send_response("done");
    assert_eq!(assert_ready_ok!(first.poll()), "done");
    assert_pending!(handle.poll_request());
    assert_eq!(layer.handle().snapshot().rejected.full, 1);
}

#[tokio::test(start_paused = true)]
async fn asks_only_the_inner_service_whether_it_is_ready() {
    let layer = BulkheadLayer::new("b").max_concurrent(1);
    let (mut service, mut handle) = spawn(&layer);
    let _all = layer.handle().try_acquire().unwrap();
    handle.allow(0);
    assert_pending!(service.poll_ready());
    handle.allow(1);
    assert_ready_ok!(service.poll_ready(), "full, and ready to say so");
}

#[tokio::test(start_paused = true)]
async fn gives_the_permit_back_however_the_call_ends() {
    let layer = BulkheadLayer::new("b").max_concurrent(1);
    let bulkhead = layer.handle();
    let (mut service, mut handle) = spawn(&layer);

    let mut succeeds = call!(service, "succeeds");
    assert_request_eq!(handle, "succeeds").send_response("done");
    assert_eq!(counts(&bulkhead), (1, 0));
    assert_ready_ok!(succeeds.poll());
    assert_eq!(counts(&bulkhead), (0, 0), "before the future is dropped");

    let mut fails = call!(service, "fails");
    assert_request_eq!(handle, "fails").send_error("broken");
    assert_eq!(assert_ready_err!(fails.poll()).to_string(), "broken");
    assert_eq!(counts(&bulkhead), (0, 0));

    let mut dropped = call!(service, "dropped");
    assert_pending!(dropped.poll());
    assert_eq!(counts(&bulkhead), (1, 0));
    drop(dropped);
    assert_eq!(counts(&bulkhead), (0, 0));

    let never_polled = call!(service, "never polled");
    assert_eq!(counts(&bulkhead), (1, 0));
    drop(never_polled);
    assert_eq!(counts(&bulkhead), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_service_gives_the_permit_back() {
    let layer = BulkheadLayer::new("b").max_concurrent(1);
    let mut service = layer.layer(Gate::open());
    // Not made ready, which the inner service doesn't forgive.
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(service.call(1))));
    assert!(panic.is_err());
    assert_eq!(counts(&layer.handle()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn whatever_one_layer_is_applied_to_shares_one_limit() {
    let layer = BulkheadLayer::new("b").max_concurrent(3);
    let gate = Gate::shut();
    let mut calls: Vec<_> = (0..20)
        .map(|number| {
            let mut service = mock::Spawn::new(layer.clone().layer(gate.clone()));
            call!(service, number)
        })
        .collect();
    let refused = calls.iter_mut().map(|call| call.poll()).filter(Poll::is_ready).count();
    assert_eq!((gate.inside(), refused), (3, 17));
}

#[tokio::test(start_paused = true)]
async fn a_limit_can_be_lowered_and_raised_under_running_calls() {
    let layer = BulkheadLayer::new("b").max_concurrent(3);
    let bulkhead = layer.handle();
    let gate = Gate::shut();
    let mut service = mock::Spawn::new(layer.layer(gate.clone()));
    let [mut first, mut second, mut third] = [call!(service, 0), call!(service, 1), call!(service, 2)];
    for call in [&mut first, &mut second, &mut third] {
        assert_pending!(call.poll());
    }

    let layer = layer.max_concurrent(1);
    assert_eq!((bulkhead.snapshot().limit, gate.inside()), (1, 3), "nobody is put out");
    gate.let_go(2);
    assert_ready_ok!(first.poll());
    assert_ready_ok!(second.poll());
    assert_ready_err!(call!(service, 3).poll(), "one is inside, and no more may be");

    let _layer = layer.max_concurrent(2);
    assert_pending!(call!(service, 4).poll());
    assert_pending!(third.poll());
    assert_eq!(bulkhead.config().max_concurrent, 2);
}

#[test]
fn settings_that_make_no_sense_change_nothing() {
    let bulkhead = Bulkhead::new("b");
    let mut config = bulkhead.config();
    config.max_concurrent = 7;
    config.max_queue = 0;
    let error = bulkhead.reconfigure(config).unwrap_err();
    assert_eq!(error.setting(), "bulkhead.max_queue");
    assert_eq!(bulkhead.config(), BulkheadConfig::default());
    assert_eq!(bulkhead.snapshot().limit, 25);
}

#[test]
#[should_panic(expected = "invalid setting bulkhead.max_concurrent: 0 is not between 1 and 1000000")]
fn a_limit_of_zero_is_refused() {
    let _ = BulkheadLayer::http("orders").max_concurrent(0);
}

#[test]
#[should_panic(expected = "invalid setting bulkhead.max_queue: 0 is not between 1 and 1000000")]
fn a_queue_of_no_places_is_refused() {
    let _ = BulkheadLayer::new("orders").max_queue(0);
}

#[test]
#[should_panic(expected = "invalid setting bulkhead.max_wait")]
fn a_wait_of_ages_is_refused() {
    let _ = BulkheadLayer::grpc("orders").max_wait(Duration::MAX);
}

#[test]
#[should_panic(expected = "a policy's name must not be empty")]
fn a_bulkhead_without_a_name_is_refused() {
    let _ = BulkheadLayer::new("");
}

#[test]
fn can_be_shown() {
    let layer = BulkheadLayer::new("orders").max_concurrent(2);
    let _permit = layer.handle().try_acquire().unwrap();
    let expected = r#"BulkheadLayer(Bulkhead { name: "orders", limit: 2, in_flight: 1, waiting: 0, .. })"#;
    assert_eq!(format!("{layer:?}"), expected);
    assert!(format!("{:?}", layer.layer(Gate::shut())).contains("place: None"));
}

#[test]
fn goes_where_services_go() {
    fn check<T: Clone + Send + Sync + 'static>(_: &T) {}
    fn check_future<T: Send>(_: &T) {}
    let layer = BulkheadLayer::http("b");
    check(&layer);
    check(&layer.handle());
    let mut service = mock::Spawn::new(BulkheadLayer::new("b").layer(Gate::shut()));
    check(service.get_ref());
    check_future(&call!(service, 7));
}

// ===== without tower =====

#[tokio::test(start_paused = true)]
async fn gives_permits_without_tower() {
    let bulkhead = Bulkhead::new("b");
    let mut config = bulkhead.config();
    config.max_concurrent = 1;
    bulkhead.reconfigure(config.clone()).unwrap();

    let permit = bulkhead.acquire().await.unwrap();
    assert_eq!(bulkhead.try_acquire().unwrap_err().reason(), Reason::BulkheadFull);
    assert_eq!(bulkhead.acquire().await.unwrap_err().reason(), Reason::BulkheadFull, "as it comes, nobody waits");

    config.max_wait = Duration::from_millis(10);
    config.max_queue = 1;
    bulkhead.reconfigure(config.clone()).unwrap();
    let started = tokio::time::Instant::now();
    let mut waits = task::spawn(bulkhead.acquire());
    assert_pending!(waits.poll());
    assert_eq!(bulkhead.acquire().await.unwrap_err().reason(), Reason::QueueFull);
    assert_eq!((&mut waits).await.unwrap_err().reason(), Reason::WaitExpired);
    assert_eq!(started.elapsed(), Duration::from_millis(10));
    drop(waits);

    config.when_full = WhenFull::Pause;
    bulkhead.reconfigure(config).unwrap();
    let mut waits = task::spawn(bulkhead.acquire());
    assert_pending!(waits.poll());
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_pending!(waits.poll(), "max_wait is not for those who pause");
    drop(permit);
    assert!(waits.is_woken());
    drop(assert_ready_ok!(waits.poll()));
    assert_eq!(counts(&bulkhead), (0, 0));
}

// ===== what it tells =====

#[test]
fn tells_of_a_refusal_and_a_change_and_is_silent_otherwise() {
    let events = Events::at(LevelFilter::DEBUG);
    let layer = BulkheadLayer::new("told").max_concurrent(1);
    let permit = layer.handle().try_acquire().unwrap();
    assert_eq!(events.take(), "", "neither setting up nor accepting is an event");

    assert!(layer.handle().try_acquire().is_err());
    let refusal = events.take();
    assert!(refusal.trim_start().starts_with("DEBUG"), "{refusal}");
    let fields = r#"call refused policy="bulkhead" name="told" reason="bulkhead_full" limit=1 in_flight=1 waiting=0"#;
    assert!(refusal.contains(fields), "{refusal}");

    let layer = layer.max_concurrent(2);
    let change = events.take();
    assert!(change.trim_start().starts_with("INFO"), "{change}");
    assert!(change.contains("settings changed"), "{change}");
    let _layer = layer.max_concurrent(2);
    drop(permit);
    assert_eq!(events.take(), "");
}
