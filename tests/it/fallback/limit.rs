//! How many fallbacks there are at once.

use std::time::Duration;

use buttress::{BoxError, FallbackLayer, fallback::Failure};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::{task::JoinSet, time::sleep};
use tokio_test::{assert_pending, task};
use tower::{Layer, ServiceExt, service_fn};

use crate::support::body::{ScriptedBody, data, scripted};

async fn fails(request: u32) -> Result<u32, BoxError> {
    Err(format!("{request} failed").into())
}

async fn slowly(request: u32, _: Failure) -> Result<u32, BoxError> {
    sleep(Duration::from_millis(10)).await;
    Ok(request)
}

#[tokio::test(start_paused = true)]
async fn beyond_the_limit_the_failure_is_handed_on() {
    let layer = FallbackLayer::new("test").max_concurrent(3).with(slowly);
    let mut calls = JoinSet::new();
    for request in 0..5 {
        calls.spawn(layer.layer(service_fn(fails)).oneshot(request));
    }
    let answers = calls.join_all().await;
    let failures: Vec<_> = answers.into_iter().filter_map(Result::err).map(|error| error.to_string()).collect();
    assert_eq!(failures.len(), 2);
    assert!(failures.iter().all(|error| error.ends_with(" failed")), "{failures:?}");
    let snapshot = layer.handle().snapshot();
    assert_eq!((snapshot.fell_back, snapshot.full, snapshot.in_flight, snapshot.limit), (3, 2, 0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_fallback_that_is_dropped_makes_room() {
    let layer = FallbackLayer::new("test").max_concurrent(1).with(slowly);
    for _ in 0..10 {
        let mut call = task::spawn(layer.layer(service_fn(fails)).oneshot(7));
        while layer.handle().snapshot().in_flight == 0 {
            assert_pending!(call.poll());
        }
        drop(call);
        assert_eq!(layer.handle().snapshot().in_flight, 0);
    }
    assert_eq!(layer.layer(service_fn(fails)).oneshot(7).await.unwrap(), 7);
}

#[tokio::test]
async fn a_fallback_counts_to_the_end_of_its_body() {
    let unavailable = service_fn(|_: Request<()>| async {
        Ok::<_, BoxError>(Response::builder().status(503).body(Full::<Bytes>::default()).unwrap())
    });
    let layer = FallbackLayer::http("test").max_concurrent(1).with(async |_, _| {
        let (sender, body): (_, ScriptedBody) = scripted();
        sender.send(data("old ")).unwrap();
        sender.send(data("news")).unwrap();
        Response::new(body)
    });
    let in_flight = || layer.handle().snapshot().in_flight;
    let call = || layer.layer(unavailable).oneshot(Request::new(()));

    let response = call().await.unwrap();
    assert_eq!((response.status().as_u16(), in_flight()), (200, 1));
    assert_eq!(call().await.unwrap().status(), 503);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "old news");
    assert_eq!(in_flight(), 0);

    // Dropped half-way, too.
    let mut response = call().await.unwrap();
    assert!(response.body_mut().frame().await.is_some());
    assert_eq!(in_flight(), 1);
    drop(response);
    assert_eq!(in_flight(), 0);

    // And a body that is complete holds nothing.
    let value = FallbackLayer::http("test").value(Response::new(Full::<Bytes>::default()));
    let _response = value.layer(unavailable).oneshot(Request::new(())).await.unwrap();
    assert_eq!(value.handle().snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_lower_limit_holds_for_those_who_come() {
    let layer = FallbackLayer::new("test").max_concurrent(2).with(slowly);
    let first = tokio::spawn(layer.layer(service_fn(fails)).oneshot(1));
    let second = tokio::spawn(layer.layer(service_fn(fails)).oneshot(2));
    tokio::task::yield_now().await;
    let mut config = layer.handle().config();
    config.max_concurrent = 1;
    layer.handle().reconfigure(config).unwrap();
    assert_eq!(layer.handle().snapshot().in_flight, 2);
    assert!(layer.layer(service_fn(fails)).oneshot(3).await.is_err());
    assert_eq!((first.await.unwrap().unwrap(), second.await.unwrap().unwrap()), (1, 2));
    assert_eq!(layer.layer(service_fn(fails)).oneshot(3).await.unwrap(), 3);
}
