//! When an exchange ends and how it is judged, in HTTP and gRPC, seen by a breaker that opens at the first failure.

use std::{convert::Infallible, io, time::Duration};

use buttress::{
    Cause, CircuitBreakerLayer, Reason, Rejection, TimeoutLayer,
    circuit_breaker::{CircuitBreaker, State},
};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response, StatusCode, header::RETRY_AFTER};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use tonic::{Code, Status};
use tower::{ServiceBuilder, ServiceExt};

use crate::support::{
    body::{ScriptedBody, data, scripted, trailers},
    grpc::{Answer, EchoClient, Scripted, connect, serve},
};

/// A breaker that opens at the first failure, and the answer of a service behind it.
macro_rules! answered {
    ($flavour:ident, $response:expr) => {{
        let layer = CircuitBreakerLayer::$flavour("payments").consecutive_failures(1);
        let mut response = Some($response);
        let service = ServiceBuilder::new().layer(layer.clone()).service(tower::service_fn(move |()| {
            std::future::ready(response.take().ok_or_else(|| io::Error::other("called twice")))
        }));
        (layer.handle(), service.oneshot(()).await.unwrap())
    }};
}

fn status<B>(status: u16, body: B) -> Response<B> {
    Response::builder().status(status).body(body).unwrap()
}

fn recorded(breaker: &CircuitBreaker) -> (u64, u64) {
    (breaker.snapshot().calls, breaker.snapshot().cancelled)
}

const NOTHING: (u64, u64) = (0, 0);
const COUNTED: (u64, u64) = (1, 0);
const CANCELLED: (u64, u64) = (0, 1);

// ===== HTTP =====

#[tokio::test]
async fn a_body_that_is_already_at_its_end_settles_the_call_at_once() {
    let (breaker, _response) = answered!(http, status(200, Empty::<Bytes>::new()));
    assert_eq!(recorded(&breaker), COUNTED);
    let (breaker, _response) = answered!(http, status(503, Empty::<Bytes>::new()));
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test]
async fn an_http_call_ends_with_its_body() {
    let (sender, body) = scripted();
    let (breaker, mut response) = answered!(http, status(200, body));
    sender.send(data("half")).unwrap();
    response.frame().await.unwrap().unwrap();
    assert_eq!(recorded(&breaker), NOTHING);
    sender.send(data("the other half")).unwrap();
    drop(sender);
    response.collect().await.unwrap();
    assert_eq!(recorded(&breaker), COUNTED);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_a_failure() {
    let (sender, body) = scripted();
    let (breaker, response) = answered!(http, status(200, body));
    let mut changes = breaker.subscribe();
    sender.send(data("half")).unwrap();
    sender.send(Err(io::Error::from(io::ErrorKind::ConnectionReset))).unwrap();
    response.collect().await.unwrap_err();
    assert_eq!(breaker.state(), State::Open);
    assert!(changes.next().await.unwrap().to_string().contains("last: connection reset"));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_a_timeout_below_cuts_off_timed_out() {
    let breaker = CircuitBreakerLayer::http("payments").consecutive_failures(1);
    let mut changes = breaker.handle().subscribe();
    let (_sender, body) = scripted();
    let mut response = Some(status(200, body));
    let service = ServiceBuilder::new().layer(breaker).layer(TimeoutLayer::http("payments-attempt")).service(
        tower::service_fn(move |_: Request<()>| std::future::ready(response.take().ok_or(io::ErrorKind::Other))),
    );
    let response = service.oneshot(Request::new(())).await.unwrap();
    response.collect().await.unwrap_err();
    assert!(changes.next().await.unwrap().to_string().contains("last: timed out"));
}

#[tokio::test]
async fn a_body_that_nobody_reads_is_judged_by_its_head() {
    let (_sender, body) = scripted();
    let (breaker, response) = answered!(http, status(200, body));
    drop(response);
    assert_eq!(recorded(&breaker), COUNTED);

    let (_sender, body) = scripted();
    let (breaker, response) = answered!(http, status(500, body));
    assert_eq!(breaker.state(), State::Closed);
    drop(response);
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test]
async fn a_body_that_is_dropped_half_way_is_cancelled_unless_its_head_was_a_failure() {
    for (head, expected) in [(200, CANCELLED), (500, NOTHING)] {
        let (sender, body) = scripted();
        let (breaker, mut response) = answered!(http, status(head, body));
        sender.send(data("half")).unwrap();
        response.frame().await.unwrap().unwrap();
        drop(response);
        assert_eq!(recorded(&breaker), expected, "{head}");
        assert_eq!(breaker.state() == State::Open, head == 500);
    }
}

#[tokio::test]
async fn the_callers_own_faults_are_ignored_and_an_overload_does_not_break_the_row() {
    for ignored in [400, 401, 404, 408, 422] {
        let (breaker, _response) = answered!(http, status(ignored, Empty::<Bytes>::new()));
        assert_eq!(recorded(&breaker), NOTHING, "{ignored}");
    }
    let (breaker, _response) = answered!(http, status(429, Empty::<Bytes>::new()));
    assert_eq!((breaker.snapshot().failures, breaker.state()), (1, State::Closed));
}

#[tokio::test]
async fn trailers_size_hints_and_the_end_pass_through_untouched() {
    let (breaker, response) = answered!(http, status(200, Full::new(Bytes::from_static(b"whole"))));
    assert_eq!(response.body().size_hint().exact(), Some(5));
    assert!(!response.body().is_end_stream());
    assert_eq!(response.collect().await.unwrap().to_bytes(), "whole");
    assert_eq!(recorded(&breaker), COUNTED);

    let (sender, body) = scripted();
    let (breaker, mut response) = answered!(http, status(200, body));
    sender.send(trailers([("checksum", "42")])).unwrap();
    let frame = response.frame().await.unwrap().unwrap();
    assert_eq!(frame.trailers_ref().unwrap()["checksum"], "42");
    assert_eq!(recorded(&breaker), COUNTED);
}

#[tokio::test]
async fn a_refusal_is_a_503_that_says_why_and_when_to_come_back() {
    let layer = CircuitBreakerLayer::http("pay\"ments").consecutive_failures(1);
    layer.handle().try_acquire().unwrap().failure();
    let service = ServiceBuilder::new().layer(layer).service_fn(
        async |_: Request<()>| -> Result<Response<ScriptedBody>, Infallible> {
            unreachable!("refused calls are not sent")
        },
    );
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let retry_after: u64 = response.headers()[RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((3..=5).contains(&retry_after), "{retry_after}");
    let rejection = response.extensions().get::<Rejection>().unwrap().clone();
    assert_eq!((rejection.reason(), rejection.name().as_str()), (Reason::CircuitOpen, "pay\"ments"));
    assert!(rejection.retry_after().unwrap() > Duration::from_secs(2));
    let body = response.collect().await.unwrap().to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let expected = serde_json::json!({
        "title": "circuit open", "status": 503, "policy": "circuit_breaker", "name": "pay\"ments", "reason": "circuit_open",
    });
    assert_eq!(problem, expected);
}

#[tokio::test]
async fn a_refusal_by_a_layer_below_says_nothing_of_the_service() {
    let below = CircuitBreakerLayer::http("below");
    below.handle().force_open();
    let above = CircuitBreakerLayer::http("above").consecutive_failures(1);
    let service = ServiceBuilder::new()
        .layer(above.clone())
        .layer(below)
        .service_fn(async |()| Ok::<_, Infallible>(status(200, Empty::<Bytes>::new())));
    let response = service.oneshot(()).await.unwrap();
    assert_eq!(response.extensions().get::<Rejection>().unwrap().name().as_str(), "below");
    assert_eq!(recorded(&above.handle()), NOTHING);
}

#[tokio::test]
async fn a_transport_error_is_handed_on_as_it_is_and_its_cause_is_told() {
    let layer = CircuitBreakerLayer::http("payments").consecutive_failures(1);
    let mut changes = layer.handle().subscribe();
    let service = ServiceBuilder::new()
        .layer(layer)
        .service_fn(async |()| Err::<Response<Empty<Bytes>>, io::Error>(io::ErrorKind::ConnectionRefused.into()));
    let error: io::Error = service.oneshot(()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    let change = changes.next().await.unwrap();
    assert!(change.to_string().contains("(1 failed in a row, last: connection refused)"), "{change}");
}

// ===== gRPC =====

#[tokio::test]
async fn a_grpc_call_is_judged_by_its_trailers() {
    for (code, expected) in [("0", State::Closed), ("5", State::Closed), ("13", State::Open), ("14", State::Open)] {
        let (sender, body) = scripted();
        let (breaker, mut response) = answered!(grpc, status(200, body));
        sender.send(data("message")).unwrap();
        response.frame().await.unwrap().unwrap();
        assert_eq!(recorded(&breaker), NOTHING);
        sender.send(trailers([("grpc-status", code)])).unwrap();
        response.frame().await.unwrap().unwrap();
        assert_eq!(breaker.state(), expected, "status {code}");
        // The caller's own faults are the server's successes.
        assert_eq!(recorded(&breaker) == COUNTED, expected == State::Closed);
    }
}

#[tokio::test]
async fn an_answer_without_a_status_is_a_failure() {
    let (sender, body) = scripted();
    let (breaker, response) = answered!(grpc, status(200, body));
    drop(sender);
    response.collect().await.unwrap();
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test]
async fn an_answer_that_is_not_grpc_is_judged_by_its_http_status() {
    let (breaker, _response) = answered!(grpc, status(502, Empty::<Bytes>::new()));
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test]
async fn a_grpc_body_dropped_before_its_trailers_is_cancelled() {
    let (_sender, body) = scripted();
    let (breaker, response) = answered!(grpc, status(200, body));
    drop(response);
    assert_eq!(recorded(&breaker), CANCELLED);
}

#[tokio::test]
async fn a_tonic_error_in_the_trailers_opens_a_grpc_breaker() {
    for answer in [Answer::Fail(Status::unavailable("down")), Answer::FailInTrailers(Status::unavailable("down"))] {
        let layer = CircuitBreakerLayer::grpc("inventory").consecutive_failures(1);
        let mut changes = layer.handle().subscribe();
        let service = Scripted::new([answer]);
        let channel = connect(serve(service.clone()).await).await;
        let mut client = EchoClient::new(ServiceBuilder::new().layer(layer).service(channel));

        assert_eq!(client.echo("first").await.unwrap_err().code(), Code::Unavailable);
        let change = changes.next().await.unwrap();
        assert!(
            change.to_string().contains(&format!("last: {}", Cause::Grpc(buttress::protocol::grpc::Code::Unavailable)))
        );

        let refused = client.echo("second").await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "inventory: circuit open"));
        let pushback: u64 =
            refused.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap().parse().unwrap();
        assert!((2_000..=5_000).contains(&pushback), "{pushback}");
        assert_eq!(service.calls(), 1);
    }
}

#[tokio::test]
async fn a_grpc_breaker_around_a_tonic_server_is_found_by_its_name() {
    let layer = CircuitBreakerLayer::grpc("inbound").consecutive_failures(1);
    let service = Scripted::new([Answer::Echo, Answer::FailInTrailers(Status::internal("oh"))]);
    let channel = connect(serve(ServiceBuilder::new().layer(layer.clone()).service(service)).await).await;
    let mut client = EchoClient::new(channel);
    assert_eq!(client.echo("hello").await.unwrap().into_inner().text, "hello");
    assert_eq!(client.echo("hello").await.unwrap_err().code(), Code::Internal);
    assert_eq!(layer.handle().state(), State::Open);
    assert_eq!(client.echo("hello").await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_refused_call_is_answered_without_waiting() {
    let layer = CircuitBreakerLayer::grpc("inventory");
    layer.handle().force_open();
    let service = ServiceBuilder::new()
        .layer(layer)
        .service_fn(async |()| std::future::pending::<Result<Response<Empty<Bytes>>, Infallible>>().await);
    let response = service.oneshot(()).now_or_never().expect("an answer at once").unwrap();
    assert_eq!(response.headers()["grpc-status"], "14");
    // Nobody knows how long it will stay open, so it says a second.
    assert_eq!(response.headers()["grpc-retry-pushback-ms"], "1000");
    assert!(response.body().is_end_stream());
}
