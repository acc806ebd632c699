//! Request bodies, which both attempts send, over an axum server and a hyper client.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Router, extract::State, routing::put};
use buttress::HedgeLayer;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{net::TcpListener, sync::Notify, time::timeout};
use tower::{Layer, Service, ServiceExt};

use crate::support::body::{data, scripted};

/// Far longer than anything here takes.
const STUCK: Duration = Duration::from_secs(20);

/// What a server got. The first request's answer never comes, and the others only when its body is there.
#[derive(Clone, Default)]
struct Server {
    bodies: Arc<Mutex<Vec<Bytes>>>,
    calls: Arc<AtomicUsize>,
    began: Arc<Notify>,
    first: Arc<Notify>,
    dropped: Arc<Notify>,
}

struct Dropped(Arc<Notify>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

async fn stock(State(server): State<Server>, body: axum::body::Body) -> &'static str {
    let call = server.calls.fetch_add(1, SeqCst);
    server.began.notify_one();
    let _dropped = (call == 0).then(|| Dropped(server.dropped.clone()));
    let bytes = body.collect().await.unwrap().to_bytes();
    server.bodies.lock().unwrap().push(bytes);
    if call == 0 {
        server.first.notify_one();
        std::future::pending::<()>().await;
    }
    server.first.notified().await;
    "done"
}

async fn serve(server: Server) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/", put(stock)).with_state(server);
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

#[tokio::test]
async fn a_body_is_sent_by_both_while_it_streams_out() {
    for http2 in [false, true] {
        let server = Server::default();
        let url = serve(server.clone()).await;
        let client =
            Client::builder(TokioExecutor::new()).http2_only(http2).build_http::<UnsyncBoxBody<Bytes, io::Error>>();
        let layer = HedgeLayer::http("stock").after(Duration::from_millis(30));
        let mut service = layer.layer(client);

        // Half of the body is on its way when the hedge goes; the other half comes after that.
        let (frames, body) = scripted();
        frames.send(data("half ")).unwrap();
        let call = service.ready().await.unwrap().call(Request::put(&url).body(body).unwrap());
        let call = tokio::spawn(call);
        server.began.notified().await;
        server.began.notified().await;
        frames.send(data("and half")).unwrap();
        drop(frames);
        let response = timeout(STUCK, call).await.expect("the first breaks off").unwrap().unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "done");
        // The loser is reset, and so the server's handler dropped.
        server.dropped.notified().await;
        let bodies = server.bodies.lock().unwrap();
        assert_eq!(*bodies, ["half and half"; 2]);
        assert_eq!((server.calls.load(SeqCst), layer.handle().snapshot().won), (2, 1), "{http2}");
    }
}

#[tokio::test]
async fn a_body_too_large_to_be_kept_is_sent_once() {
    let server = Server::default();
    server.calls.fetch_add(1, SeqCst);
    server.first.notify_one();
    let url = serve(server.clone()).await;
    let client = Client::builder(TokioExecutor::new()).build_http::<UnsyncBoxBody<Bytes, io::Error>>();
    let layer = HedgeLayer::http("stock").after(Duration::from_millis(30)).replay_at_most(5);
    let (frames, body) = scripted();
    frames.send(data("more than ")).unwrap();
    let call = tokio::spawn(layer.layer(client).oneshot(Request::put(&url).body(body).unwrap()));
    server.began.notified().await;
    // Until it would have been hedged.
    while layer.handle().snapshot().held_back_not_replayable == 0 {
        tokio::task::yield_now().await;
    }
    frames.send(data("five bytes")).unwrap();
    drop(frames);
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
    assert_eq!(*server.bodies.lock().unwrap(), ["more than five bytes"]);
    assert_eq!(layer.handle().snapshot().too_large, 1);
}
