//! The rate limit layer, in dialogue.

mod keyed;
mod queue;
mod wire;

use std::time::Duration;

use buttress::{
    BoxError, RateLimitLayer, Reason, Rejection,
    protocol::Plain,
    rate_limit::{RateLimit, RateLimitConfig, RateLimitService},
};
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service};
use tower_test::{assert_request_eq, mock};
use tracing_subscriber::filter::LevelFilter;

use crate::support::events::Events;

type Mock = mock::Mock<&'static str, &'static str>;

const SECOND: Duration = Duration::from_secs(1);

/// A service behind `layer`, and the other end of the dialogue.
fn spawn(
    layer: &RateLimitLayer,
) -> (mock::Spawn<RateLimitService<Mock, Plain>>, mock::Handle<&'static str, &'static str>) {
    mock::spawn_with(|inner| layer.layer(inner))
}

fn rejection(error: &BoxError) -> &Rejection {
    Rejection::find(error).expect("a rejection")
}

/// Makes the service ready and calls it.
macro_rules! call {
    ($service:expr, $request:expr) => {{
        assert_ready_ok!($service.poll_ready());
        task::spawn($service.call($request))
    }};
}
use call;

/// How many of a thousand calls come through now.
fn through(limit: &RateLimit) -> usize {
    (0..1_000).filter(|_| limit.try_acquire().is_ok()).count()
}

#[tokio::test(start_paused = true)]
async fn lets_a_hundred_a_second_through_by_default() {
    let limit = RateLimitLayer::new("default").handle();
    let config = limit.config();
    assert_eq!((config.limit, config.per, config.burst), (100, SECOND, None));
    assert_eq!((config.max_wait, config.max_queue, config.announce), (Duration::ZERO, 100, false));
    assert_eq!(through(&limit), 100);
    advance(SECOND / 2).await;
    assert_eq!(through(&limit), 50);
    advance(10 * SECOND).await;
    assert_eq!(through(&limit), 100, "what isn't used is kept up to the burst");
}

#[tokio::test(start_paused = true)]
async fn refuses_at_once_and_without_calling_the_service() {
    let layer = RateLimitLayer::new("geocode").limit(2, SECOND).burst(1);
    let (mut service, mut handle) = spawn(&layer);
    let mut first = call!(service, "first");
    let error = assert_ready_err!(call!(service, "second").poll());
    assert_eq!((rejection(&error).policy(), rejection(&error).name().as_str()), ("rate_limit", "geocode"));
    assert_eq!(rejection(&error).reason(), Reason::RateLimited);
    assert_eq!(rejection(&error).retry_after(), Some(SECOND / 2));
    assert_eq!(error.to_string(), "geocode: rate limit exceeded");

    assert_request_eq!(handle, "first").send_response("done");
    assert_eq!(assert_ready_ok!(first.poll()), "done");
    assert_pending!(handle.poll_request());
    let snapshot = layer.handle().snapshot();
    assert_eq!((snapshot.allowed, snapshot.refused, snapshot.waited, snapshot.available), (1, 1, 0, 0));

    // And who comes back when it was told gets through.
    advance(SECOND / 2).await;
    assert_pending!(call!(service, "third").poll());
    assert_request_eq!(handle, "third");
}

#[tokio::test(start_paused = true)]
async fn asks_only_the_inner_service_whether_it_is_ready() {
    let layer = RateLimitLayer::new("l").limit(1, SECOND);
    let (mut service, mut handle) = spawn(&layer);
    layer.handle().try_acquire().unwrap();
    handle.allow(0);
    assert_pending!(service.poll_ready());
    handle.allow(1);
    assert_ready_ok!(service.poll_ready(), "used up, and ready to say so");
    handle.send_error("broken");
    assert_eq!(assert_ready_err!(service.poll_ready()).to_string(), "broken");
}

#[tokio::test(start_paused = true)]
async fn a_call_counts_for_what_it_weighs() {
    let layer = RateLimitLayer::new("l").limit(10, SECOND).weigh(|request: &&str| request.len() as u32);
    let limit = layer.handle();
    let (mut service, _handle) = mock::spawn_with(|inner: Mock| layer.layer(inner));
    let _heavy = call!(service, "sevenfold");
    assert_eq!(limit.snapshot().available, 1);
    let error = assert_ready_err!(call!(service, "four").poll());
    assert_eq!(rejection(&error).retry_after(), Some(Duration::from_millis(300)));
    let _light = call!(service, "1");
    let _nothing = call!(service, "");
    assert_eq!((limit.snapshot().available, limit.snapshot().allowed), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn what_weighs_more_than_the_burst_is_refused_and_a_warning_says_so() {
    let events = Events::at(LevelFilter::WARN);
    let limit = RateLimitLayer::new("uploads").limit(10, SECOND).max_wait(10 * SECOND).handle();
    for refused in [limit.try_acquire_many(11), limit.acquire_many(u32::MAX).await] {
        let refused = refused.unwrap_err();
        assert_eq!((refused.reason(), refused.retry_after()), (Reason::RateLimited, None), "it never may come");
    }
    let told = events.take();
    assert!(told.contains("WARN") && told.contains("weight=11 burst=10") && told.contains("uploads"), "{told}");
    assert_eq!(through(&limit), 10, "and has taken nothing");
}

#[tokio::test(start_paused = true)]
async fn a_call_counts_however_it_ends() {
    let layer = RateLimitLayer::new("l").limit(10, SECOND);
    let (mut service, mut handle) = spawn(&layer);
    let mut fails = call!(service, "fails");
    assert_request_eq!(handle, "fails").send_error("broken");
    assert_eq!(assert_ready_err!(fails.poll()).to_string(), "broken");
    drop(call!(service, "dropped"));
    assert_eq!(layer.handle().snapshot().available, 8);
}

#[tokio::test(start_paused = true)]
async fn new_settings_hold_at_once_and_what_was_used_stays_used() {
    let layer = RateLimitLayer::new("l").limit(100, SECOND);
    let limit = layer.handle();
    (0..60).for_each(|_| limit.try_acquire().unwrap());
    let mut config = limit.config();
    config.limit = 80;
    limit.reconfigure(config.clone()).unwrap();
    assert_eq!(limit.snapshot().available, 20);
    config.per = Duration::ZERO;
    let error = limit.reconfigure(config).unwrap_err();
    assert_eq!(error.setting(), "rate_limit.per");
    assert_eq!(limit.config().per, SECOND, "nothing changed");

    // A setter on a layer whose handle is out changes the one shared limit.
    let _layer = layer.limit(10, SECOND);
    assert_eq!(through(&limit), 0);
    advance(SECOND).await;
    assert_eq!(through(&limit), 10);
}

#[tokio::test(start_paused = true)]
async fn every_decision_is_an_event_and_the_happy_path_is_quiet() {
    let events = Events::at(LevelFilter::TRACE);
    let layer = RateLimitLayer::new("geocode").limit(1, SECOND).max_wait(SECOND).max_queue(1);
    let limit = layer.handle();
    events.take();
    limit.try_acquire().unwrap();
    assert_eq!(events.take(), "");
    let mut waits = task::spawn(limit.acquire());
    assert_pending!(waits.poll());
    let told = events.take();
    assert!(told.contains("TRACE") && told.contains("waiting for its turn") && told.contains("waiting=1"), "{told}");
    assert_ready_err!(task::spawn(limit.acquire()).poll());
    let told = events.take();
    assert!(told.contains("DEBUG") && told.contains("call refused") && told.contains("retry_after=2s"), "{told}");
    limit.reconfigure(RateLimitConfig::default()).unwrap();
    assert!(events.take().contains("settings changed"));
    limit.reconfigure(RateLimitConfig::default()).unwrap();
    assert_eq!(events.take(), "", "nothing changed");
}

#[tokio::test(start_paused = true)]
async fn is_in_the_registry_with_a_line_for_people() {
    let layer = RateLimitLayer::new("a limit to be listed").limit(10, SECOND);
    let found = buttress::registry::rate_limit("a limit to be listed").unwrap();
    found.try_acquire().unwrap();
    let lines: Vec<_> = buttress::registry::policies().iter().map(ToString::to_string).collect();
    let expected = "rate_limit a limit to be listed: 10 in 1s, 9 left, 1 let through, 0 refused, 0 waiting".to_owned();
    assert!(lines.contains(&expected), "{lines:?}");
    drop((layer, found));
    assert!(buttress::registry::rate_limit("a limit to be listed").is_none());
}

#[test]
#[should_panic(expected = "invalid setting rate_limit.limit: 0 is not at least 1")]
fn nonsense_in_code_panics_with_the_settings_name_and_range() {
    let _ = RateLimitLayer::new("l").limit(0, SECOND);
}

#[test]
#[should_panic(expected = "a policy's name must not be empty")]
fn an_unnamed_limit_is_refused() {
    let _ = RateLimitLayer::http("");
}
