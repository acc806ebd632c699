//! Plain services: what is answered by what.

use std::{
    future::ready,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use buttress::{
    BoxError, BulkheadLayer, Cause, CircuitBreakerLayer, Elapsed, FallbackLayer, Outcome, Reason, Rejection,
    TimeoutLayer,
    fallback::{Failure, Fallback, FallbackConfig, FallbackFailed},
    registry,
};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tracing_subscriber::filter::LevelFilter;

use crate::support::{events::Events, script::Script};

fn reset(_: usize, _: &u32) -> Result<&'static str, io::Error> {
    Err(io::ErrorKind::ConnectionReset.into())
}

#[tokio::test]
async fn a_value_answers_what_failed() {
    let layer = FallbackLayer::new("test").value("nothing");
    assert_eq!(layer.layer(Script::new(reset)).oneshot(7).await.unwrap(), "nothing");
    assert_eq!((layer.handle().snapshot().fell_back, layer.handle().snapshot().in_flight), (1, 0));
}

#[tokio::test]
async fn what_succeeds_is_handed_on() {
    let layer = FallbackLayer::new("test").value("nothing");
    let inner = Script::new(|_, _: &u32| Ok::<_, io::Error>("something"));
    assert_eq!(layer.layer(inner).oneshot(7).await.unwrap(), "something");
    assert_eq!(layer.handle().snapshot().fell_back, 0);
}

#[tokio::test]
async fn without_anything_to_fall_back_on_every_failure_is_handed_on() {
    let layer = FallbackLayer::new("test");
    let error = layer.layer(Script::new(reset)).oneshot(7).await.unwrap_err();
    assert_eq!(error.downcast::<io::Error>().unwrap().kind(), io::ErrorKind::ConnectionReset);
    let snapshot = layer.handle().snapshot();
    assert_eq!((snapshot.fell_back, snapshot.failed, snapshot.full, snapshot.not_replayable), (0, 0, 0, 0));
}

#[tokio::test]
async fn a_function_is_told_the_request_and_the_failure() {
    let layer = FallbackLayer::new("test").with(async |request: u32, failure: Failure| {
        Ok::<_, BoxError>(format!("{request}: {} ({})", failure, failure.kind()))
    });
    let failing = |error: fn() -> BoxError| service_fn(move |_: u32| async move { Err::<String, BoxError>(error()) });
    for (error, told) in [
        ((|| io::Error::from(io::ErrorKind::ConnectionReset).into()) as fn() -> BoxError, "connection reset (failed)"),
        (|| Rejection::new("bulkhead", "below", Reason::BulkheadFull).into(), "below: bulkhead full (rejected)"),
        (|| Elapsed::new("attempt").into(), "attempt: request timed out (elapsed)"),
    ] {
        assert_eq!(layer.layer(failing(error)).oneshot(7).await.unwrap(), format!("7: {told}"));
    }
}

#[tokio::test]
async fn another_service_is_called_with_the_same_request_by_a_clone_that_was_made_ready() {
    let other = Script::new(|_, request: &u32| Ok::<_, io::Error>(if *request == 7 { "seven" } else { "other" }));
    let layer = FallbackLayer::new("test").service(other.clone());
    let mut service = layer.layer(Script::new(reset));
    for _ in 0..3 {
        assert_eq!(ServiceExt::<u32>::ready(&mut service).await.unwrap().clone().oneshot(7).await.unwrap(), "seven");
    }
    assert_eq!(*other.asked.lock().unwrap(), [7, 7, 7]);
}

#[tokio::test]
async fn it_is_for_what_it_was_told_to_be_for() {
    type Fails = fn() -> BoxError;
    let failures: [(&str, Fails); 3] = [
        ("failed", || "broken".into()),
        ("rejected", || Rejection::new("bulkhead", "below", Reason::BulkheadFull).into()),
        ("elapsed", || Elapsed::new("attempt").into()),
    ];
    for off in ["failed", "rejected", "elapsed"] {
        let layer = FallbackLayer::new("test").value(());
        let layer = match off {
            "failed" => layer.on_failures(false),
            "rejected" => layer.on_rejections(false),
            _ => layer.on_elapsed(false),
        };
        for (kind, error) in failures {
            let inner = service_fn(move |(): ()| async move { Err::<(), _>(error()) });
            assert_eq!(layer.layer(inner).oneshot(()).await.is_err(), kind == off, "{kind}, {off} off");
        }
    }
}

#[tokio::test]
async fn what_a_failure_is_can_be_said() {
    let layer = FallbackLayer::new("test").value(0).classify(|result: Result<&u32, &BoxError>| match result {
        Ok(0..100) => Outcome::Success,
        Ok(_) => Outcome::failure(Cause::Unknown),
        Err(error) if error.to_string() == "not found" => Outcome::Ignored,
        Err(_) => Outcome::FAILURE,
    });
    let echo = service_fn(async |request: u32| if request > 200 { Err("not found") } else { Ok(request) });
    assert_eq!(layer.layer(echo).oneshot(7).await.unwrap(), 7);
    assert_eq!(layer.layer(echo).oneshot(107).await.unwrap(), 0);
    assert!(layer.layer(echo).oneshot(207).await.is_err());
}

#[tokio::test]
async fn a_fallback_that_fails_tells_of_both() {
    let events = Events::at(LevelFilter::DEBUG);
    let layer = FallbackLayer::new("test").with(async |_: u32, _| Err::<&str, _>("no copy either"));
    let error = layer.layer(Script::new(reset)).oneshot(7).await.unwrap_err();
    assert_eq!(error.to_string(), "test: fallback failed: no copy either");
    assert_eq!(error.source().unwrap().downcast_ref::<io::Error>().unwrap().kind(), io::ErrorKind::ConnectionReset);
    let error = error.downcast::<FallbackFailed>().unwrap();
    assert_eq!((error.failure().kind(), error.fallback().to_string().as_str()), ("failed", "no copy either"));
    assert_eq!((layer.handle().snapshot().failed, layer.handle().snapshot().fell_back), (1, 0));
    let told = events.take();
    assert!(told.contains("WARN") && told.contains("call failed, and so did the fallback"), "{told}");
}

#[tokio::test]
async fn a_rejection_is_found_only_where_nothing_was_done() {
    fn refused(name: &'static str) -> BoxError {
        Rejection::new("bulkhead", name, Reason::BulkheadFull).into()
    }
    fn broken(_: &'static str) -> BoxError {
        "broken".into()
    }
    type Fails = fn(&'static str) -> BoxError;
    for (call, fallback, is_found) in
        [(refused as Fails, refused as Fails, true), (refused, broken, false), (broken, refused, false)]
    {
        let layer = FallbackLayer::new("test").with(move |(), _| ready(Err::<(), _>(fallback("other"))));
        let inner = service_fn(move |()| ready(Err::<(), _>(call("below"))));
        let error = layer.layer(inner).oneshot(()).await.unwrap_err();
        assert_eq!(Rejection::find(&error).is_some(), is_found, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_answers_for_the_layers_below_and_is_a_success_to_those_above() {
    let layer = FallbackLayer::new("test").value(0);
    let breaker = CircuitBreakerLayer::new("above").consecutive_failures(1);
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let service = ServiceBuilder::new()
        .layer(breaker.clone())
        .layer(layer.clone())
        .layer(CircuitBreakerLayer::new("below").consecutive_failures(2))
        .layer(BulkheadLayer::new("below"))
        .layer(TimeoutLayer::new("attempt").within(Duration::from_millis(10)))
        .service_fn(move |()| {
            count.fetch_add(1, SeqCst);
            std::future::pending::<Result<u32, BoxError>>()
        });
    for _ in 0..5 {
        assert_eq!(service.clone().oneshot(()).await.unwrap(), 0);
    }
    // Twice after a timeout, and three times without a call.
    assert_eq!((calls.load(SeqCst), layer.handle().snapshot().fell_back), (2, 5));
    assert_eq!(breaker.handle().snapshot().refused, 0);
}

#[test]
fn it_is_listed_among_the_policies() {
    let layer = FallbackLayer::new("fallback listed");
    let found = registry::fallback("fallback listed").unwrap();
    assert_eq!(found.config(), layer.handle().config());
    let line = registry::policies().into_iter().find(|policy| policy.name().as_str() == "fallback listed").unwrap();
    let told = "fallback fallback listed: 0 of 10 under way, 0 failures answered, 0 failed too, 0 too many";
    assert_eq!(line.to_string(), told);
}

#[test]
fn the_defaults_are_those_documented() {
    let config = FallbackConfig::default();
    assert!(config.on_failures && config.on_rejections && config.on_elapsed);
    assert_eq!((config.max_concurrent, config.replay_at_most), (10, 65_536));
    assert_eq!(FallbackLayer::new("test").handle().config(), config);
}

#[test]
fn nonsense_is_refused_with_its_name_and_range() {
    let check = |change: fn(&mut FallbackConfig), message: &str| {
        let mut config = FallbackConfig::default();
        change(&mut config);
        let error = Fallback::with_config("test", config.clone()).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        let fallback = Fallback::new("test");
        assert!(fallback.reconfigure(config).is_err());
        assert_eq!(fallback.config(), FallbackConfig::default());
    };
    check(|config| config.max_concurrent = 0, "fallback.max_concurrent: 0 is not between 1 and 1,000,000");
    check(|config| config.replay_at_most = usize::MAX, "fallback.replay_at_most");
    check(
        |config| (config.on_failures, config.on_rejections, config.on_elapsed) = (false, false, false),
        "is no fallback at all",
    );
}

#[test]
#[should_panic(expected = "invalid setting fallback.max_concurrent: 0 is not between 1 and 1,000,000")]
fn nonsense_in_code_panics() {
    let _ = FallbackLayer::new("test").max_concurrent(0);
}
