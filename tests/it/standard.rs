//! The whole stack.

mod full;
mod live;
mod order;

use std::{
    convert::Infallible,
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use buttress::{BoxError, Deadline, Rejection, circuit_breaker::State, protocol::Http, standard};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};

/// A service that answers by the number of the call, and how often it was called.
fn counted<Req, Res, E>(
    answer: impl Fn(u32) -> Result<Res, E> + Clone,
) -> (impl Service<Req, Response = Res, Error = E, Future: Send> + Clone, Arc<AtomicU32>)
where
    Res: Send,
    E: Send,
{
    let calls = Arc::new(AtomicU32::new(0));
    let count = calls.clone();
    (service_fn(move |_| ready(answer(count.fetch_add(1, SeqCst)))), calls)
}

fn status(status: u16) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::builder().status(status).body(Full::default()).unwrap())
}

fn get() -> Request<Empty<Bytes>> {
    Request::get("/").body(Empty::new()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn tries_again_behind_a_breaker_that_sees_every_attempt() {
    let layer = standard::http("payments");
    let handles = layer.handles();
    let (service, calls) = counted(|call| status(if call < 2 { 503 } else { 200 }));
    let response = layer.layer(service).oneshot(get()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(calls.load(SeqCst), 3);
    let breaker = handles.circuit_breaker.snapshot();
    assert_eq!((breaker.calls, breaker.failures), (3, 2));
    assert_eq!(handles.retry.snapshot().retries, 2);
    assert_eq!(handles.bulkhead.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn the_whole_ends_in_time_though_every_attempt_hangs() {
    let layer = standard::new("lookup").retry(|retry| retry.idempotent());
    let handles = layer.handles();
    let service = layer.layer(service_fn(async |()| {
        sleep(Duration::from_secs(3600)).await;
        Ok::<_, BoxError>(())
    }));
    let start = Instant::now();
    service.oneshot(()).await.unwrap_err();
    assert!(start.elapsed() <= Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(start.elapsed() >= Duration::from_secs(4), "a second attempt was made: {:?}", start.elapsed());
    assert_eq!(handles.circuit_breaker.snapshot().failures, handles.attempt_timeout.snapshot().elapsed);
    assert_eq!(handles.bulkhead.snapshot().in_flight, 0);
}

/// The first attempt fails and opens the breaker, the second is refused. The caller must not read "not sent".
#[tokio::test(start_paused = true)]
async fn a_refusal_after_an_attempt_that_was_sent_does_not_say_that_nothing_was_sent() {
    let layer = standard::new("lookup").retry(|retry| retry.idempotent());
    let layer = layer.circuit_breaker(|breaker| breaker.consecutive_failures(1));
    let (service, calls) = counted(|_| Err::<(), BoxError>("booked, and then failed".into()));
    let error = layer.layer(service).oneshot(()).await.unwrap_err();
    assert!(Rejection::find(&error).is_none(), "{error}");
    assert_eq!(error.to_string(), "lookup: circuit open; an earlier attempt may have been carried out");
    // Nothing is sent by the next call, and it says so.
    let (service, _) = counted(|_| Ok::<(), BoxError>(()));
    assert!(Rejection::find(&layer.layer(service).oneshot(()).await.unwrap_err()).is_some());
    assert_eq!(calls.load(SeqCst), 1);

    let layer = standard::http("payments").circuit_breaker(|breaker| breaker.consecutive_failures(1));
    let (service, _) = counted(|_| status(503));
    let service = layer.layer(service);
    let response = service.clone().oneshot(get()).await.unwrap();
    assert!(response.extensions().get::<Rejection>().is_none());
    assert!(service.oneshot(get()).await.unwrap().extensions().get::<Rejection>().is_some());

    let layer = standard::grpc("inventory").circuit_breaker(|breaker| breaker.consecutive_failures(1));
    let (service, _) = counted(|_| {
        Ok::<_, Infallible>(Response::builder().header("grpc-status", "14").body(Empty::<Bytes>::new()).unwrap())
    });
    let service = layer.layer(service);
    let response = service.clone().oneshot(get()).await.unwrap();
    assert!(response.extensions().get::<Rejection>().is_none());
    assert!(service.oneshot(get()).await.unwrap().extensions().get::<Rejection>().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_deadline_has_passed_is_not_sent() {
    let (service, calls) = counted(|_| status(200));
    let service = standard::http("payments").layer(service);
    let response = Deadline::at(Instant::now()).scope(service.oneshot(get())).await.unwrap();
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(calls.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn everything_made_from_one_stack_shares_its_policies() {
    let layer = standard::http("payments");
    let breaker = layer.clone().handles().circuit_breaker;
    breaker.force_open();
    let (service, calls) = counted(|_| status(200));
    for _ in 0..3 {
        let response = layer.clone().layer(service.clone()).oneshot(get()).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!((calls.load(SeqCst), breaker.snapshot().refused, breaker.state()), (0, 3, State::ForcedOpen));
}

#[test]
fn settings_that_cannot_work_together_are_refused() {
    let secs = Duration::from_secs;
    let mut config = standard::http("payments").config();
    config.attempt_timeout.within = secs(5);
    let error = standard::StandardLayer::from_config("payments", config.clone(), Http::default()).unwrap_err();
    let expected =
        "invalid setting attempt_timeout.within: an attempt may take 5s, which is not less than the whole's 5s";
    assert_eq!(error.to_string(), expected);

    config.attempt_timeout.within = secs(1);
    config.bulkhead.max_wait = secs(9);
    assert_eq!(config.validate().unwrap_err().setting(), "bulkhead.max_wait");

    let layer = standard::http("payments").timeout(|timeout| timeout.within(secs(1)));
    let panic = std::panic::catch_unwind(|| layer.layer(())).unwrap_err();
    assert!(panic.downcast_ref::<String>().unwrap().contains("attempt_timeout.within"));
}
