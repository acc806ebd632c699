//! Bodies that stream, over real connections: a hyper client and an axum server.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Body, extract::State, routing::any};
use buttress::{
    BoxError, RetryLayer,
    protocol::Http,
    retry::{HTTP_PREVIOUS_ATTEMPTS, IDEMPOTENCY_KEY},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Method, Request, StatusCode, header::CONTENT_LENGTH};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt};

use super::hardly;

/// What the server has read, request by request.
type Seen = Arc<Mutex<Vec<Received>>>;

#[derive(Debug, Clone, PartialEq)]
struct Received {
    bytes: Vec<u8>,
    trailers: Option<HeaderMap>,
    length: Option<String>,
    previous: Option<String>,
    whole: bool,
}

#[derive(Clone)]
struct Server {
    seen: Seen,
    /// How many requests are answered with 503.
    failures: usize,
    /// Those are answered after so many frames.
    frames: usize,
}

/// Reads what it is told to, and says what it thinks of it.
async fn take(State(server): State<Server>, request: Request<Body>) -> StatusCode {
    let (head, mut body) = request.into_parts();
    let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let fails = {
        let mut seen = server.seen.lock().unwrap();
        seen.push(Received {
            bytes: Vec::new(),
            trailers: None,
            length: header(CONTENT_LENGTH.as_str()),
            previous: header(HTTP_PREVIOUS_ATTEMPTS.as_str()),
            whole: false,
        });
        seen.len() <= server.failures
    };
    let index = server.seen.lock().unwrap().len() - 1;
    let mut frames = 0;
    loop {
        if fails && frames == server.frames {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        let frame = body.frame().await;
        let mut seen = server.seen.lock().unwrap();
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => seen[index].bytes.extend_from_slice(&data),
                Err(frame) => seen[index].trailers = frame.into_trailers().ok(),
            },
            Some(Err(_)) => return StatusCode::BAD_REQUEST,
            None => {
                seen[index].whole = true;
                break;
            }
        }
        frames += 1;
    }
    if fails { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
}

async fn serve(failures: usize, frames: usize) -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let app = Router::new().route("/", any(take)).with_state(Server { seen: seen.clone(), failures, frames });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, seen)
}

fn client<B>(http2: bool) -> Client<HttpConnector, B>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    Client::builder(TokioExecutor::new()).http2_only(http2).build_http()
}

fn layer() -> RetryLayer<Http> {
    RetryLayer::http("test").backoff(hardly())
}

fn post<B>(address: SocketAddr, body: B) -> Request<B> {
    let uri = format!("http://{address}/");
    let builder = Request::post(uri).header(IDEMPOTENCY_KEY, "order-1").header("trailer", "sum");
    builder.body(body).unwrap()
}

fn sum() -> HeaderMap {
    HeaderMap::from_iter([("sum".parse().unwrap(), "42".parse().unwrap())])
}

/// A body of so many pieces, which come with pauses, and trailers.
fn streaming(pieces: u8) -> impl http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static {
    let data = stream::iter(0..pieces).then(async |piece| {
        tokio::task::yield_now().await;
        Ok(Frame::data(Bytes::from(vec![piece; 1000])))
    });
    StreamBody::new(data.chain(stream::once(async { Ok(Frame::trailers(sum())) })).boxed())
}

fn whole(pieces: u8) -> Vec<u8> {
    (0..pieces).flat_map(|piece| vec![piece; 1000]).collect()
}

#[tokio::test]
async fn a_streaming_body_is_sent_again_byte_by_byte_and_with_its_trailers() {
    for http2 in [false, true] {
        let (address, seen) = serve(2, usize::MAX).await;
        let layer = layer();
        let service = layer.layer(client::<Body>(http2));
        let response = service.oneshot(post(address, Body::new(streaming(20)))).await.unwrap();
        assert_eq!(response.status(), 200);
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 3);
        for (received, previous) in seen.iter().zip([None, Some("1"), Some("2")]) {
            assert_eq!(received.bytes, whole(20));
            assert_eq!(received.trailers, Some(sum()), "http2: {http2}");
            assert_eq!(received.previous.as_deref(), previous);
            assert!(received.whole);
        }
        assert_eq!(layer.handle().snapshot().recovered, 1);
    }
}

#[tokio::test]
async fn a_body_that_had_not_streamed_out_yet_is_gone_on_with() {
    // The answer comes after three frames; the rest of the body is held back until the server has given it.
    let (address, seen) = serve(1, 3).await;
    let first_three =
        stream::iter(0..3_u8).map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![piece; 1000]))));
    let (go, held) = tokio::sync::oneshot::channel::<()>();
    let held = stream::once(async move {
        held.await.unwrap();
        Ok(Frame::data(Bytes::from(vec![3; 1000])))
    });
    let body = UnsyncBoxBody::<Bytes, BoxError>::new(
        StreamBody::new(first_three.chain(held).boxed()).map_err(|never| match never {}),
    );
    let call = tokio::spawn(layer().layer(client(true)).oneshot(post(address, body)));
    while seen.lock().unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    go.send(()).unwrap();
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!((&seen[1].bytes, seen[1].whole), (&whole(4), true));
}

#[tokio::test]
async fn a_body_whose_length_is_known_keeps_its_length() {
    for http2 in [false, true] {
        let (address, seen) = serve(2, usize::MAX).await;
        let request = post(address, Body::from("an order"));
        assert_eq!(layer().layer(client::<Body>(http2)).oneshot(request).await.unwrap().status(), 200);
        let (address, seen_full) = serve(2, usize::MAX).await;
        let request = post(address, Full::<Bytes>::from("an order"));
        assert_eq!(layer().layer(client(http2)).oneshot(request).await.unwrap().status(), 200);
        for received in seen.lock().unwrap().iter().chain(seen_full.lock().unwrap().iter()) {
            assert_eq!((received.bytes.as_slice(), received.length.as_deref()), (&b"an order"[..], Some("8")));
        }
        assert_eq!((seen.lock().unwrap().len(), seen_full.lock().unwrap().len()), (3, 3));
    }
}

#[tokio::test]
async fn ten_mebibytes_go_out_intact_and_are_not_sent_again() {
    const PIECE: usize = 16 * 1024;
    const PIECES: usize = 10 * 1024 * 1024 / PIECE;
    for (sized, http2) in [(false, false), (false, true), (true, false), (true, true)] {
        let (address, seen) = serve(1, usize::MAX).await;
        let pieces = (0..PIECES).map(|piece| vec![piece as u8; PIECE]).collect::<Vec<_>>();
        let whole = pieces.concat();
        let body = if sized {
            Body::from(whole.clone())
        } else {
            Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>)))
        };
        let layer = layer().replay_at_most(64 * 1024);
        let response = layer.layer(client::<Body>(http2)).oneshot(post(address, body)).await.unwrap();
        // The failure is handed on.
        assert_eq!(response.status(), 503);
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 1);
        assert!(seen[0].bytes == whole && seen[0].whole);
        let snapshot = layer.handle().snapshot();
        assert_eq!((snapshot.too_large, snapshot.gave_up_not_replayable, snapshot.retries), (1, 1, 0));
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_sent_again() {
    for http2 in [false, true] {
        let (address, seen) = serve(0, 0).await;
        let pieces = [Ok(Bytes::from_static(b"half an or")), Err(BoxError::from("out of ink"))];
        let body = Body::from_stream(stream::iter(pieces).then(async |piece| {
            tokio::task::yield_now().await;
            piece
        }));
        let layer = layer();
        let result = layer.layer(client::<Body>(http2)).oneshot(post(address, body)).await;
        assert!(result.is_err());
        assert!(seen.lock().unwrap().len() <= 1);
        let snapshot = layer.handle().snapshot();
        assert_eq!((snapshot.gave_up_not_replayable, snapshot.retries), (1, 0), "http2: {http2}");
    }
}

#[tokio::test]
async fn any_request_is_sent_again_when_no_connection_was_made() {
    // A port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for body in [Body::from("an order"), Body::new(streaming(3))] {
        let layer = layer();
        let request = Request::builder().method(Method::POST).uri(format!("http://{address}/")).body(body).unwrap();
        let error = layer.layer(client::<Body>(false)).oneshot(request).await.unwrap_err();
        assert!(error.is_connect());
        assert_eq!((layer.handle().snapshot().retries, layer.handle().snapshot().gave_up_attempts), (2, 1));
    }
}

#[tokio::test]
async fn an_unsafe_request_is_not_sent_again_once_it_was_sent() {
    let (address, seen) = serve(1, usize::MAX).await;
    let request = Request::post(format!("http://{address}/")).body(Body::from("an order")).unwrap();
    let response = layer().layer(client::<Body>(false)).oneshot(request).await.unwrap();
    assert_eq!((response.status().as_u16(), seen.lock().unwrap().len()), (503, 1));
}

#[tokio::test]
async fn a_connection_that_breaks_is_retried_where_it_is_safe() {
    // Accepts, reads a little and hangs up.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(Mutex::new(0));
    let counted = accepted.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            *counted.lock().unwrap() += 1;
            stream.readable().await.unwrap();
            let _ = stream.try_read(&mut [0; 16]);
        }
    });
    for (method, attempts) in [(Method::PUT, 3), (Method::POST, 1)] {
        *accepted.lock().unwrap() = 0;
        let request = Request::builder().method(method).uri(format!("http://{address}/"));
        let request = request.body(Body::from("an order")).unwrap();
        let call = layer().layer(client::<Body>(false)).oneshot(request);
        assert!(tokio::time::timeout(Duration::from_secs(10), call).await.unwrap().is_err());
        assert_eq!(*accepted.lock().unwrap(), attempts);
    }
}
