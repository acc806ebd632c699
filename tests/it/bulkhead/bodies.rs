//! Calls that last as long as their bodies, and refusals that are responses.

use std::convert::Infallible;

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tower::{ServiceExt, service_fn};

use super::*;

/// Far more than it takes: what is stuck fails, and does not hold up the suite.
const STUCK: Duration = Duration::from_secs(30);

type Frames = mpsc::Sender<Result<Frame<Bytes>, BoxError>>;
type Streamed = StreamBody<ReceiverStream<Result<Frame<Bytes>, BoxError>>>;

fn streamed() -> (Frames, Response<Streamed>) {
    let (frames, body) = mpsc::channel(8);
    (frames, Response::new(StreamBody::new(ReceiverStream::new(body))))
}

fn data() -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(Bytes::from_static(b"data")))
}

/// The answer to one call, its body still streaming, and the bulkhead it came through.
macro_rules! one_call {
    ($layer:expr) => {{
        let layer = $layer.max_concurrent(1);
        let (frames, response) = streamed();
        let mut response = Some(response);
        let inner = mock_once(move || response.take().unwrap());
        let response = layer.layer(inner).oneshot(Request::new(())).await.unwrap();
        assert_eq!(counts(&layer.handle()), (1, 0), "the head is not the end");
        (frames, response.into_body(), layer.handle())
    }};
}

fn mock_once<R: Send + 'static>(
    answer: impl FnMut() -> R + Send + 'static,
) -> impl Service<Request<()>, Response = R, Error = Infallible> + Clone {
    let answer = std::sync::Arc::new(std::sync::Mutex::new(answer));
    service_fn(move |_: Request<()>| std::future::ready(Ok((answer.lock().unwrap())())))
}

#[tokio::test(start_paused = true)]
async fn the_permit_is_held_until_the_body_ends() {
    let (frames, mut body, bulkhead) = one_call!(BulkheadLayer::http("b"));
    frames.send(data()).await.unwrap();
    body.frame().await.unwrap().unwrap();
    assert_eq!(counts(&bulkhead), (1, 0));
    drop(frames);
    assert!(body.frame().await.is_none());
    assert_eq!(counts(&bulkhead), (0, 0), "before the body is dropped");
}

#[tokio::test(start_paused = true)]
async fn the_permit_is_given_back_when_the_body_is_dropped_half_way() {
    let (frames, mut body, bulkhead) = one_call!(BulkheadLayer::http("b"));
    frames.send(data()).await.unwrap();
    body.frame().await.unwrap().unwrap();
    assert_eq!(counts(&bulkhead), (1, 0));
    drop(body);
    assert_eq!(counts(&bulkhead), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_permit_is_given_back_when_the_body_breaks_off() {
    let (frames, mut body, bulkhead) = one_call!(BulkheadLayer::http("b"));
    frames.send(Err("connection reset".into())).await.unwrap();
    body.frame().await.unwrap().unwrap_err();
    assert_eq!(counts(&bulkhead), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_grpc_call_ends_with_its_trailers() {
    let (frames, mut body, bulkhead) = one_call!(BulkheadLayer::grpc("b"));
    frames.send(data()).await.unwrap();
    body.frame().await.unwrap().unwrap();
    assert_eq!(counts(&bulkhead), (1, 0));
    let trailers = [("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect();
    frames.send(Ok(Frame::trailers(trailers))).await.unwrap();
    body.frame().await.unwrap().unwrap();
    assert_eq!(counts(&bulkhead), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_complete_ends_the_call_at_once() {
    let layer = BulkheadLayer::http("b");
    let inner = mock_once(|| Response::new(Full::new(Bytes::new())));
    let response = layer.layer(inner).oneshot(Request::new(())).await.unwrap();
    assert_eq!(counts(&layer.handle()), (0, 0));
    drop(response);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_over_http_is_a_503_that_says_so() {
    let layer = BulkheadLayer::http("orders").max_concurrent(1);
    let _all = layer.handle().try_acquire().unwrap();
    let inner = mock_once(|| streamed().1);
    let response = layer.layer(inner).oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.extensions().get::<Rejection>().unwrap().reason(), Reason::BulkheadFull);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["policy"], "bulkhead");
    assert_eq!(body["name"], "orders");
    assert_eq!(body["reason"], "bulkhead_full");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_over_grpc_is_a_resource_exhausted() {
    let layer = BulkheadLayer::grpc("orders").max_concurrent(1).max_wait(Duration::from_millis(5));
    let _all = layer.handle().try_acquire().unwrap();
    let inner = mock_once(|| streamed().1);
    let response = layer.layer(inner).oneshot(Request::new(())).await.unwrap();
    assert_eq!((response.status(), &response.headers()["grpc-status"]), (StatusCode::OK, &"8".parse().unwrap()));
    assert_eq!(response.extensions().get::<Rejection>().unwrap().reason(), Reason::WaitExpired);
}

/// tower's `ConcurrencyLimitLayer` lets all 64 in here, for axum applies it anew to each connection.
#[tokio::test]
async fn one_layer_holds_its_limit_over_64_connections_to_axum() {
    const CONNECTIONS: usize = 64;
    const LIMIT: usize = 5;

    let layer = BulkheadLayer::http("orders").max_concurrent(LIMIT);
    let bulkhead = layer.handle();
    let gate = Gate::shut();
    let handler = {
        let gate = gate.clone();
        move || {
            let served = gate.oneshot(7);
            async { served.await.unwrap().to_string() }
        }
    };
    let app = Router::new().route("/", get(handler)).layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    let (answered, mut answers) = mpsc::channel(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let answered = answered.clone();
        tokio::spawn(async move {
            let stream = TcpStream::connect(address).await.unwrap();
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            let request = Request::get("/").header("host", "localhost").body(Body::empty()).unwrap();
            let response = sender.send_request(request).await.unwrap();
            let status = response.status();
            response.into_body().collect().await.unwrap();
            answered.send(status).await.unwrap();
        });
    }
    let mut answer = async || timeout(STUCK, answers.recv()).await.expect("somebody gets no answer");
    for _ in 0..CONNECTIONS - LIMIT {
        assert_eq!(answer().await, Some(StatusCode::SERVICE_UNAVAILABLE));
    }
    assert_eq!((gate.inside(), gate.most()), (LIMIT, LIMIT));
    gate.let_go(LIMIT);
    for _ in 0..LIMIT {
        assert_eq!(answer().await, Some(StatusCode::OK));
    }
    assert_eq!(bulkhead.snapshot().rejected.full, (CONNECTIONS - LIMIT) as u64);
    server.abort();
}

/// The client reads the head and then dawdles: the permit is out until it has read the body, or hung up.
#[tokio::test]
async fn a_download_counts_until_its_client_hangs_up() {
    let layer = BulkheadLayer::http("downloads").max_concurrent(1);
    let bulkhead = layer.handle();
    let endless = || async { Body::from_stream(tokio_stream::iter(std::iter::repeat(Ok::<_, Infallible>("data")))) };
    let app = Router::new().route("/", get(endless)).layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("/").header("host", "localhost").body(Body::empty()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(counts(&bulkhead), (1, 0));

    drop(response);
    drop(sender);
    connection.abort();
    let freed = async {
        while counts(&bulkhead) != (0, 0) {
            tokio::task::yield_now().await;
        }
    };
    timeout(STUCK, freed).await.expect("the permit comes back when the client is gone");
    server.abort();
}
