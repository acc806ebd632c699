//! Faults over HTTP and gRPC.

use std::convert::Infallible;

use axum::{Router, extract::Request, routing::post};
use buttress::{CircuitBreakerLayer, RetryLayer, circuit_breaker::State};
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tonic::Code;
use tower::{ServiceBuilder, service_fn};

use super::*;
use crate::support::grpc::{EchoClient, Scripted, connect, serve};

async fn found(_: http::Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("four")))
}

fn request() -> http::Request<Full<Bytes>> {
    http::Request::new(Full::default())
}

#[tokio::test(start_paused = true)]
async fn a_failure_over_http_is_a_500_that_says_it_is_injected() {
    let layer = FaultLayer::http("inventory").script([Fault::Fail, Fault::FailAfter]);
    for expected in [Fault::Fail, Fault::FailAfter] {
        let response = layer.layer(service_fn(found)).oneshot(request()).await.unwrap();
        assert_eq!(response.status(), 500);
        let injected = response.extensions().get::<Injected>().unwrap();
        assert_eq!((injected.name().as_str(), injected.fault()), ("inventory", expected));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&problem["title"], &problem["name"]), (&"injected fault".into(), &"inventory".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_body_has_half_of_the_first_frame_and_then_an_error() {
    let layer = FaultLayer::http("inventory").break_body(1.0);
    let response = layer.layer(service_fn(found)).oneshot(request()).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    assert_eq!(body.size_hint().exact(), Some(4), "what was promised");
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "fo");
    assert!(!body.is_end_stream());
    assert_eq!(fault(&body.frame().await.unwrap().unwrap_err()), Fault::BreakBody);
    assert!(body.frame().await.is_none() && body.is_end_stream());

    // Also of a body that has nothing in it.
    let empty =
        service_fn(async |_: http::Request<Full<Bytes>>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())));
    let mut body = layer.layer(empty).oneshot(request()).await.unwrap().into_body();
    assert_eq!(fault(&body.frame().await.unwrap().unwrap_err()), Fault::BreakBody);
}

#[tokio::test(start_paused = true)]
async fn layers_further_out_judge_an_injected_failure_like_a_real_one() {
    let breaker = CircuitBreakerLayer::http("b").consecutive_failures(3);
    let state = breaker.handle();
    let faults = FaultLayer::http("f").script([Fault::Fail, Fault::FailAfter, Fault::BreakBody]);
    let service = ServiceBuilder::new().layer(breaker).layer(faults).service_fn(found);
    for _ in 0..3 {
        assert_eq!(state.state(), State::Closed);
        let _ = service.clone().oneshot(request()).await.unwrap().into_body().collect().await;
    }
    assert_eq!(state.state(), State::Open);

    let faults = FaultLayer::http("f").status(StatusCode::SERVICE_UNAVAILABLE).script([Fault::Fail, Fault::FailAfter]);
    let retried = ServiceBuilder::new().layer(RetryLayer::http("r")).layer(faults).service_fn(found);
    assert_eq!(retried.oneshot(request()).await.unwrap().status(), 200, "the third attempt");
}

#[tokio::test]
async fn goes_into_a_router_and_breaks_bodies_off_for_real() {
    let faults = FaultLayer::http("payments")
        .script([Fault::Fail, Fault::BreakBody])
        .when(|request: &Request| request.method() == Method::POST);
    let handle = faults.handle();
    let app = Router::new().route("/", post(async || "charged").get(async || "none")).layer(faults);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let send = |method: Method| {
        client.request(http::Request::builder().method(method).uri(&url).body(Full::default()).unwrap())
    };
    assert_eq!(send(Method::GET).await.unwrap().status(), 200);
    assert_eq!(send(Method::POST).await.unwrap().status(), 500);
    let broken = match send(Method::POST).await {
        Ok(response) => response.into_body().collect().await.is_err(),
        Err(_) => true,
    };
    assert!(broken, "nobody takes half a body for a whole one");
    let whole = send(Method::POST).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!((whole, handle.snapshot().calls), (Bytes::from("charged"), 3));
}

#[tokio::test]
async fn goes_around_a_tonic_server() {
    let layer = FaultLayer::grpc("inventory").script([Fault::Fail, Fault::FailAfter, Fault::BreakBody]);
    let service = Scripted::default();
    let mut client = EchoClient::new(connect(serve(layer.layer(service.clone())).await).await);
    for message in ["inventory: injected fault (fail)", "inventory: injected fault (fail_after)"] {
        let status = client.echo("hello").await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unavailable, message));
    }
    client.echo("hello").await.unwrap_err();
    assert_eq!(client.echo("hello").await.unwrap().into_inner().text, "hello");
    let _ = layer.code(buttress::protocol::grpc::Code::ResourceExhausted).script([Fault::Fail]);
    assert_eq!(client.echo("hello").await.unwrap_err().code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn goes_around_a_tonic_channel() {
    let channel = connect(serve(Scripted::default()).await).await;
    let layer = FaultLayer::grpc("inventory").script([Fault::Fail, Fault::BreakBody]);
    let mut client = EchoClient::new(layer.layer(channel));
    assert_eq!(client.echo("hello").await.unwrap_err().code(), Code::Unavailable);
    client.echo("hello").await.unwrap_err();
    assert_eq!(client.echo("hello").await.unwrap().into_inner().text, "hello");
}
