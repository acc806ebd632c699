//! Over HTTP: calls that last as long as their bodies, and one layer value over many connections.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use tower::service_fn;

use super::*;
use crate::support::body::{data, scripted};

fn tenant<B>(request: &Request<B>) -> Uri {
    request.uri().clone()
}

#[tokio::test(start_paused = true)]
async fn a_key_is_taken_until_the_body_ends_and_can_not_be_forgotten_before() {
    let (sender, body) = scripted();
    let mut body = Some(body);
    let inner = Arc::new(std::sync::Mutex::new(move || Response::new(body.take().unwrap())));
    let inner = service_fn(move |_: Request<()>| std::future::ready(Ok::<_, Infallible>((inner.lock().unwrap())())));
    let layer = BulkheadLayer::http("tenants").max_concurrent(1).keyed(tenant::<()>).max_keys(1);
    let bulkheads = layer.handle();
    let response = layer.layer(inner).oneshot(Request::get("/a").body(()).unwrap()).await.unwrap();
    let [a, b] = ["/a", "/b"].map(Uri::from_static);
    assert!(bulkheads.try_acquire(&a).is_err() && bulkheads.try_acquire(&b).is_err(), "the head is not the end");
    sender.send(data("half")).unwrap();
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    assert!(bulkheads.try_acquire(&a).is_err() && bulkheads.try_acquire(&b).is_err(), "half is not the end");
    drop(sender);
    assert!(body.frame().await.is_none());
    assert!(bulkheads.try_acquire(&a).is_ok() && bulkheads.try_acquire(&b).is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_layer_value_over_64_connections_is_one_limit_a_key() {
    const TENANTS: usize = 4;
    const EACH: usize = 16;
    let layer = BulkheadLayer::http("tenants").max_concurrent(3).keyed(tenant::<axum::body::Body>);
    let bulkheads = layer.handle();
    let inside: Arc<[AtomicUsize; TENANTS]> = Arc::default();
    let go = Arc::new(Semaphore::new(0));
    let handler = {
        let (inside, go) = (inside.clone(), go.clone());
        async move |uri: Uri| {
            let tenant: usize = uri.path().trim_start_matches('/').parse().unwrap();
            assert!(inside[tenant].fetch_add(1, SeqCst) < 3, "too many of tenant {tenant}");
            go.acquire().await.unwrap().forget();
            inside[tenant].fetch_sub(1, SeqCst);
            "served"
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/{tenant}", get(handler)).layer(layer);
    tokio::spawn(async move { axum::serve(listener, app).await });

    let mut calls = JoinSet::new();
    for connection in 0..TENANTS * EACH {
        // A client each, so a connection each.
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let uri = format!("http://{address}/{}", connection % TENANTS).parse().unwrap();
        calls.spawn(async move { client.get(uri).await.unwrap().status() });
    }
    // All but those inside are refused, before anybody is let go.
    let mut answers = Vec::new();
    while answers.len() < TENANTS * (EACH - 3) {
        answers.push(calls.join_next().await.unwrap().unwrap());
    }
    assert!(answers.iter().all(|status| *status == StatusCode::SERVICE_UNAVAILABLE), "{answers:?}");
    let snapshot = bulkheads.snapshot();
    assert_eq!((snapshot.keys, snapshot.full, snapshot.in_flight), (TENANTS, TENANTS, 3 * TENANTS));
    assert_eq!(snapshot.rejected.full as usize, TENANTS * (EACH - 3));
    go.add_permits(3 * TENANTS);
    assert!(calls.join_all().await.iter().all(|status| *status == StatusCode::OK));
}
