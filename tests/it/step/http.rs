//! HTTP clients.

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, routing::post};
use buttress::{
    CircuitBreakerLayer, Deadline, RetryLayer, StepLayer, TimeoutLayer,
    step::{IDEMPOTENCY_KEY, REQUEST_TIMEOUT_MS, SAGA_EPOCH, SAGA_ID, SAGA_STEP, StepContext, StepOutcome},
};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::net::TcpListener;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use super::charge;

fn client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

fn request(uri: impl Into<String>) -> Request<Full<Bytes>> {
    Request::post(uri.into()).body(Full::from("a body")).unwrap()
}

/// Serves what it was asked with, and takes the status to answer with from the path.
async fn serve() -> (String, Arc<Mutex<Vec<HeaderMap>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let see = seen.clone();
    let answer = async move |axum::extract::Path(status): axum::extract::Path<u16>, headers: HeaderMap| {
        see.lock().unwrap().push(headers);
        (StatusCode::from_u16(status).unwrap(), "an answer")
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/{status}", post(answer))).await });
    (url, seen)
}

/// What a step concludes from these answers, one after the other, with our retry in between.
async fn after<const N: usize>(answers: [Result<u16, io::ErrorKind>; N]) -> bool {
    let answers = Mutex::new(answers.into_iter());
    let scripted = service_fn(move |_: Request<Full<Bytes>>| {
        let answer = answers.lock().unwrap().next().expect("one more attempt than there are answers");
        std::future::ready(match answer {
            Ok(status) => Ok(Response::builder().status(status).body(Full::<Bytes>::default()).unwrap()),
            Err(kind) => Err(io::Error::from(kind)),
        })
    });
    let retry = RetryLayer::http("payments").max_attempts(3);
    let step = charge();
    // Not `Clone` by itself, and a retry needs it to be.
    let shared = tower::buffer::Buffer::new(ServiceBuilder::new().service(scripted), 1);
    let shared = shared.map_err(|error: buttress::BoxError| *error.downcast::<io::Error>().unwrap());
    let service = ServiceBuilder::new().layer(StepLayer::http()).layer(retry).service(shared);
    let _ = step.clone().scope(service.oneshot(request("/"))).await;
    step.was_refused()
}

#[tokio::test]
async fn a_call_made_in_a_step_says_which_and_any_other_is_left_alone() {
    let (url, seen) = serve().await;
    let service = StepLayer::http().layer(client());
    service.clone().oneshot(request(url.clone() + "/200")).await.unwrap();
    charge().scope(service.clone().oneshot(request(url.clone() + "/200"))).await.unwrap();
    let mut own = request(url + "/200");
    own.extensions_mut().insert(StepContext::new(charge().key().with_op(buttress::step::Op::Undo), 4));
    charge().scope(service.clone().oneshot(own)).await.unwrap();

    let seen = seen.lock().unwrap();
    let of = |call: usize, name| seen[call].get(name).map(|value| value.to_str().unwrap().to_owned());
    for name in [IDEMPOTENCY_KEY, SAGA_ID, SAGA_STEP, SAGA_EPOCH, REQUEST_TIMEOUT_MS] {
        assert_eq!(of(0, name), None);
    }
    let saga = "07070707-0707-0707-0707-070707070707";
    assert_eq!(of(1, IDEMPOTENCY_KEY), Some(format!("{saga}/charge/1/act")));
    assert_eq!((of(1, SAGA_ID), of(1, SAGA_STEP)), (Some(saga.to_owned()), Some("charge".to_owned())));
    assert_eq!((of(1, SAGA_EPOCH), of(1, REQUEST_TIMEOUT_MS)), (Some("3".to_owned()), None));
    assert_eq!(of(2, IDEMPOTENCY_KEY), Some(format!("{saga}/charge/1/undo")), "the request's own goes first");
    assert_eq!(of(2, SAGA_EPOCH).unwrap(), "4");
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_the_deadline_is_sent_whoever_set_it() {
    let asked = Mutex::new(Vec::new());
    let mut service = StepLayer::http().layer(service_fn(|request: Request<Full<Bytes>>| {
        asked.lock().unwrap().push(request.headers().get(REQUEST_TIMEOUT_MS).cloned());
        std::future::ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
    }));
    let after = |millis| Deadline::after(Duration::from_millis(millis));
    for (current, extension, header) in
        [(Some(900), None, None), (Some(900), Some(200), None), (None, None, Some("50"))]
    {
        let mut request = request("/");
        if let Some(millis) = extension {
            request.extensions_mut().insert(after(millis));
        }
        if let Some(header) = header {
            request.headers_mut().insert(REQUEST_TIMEOUT_MS, header.parse().unwrap());
        }
        let call = charge()
            .scope(std::future::poll_fn(|_| std::task::Poll::Ready(service.call(std::mem::take(&mut request)))));
        let future = match current {
            Some(millis) => after(millis).scope(call).await,
            None => call.await,
        };
        future.await.unwrap();
    }
    let asked: Vec<_> = asked.lock().unwrap().iter().map(|value| value.clone().unwrap()).collect();
    assert_eq!(asked, ["900", "200", "50"]);
}

#[tokio::test]
async fn an_answer_is_judged_before_the_caller_sees_it() {
    let (url, _) = serve().await;
    for status in [200, 204, 303, 400, 404, 408, 409, 410, 422, 425, 429, 500, 501, 503, 504] {
        let step = charge();
        let call = StepLayer::http().layer(client()).oneshot(request(format!("{url}/{status}")));
        let answer = step.clone().scope(call).await.unwrap();
        let refused = StepOutcome::of_http_status(answer.status()) == StepOutcome::Refused;
        assert_eq!((answer.status().as_u16(), step.was_refused()), (status, refused));
        assert_eq!(refused, [400, 404, 410, 422].contains(&status), "{status}");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!((body == "an answer", step.was_refused()), (status != 204, refused), "the body stays what it was");
    }
}

#[tokio::test]
async fn no_connection_is_a_refusal_and_a_connection_that_is_lost_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let step = charge();
    let call = step.clone().scope(StepLayer::http().layer(client()).oneshot(request(url.clone())));
    let (lost, _) = tokio::join!(call, async { drop(listener.accept().await.unwrap()) });
    assert!(lost.is_err() && !step.was_refused());
    drop(listener);
    let step = charge();
    let refused = step.clone().scope(StepLayer::http().layer(client()).oneshot(request(url))).await;
    assert!(refused.unwrap_err().is_connect() && step.was_refused());
}

#[tokio::test(start_paused = true)]
async fn after_an_attempt_that_may_have_been_carried_out_no_refusal_counts() {
    const NOT_CONNECTED: Result<u16, io::ErrorKind> = Err(io::ErrorKind::ConnectionRefused);
    assert!(after([NOT_CONNECTED, NOT_CONNECTED, NOT_CONNECTED]).await);
    assert!(after([NOT_CONNECTED, Ok(404)]).await);
    assert!(after([Ok(404)]).await);
    assert!(!after([Ok(503), NOT_CONNECTED, NOT_CONNECTED]).await);
    assert!(!after([NOT_CONNECTED, Err(io::ErrorKind::ConnectionReset), NOT_CONNECTED]).await);
    assert!(!after([Ok(503), Ok(404)]).await, "the first may have happened, and be why the second was refused");
    assert!(!after([Ok(503), Ok(200)]).await);
}

#[tokio::test]
async fn a_refusal_by_our_own_layers_is_one_and_a_timeout_is_not() {
    let (url, _) = serve().await;
    let open = CircuitBreakerLayer::http("payments");
    open.handle().force_open();
    let step = charge();
    let refused = ServiceBuilder::new().layer(StepLayer::http()).layer(open).service(client());
    let answer = step.clone().scope(refused.oneshot(request(url + "/200"))).await.unwrap();
    assert_eq!((answer.status(), step.was_refused()), (StatusCode::SERVICE_UNAVAILABLE, true), "not the service's own");

    let slow =
        service_fn(|_: Request<Full<Bytes>>| std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>());
    let timeout = TimeoutLayer::http("payments").within(Duration::from_millis(1));
    let step = charge();
    let call = ServiceBuilder::new().layer(StepLayer::http()).layer(timeout).service(slow).oneshot(request("/"));
    let answer: Result<_, Infallible> = step.clone().scope(call).await;
    assert_eq!((answer.unwrap().status(), step.was_refused()), (StatusCode::GATEWAY_TIMEOUT, false));
}
