//! Every layer fits where its users put it: an axum router, a tonic channel and server, a hyper client, streaming or not.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use axum::{Router, routing::post};
use buttress::{BoxError, CircuitBreakerLayer, circuit_breaker::State};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{net::TcpListener, task::JoinSet};
use tonic::{server::NamedService, transport::Channel};
use tower::{Layer, Service, ServiceExt};

use crate::support::grpc::{EchoClient, Scripted, connect, serve};

async fn served(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

type HyperClient<B> = Client<HttpConnector, B>;

fn client<B>() -> HyperClient<B>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    Client::builder(TokioExecutor::new()).build_http()
}

// ===== axum =====

async fn goes_by_layer_into_a_router<L>(layer: &str, l: L)
where
    L: Layer<axum::routing::Route> + Clone + Send + Sync + 'static,
    L::Service: Service<axum::extract::Request, Response: axum::response::IntoResponse, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    <L::Service as Service<axum::extract::Request>>::Future: Send,
{
    let app = Router::new().route("/echo", post(async |body: String| body)).layer(l);
    let request = Request::post(served(app).await + "/echo").body(Full::<Bytes>::from("hello")).unwrap();
    let response = client().request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{layer}");
    assert_eq!(response.collect().await.unwrap().to_bytes(), "hello", "{layer}");
}

#[tokio::test]
async fn every_layer_goes_into_a_router() {
    every_layer!(http, goes_by_layer_into_a_router);
}

// ===== tonic =====

async fn goes_around_a_channel<L, B>(layer: &str, l: L)
where
    L: Layer<Channel>,
    L::Service: Service<Request<tonic::body::Body>, Response = Response<B>, Error: Into<BoxError>> + Clone + Send,
    <L::Service as Service<Request<tonic::body::Body>>>::Future: Send,
    B: Body<Data = Bytes, Error: Into<BoxError> + Send> + Send + 'static,
{
    let channel = connect(serve(Scripted::default()).await).await;
    let mut client = EchoClient::new(l.layer(channel));
    assert_eq!(client.echo("hello").await.unwrap().into_inner().text, "hello", "{layer}");
}

async fn goes_around_a_server<L, B>(layer: &str, l: L)
where
    L: Layer<Scripted>,
    L::Service: Service<Request<tonic::body::Body>, Response = Response<B>, Error = Infallible>
        + NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    <L::Service as Service<Request<tonic::body::Body>>>::Future: Send,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    assert_eq!(<L::Service as NamedService>::NAME, Scripted::NAME, "{layer}");
    let mut client = EchoClient::new(connect(serve(l.layer(Scripted::default())).await).await);
    assert_eq!(client.echo("hello").await.unwrap().into_inner().text, "hello", "{layer}");
}

#[tokio::test]
async fn every_layer_goes_around_a_tonic_channel_and_a_tonic_server() {
    every_layer!(grpc, goes_around_a_channel);
    every_layer!(grpc, goes_around_a_server);
}

// ===== hyper =====

async fn goes_around_a_client<L, B, Res>(layer: &str, l: L, body: B)
where
    L: Layer<HyperClient<B>>,
    L::Service: Service<Request<B>, Response = Response<Res>, Error: Into<BoxError>>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + Unpin + 'static,
    Res: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let app = Router::new().route("/echo", post(async |body: String| body));
    let request = Request::post(served(app).await + "/echo").body(body).unwrap();
    let response = l.layer(client()).oneshot(request).await.map_err(Into::into).unwrap();
    let body = response.into_body().collect().await.map_err(Into::into).unwrap();
    assert_eq!(body.to_bytes(), "hello", "{layer}");
}

async fn goes_around_a_client_with_a_whole_body<L, Res>(layer: &str, l: L)
where
    L: Layer<HyperClient<Full<Bytes>>>,
    L::Service: Service<Request<Full<Bytes>>, Response = Response<Res>, Error: Into<BoxError>>,
    Res: Body<Data = Bytes, Error: Into<BoxError>>,
{
    goes_around_a_client(layer, l, Full::from("hello")).await;
}

type Streaming = UnsyncBoxBody<Bytes, BoxError>;

async fn goes_around_a_client_with_a_streaming_body<L, Res>(layer: &str, l: L)
where
    L: Layer<HyperClient<Streaming>>,
    L::Service: Service<Request<Streaming>, Response = Response<Res>, Error: Into<BoxError>>,
    Res: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let body = Full::<Bytes>::from("hello").map_err(BoxError::from).boxed_unsync();
    goes_around_a_client(layer, l, body).await;
}

#[tokio::test]
async fn every_layer_goes_around_a_hyper_client() {
    every_layer!(http, goes_around_a_client_with_a_whole_body);
    every_layer!(http, goes_around_a_client_with_a_streaming_body);
}

// ===== L1 over plain axum::serve, which applies the layers anew for every connection =====

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_layer_value_over_64_connections_is_one_breaker() {
    let layer = CircuitBreakerLayer::http("orders").minimum_calls(20);
    let breaker = layer.handle();
    let handled = Arc::new(AtomicUsize::new(0));
    let count = handled.clone();
    let fail = async move || {
        count.fetch_add(1, SeqCst);
        StatusCode::INTERNAL_SERVER_ERROR
    };
    let url = served(Router::new().route("/orders", post(fail)).layer(layer)).await + "/orders";

    // A client each, so a connection each; two waves, of which the second finds the breaker open.
    for wave in 0..2 {
        let mut calls = JoinSet::new();
        for _ in 0..64 {
            let request = Request::post(url.clone()).body(Full::<Bytes>::default()).unwrap();
            calls.spawn(async move { client().request(request).await.unwrap().status() });
        }
        let answers = calls.join_all().await;
        let refused = answers.iter().filter(|status| **status == StatusCode::SERVICE_UNAVAILABLE).count();
        if wave == 1 {
            assert_eq!(refused, 64);
        }
    }
    assert_eq!(breaker.state(), State::Open);
    // All that were let through before the twentieth failure was in.
    let handled = handled.load(SeqCst);
    assert!((20..=64).contains(&handled), "{handled}");
    assert_eq!(breaker.snapshot().refused as usize, 128 - handled);
}
