//! The layer in a real server: axum, hyper, and clients that hang up.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Json, Router, extract::State, response::IntoResponse, routing::post};
use buttress::{
    BoxError, SagaLayer,
    saga::{Coordinator, Idempotency::Required, OnDisconnect, Saga, SagaError},
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::timeout,
};
use tower::{Layer, ServiceBuilder, service_fn};

use super::{layer::step, world::World};

/// More than anything here takes.
const SOON: Duration = Duration::from_secs(20);

async fn served(app: Router) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn until(what: impl Fn() -> bool) {
    let met = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, met).await.expect("it never happens");
}

/// A handler that stands between its two steps until it is let go on.
fn standing(world: &World, coordinator: &Coordinator, go: &Arc<Notify>, on_disconnect: OnDisconnect) -> Router {
    let (world, go) = (world.clone(), go.clone());
    let handler = async move |saga: Saga| -> Result<&'static str, SagaError> {
        step(&saga, &world, "reserve").await?;
        go.notified().await;
        step(&saga, &world, "charge").await?;
        Ok("placed")
    };
    let layer = SagaLayer::http(coordinator, "place-order").on_disconnect(on_disconnect);
    Router::new().route("/orders", post(handler).layer(layer))
}

const ORDER: &[u8] = b"POST /orders HTTP/1.1\r\nhost: shop\r\ncontent-length: 0\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h6_a_client_that_hangs_up_in_mid_request_does_not_stop_its_saga() {
    let (world, go) = (World::default(), Arc::new(Notify::new()));
    let coordinator = world.coordinator().start().await.unwrap();
    let address = served(standing(&world, &coordinator, &go, OnDisconnect::Continue)).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(ORDER).await.unwrap();
    until(|| world.log() == ["do reserve"]).await;
    drop(client);
    // Long enough for the server to see it: axum's own handler would be gone.
    tokio::time::sleep(Duration::from_millis(50)).await;
    go.notify_one();
    until(|| world.log().len() == 2).await;
    assert!(coordinator.drain(SOON).await.unwrap().in_time);
    assert_eq!(world.log(), ["do reserve", "do charge"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k1_a_client_that_hangs_up_has_its_saga_undone_if_that_was_said() {
    let (world, go) = (World::default(), Arc::new(Notify::new()));
    let coordinator = world.coordinator().start().await.unwrap();
    let address = served(standing(&world, &coordinator, &go, OnDisconnect::Undo)).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(ORDER).await.unwrap();
    until(|| world.log() == ["do reserve"]).await;
    drop(client);
    until(|| world.log() == ["do reserve", "undo reserve"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_kept_alive_from_saga_to_saga() {
    let (world, go) = (World::default(), Arc::new(Notify::new()));
    let coordinator = world.coordinator().start().await.unwrap();
    let address = served(standing(&world, &coordinator, &go, OnDisconnect::Undo)).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut buffer = [0; 1024];
    for _ in 0..3 {
        go.notify_one();
        client.write_all(ORDER).await.unwrap();
        let read = timeout(SOON, client.read(&mut buffer)).await.unwrap().unwrap();
        let answer = std::str::from_utf8(&buffer[..read]).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nplaced"), "{answer}");
        assert!(answer.contains("content-length: 6\r\n"), "{answer}");
    }
    assert!(coordinator.drain(SOON).await.unwrap().in_time);
    assert_eq!(world.log(), ["do reserve", "do charge"].repeat(3));
}

#[derive(Clone, Serialize, Deserialize)]
struct Order {
    book: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_layer_over_eight_connections_is_one_saga_for_one_key() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    let runs = Arc::new(AtomicUsize::new(0));
    let place = async |saga: Saga, State((world, runs)): State<(World, Arc<AtomicUsize>)>, Json(order): Json<Order>| {
        let run = runs.fetch_add(1, SeqCst) + 1;
        step(&saga, &world, "reserve").await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok::<_, SagaError>((StatusCode::CREATED, Json(format!("{run}: {}", order.book))))
    };
    // Applied anew for each connection, to the whole router.
    let layer = SagaLayer::http(&coordinator, "place-order").idempotency(Required).deadline(SOON);
    let app = Router::new().route("/orders", post(place)).with_state((world.clone(), runs.clone())).layer(layer);
    let url = format!("http://{}/orders", served(app).await);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let request = Request::post(&url).header("idempotency-key", "k").header("content-type", "application/json");
        let order = serde_json::to_vec(&Order { book: "SICP".to_owned() }).unwrap();
        let request = request.body(Full::<Bytes>::from(order)).unwrap();
        calls.spawn(async move {
            let client = Client::builder(TokioExecutor::new()).build_http();
            let response = client.request(request).await.unwrap();
            let replayed = response.headers().contains_key("idempotency-replayed");
            (response.status(), replayed, response.collect().await.unwrap().to_bytes())
        });
    }
    let answers = calls.join_all().await;
    assert!(answers.iter().all(|(status, _, body)| *status == 201 && body == "\"1: SICP\""), "{answers:?}");
    assert_eq!(answers.iter().filter(|(_, replayed, _)| !replayed).count(), 1);
    assert_eq!((runs.load(SeqCst), world.log().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hyper_server_without_a_router_has_sagas_too() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    let inner = world.clone();
    // hyper's own body can't be made again, and needn't be without a key.
    let service = ServiceBuilder::new().layer(SagaLayer::http(&coordinator, "place-order")).service(service_fn(
        move |request: Request<hyper::body::Incoming>| {
            let (saga, world) = (request.extensions().get::<Saga>().unwrap().clone(), inner.clone());
            async move {
                let done = step(&saga, &world, "reserve").await;
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(done.map_or("failed", |()| "placed"))))
            }
        },
    ));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = TowerToHyperService::new(service);
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
    });
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let response = client.get(format!("http://{address}/").parse().unwrap()).await.unwrap();
    assert_eq!(response.collect().await.unwrap().to_bytes(), "placed");
}

#[tokio::test]
async fn applied_a_thousand_times_a_layer_shares_its_coordinator() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    let layer = SagaLayer::http(&coordinator, "place-order").exclusive_by(|_| Some("one".to_owned()));
    let inside = Arc::new(AtomicUsize::new(0));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let inside = inside.clone();
        let service = layer.layer(service_fn(move |_: Request<String>| {
            let inside = inside.clone();
            async move {
                assert_eq!(inside.fetch_add(1, SeqCst), 0, "one at a time");
                tokio::task::yield_now().await;
                inside.fetch_sub(1, SeqCst);
                Ok::<_, BoxError>(StatusCode::OK.into_response())
            }
        }));
        calls.spawn(tower::ServiceExt::oneshot(service, Request::new(String::new())));
    }
    assert!(calls.join_all().await.into_iter().all(|answer| answer.unwrap().status() == 200));
}
