//! What callers over HTTP and gRPC are told.

use std::convert::Infallible;

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use tonic::Code;
use tower::{ServiceExt, service_fn};

use super::*;
use crate::support::grpc::{EchoClient, Scripted, connect, serve};

async fn answer(_: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("found")))
}

fn request() -> Request<Full<Bytes>> {
    Request::new(Full::default())
}

/// The fields of this name.
fn fields(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_refusal_over_http_says_what_the_limit_is_and_when_to_come_back() {
    let layer = RateLimitLayer::http("api").limit(2, 60 * SECOND);
    let service = layer.layer(service_fn(answer));
    let accepted = service.clone().oneshot(request()).await.unwrap();
    assert!(fields(accepted.headers(), "ratelimit").is_empty(), "not unless asked for");
    let _ = service.clone().oneshot(request()).await.unwrap();
    advance(SECOND / 2).await;
    let refused = service.oneshot(request()).await.unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(fields(refused.headers(), "retry-after"), ["30"]);
    assert_eq!(fields(refused.headers(), "ratelimit-policy"), ["\"api\";q=2;w=60"]);
    assert_eq!(fields(refused.headers(), "ratelimit"), ["\"api\";r=0;t=30"]);
}

#[tokio::test(start_paused = true)]
async fn accepted_answers_say_what_is_left_where_that_is_announced() {
    let layer = RateLimitLayer::http("api").limit(10, SECOND).announce();
    let outer = RateLimitLayer::http("day").limit(1_000, 86_400 * SECOND).announce();
    let service = outer.layer(layer.layer(service_fn(answer)));
    let accepted = service.clone().oneshot(request()).await.unwrap();
    assert_eq!(accepted.status(), 200);
    assert_eq!(fields(accepted.headers(), "ratelimit-policy"), ["\"api\";q=10;w=1", "\"day\";q=1000;w=86400"]);
    assert_eq!(fields(accepted.headers(), "ratelimit"), ["\"api\";r=9;t=1", "\"day\";r=999;t=87"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_after_a_wait_says_as_much_as_any_other() {
    for announced in [false, true] {
        let layer = RateLimitLayer::http("api").limit(1, SECOND).max_wait(SECOND);
        let layer = if announced { layer.announce() } else { layer };
        let service = layer.layer(service_fn(answer));
        let _ = service.clone().oneshot(request()).await.unwrap();
        let waited = service.oneshot(request()).await.unwrap();
        assert_eq!((waited.status().as_u16(), waited.headers().contains_key("ratelimit")), (200, announced));
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_in_vain_is_told_what_every_refused_call_is() {
    let layer = RateLimitLayer::http("api").limit(1, SECOND).max_wait(SECOND);
    let service = layer.layer(service_fn(answer));
    let _ = service.clone().oneshot(request()).await.unwrap();
    let mut waits = task::spawn(service.oneshot(request()));
    assert_pending!(waits.poll());
    let _ = layer.limit(1, 60 * SECOND);
    advance(SECOND).await;
    let refused = assert_ready_ok!(waits.poll());
    assert_eq!(refused.status(), 429);
    assert_eq!(fields(refused.headers(), "ratelimit"), ["\"api\";r=0;t=59"]);
}

#[tokio::test]
async fn one_layer_over_many_connections_is_one_limit() {
    use hyper_util::{client::legacy::Client, rt::TokioExecutor};

    let layer = RateLimitLayer::http("orders").limit(5, 3_600 * SECOND);
    let app = Router::new().route("/", get(async || "found")).layer(layer.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let mut answers = Vec::new();
    for _ in 0..20 {
        // A client each, so a connection each.
        let client = Client::builder(TokioExecutor::new()).build_http();
        let request = Request::get(url.clone()).body(Full::<Bytes>::default()).unwrap();
        answers.push(client.request(request).await.unwrap().status().as_u16());
    }
    assert_eq!(answers[..5], [200; 5]);
    assert_eq!(answers[5..], [429; 15]);
    assert_eq!(layer.handle().snapshot().refused, 15);
}

#[tokio::test]
async fn a_refusal_over_grpc_pushes_back() {
    let layer = RateLimitLayer::grpc("inventory").limit(1, 3_600 * SECOND);
    let mut client = EchoClient::new(connect(serve(layer.layer(Scripted::default())).await).await);
    client.echo("hello").await.unwrap();
    let status = client.echo("hello").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "inventory: rate limit exceeded"));
    let pushback: u64 = status.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap().parse().unwrap();
    assert!((3_590_000..=3_600_000).contains(&pushback), "{pushback}");
}
