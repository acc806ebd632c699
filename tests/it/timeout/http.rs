//! HTTP services: an axum server, a hyper client.

use std::{
    convert::Infallible,
    future::{Ready, pending, ready},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use axum::{Extension, Router, routing::get};
use buttress::{
    BoxError, Deadline, Elapsed, Reason, Rejection, TimeoutLayer,
    protocol::Http,
    timeout::{REQUEST_TIMEOUT_MS, TimedBody},
};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    net::TcpListener,
    sync::mpsc,
    time::{Instant, advance, sleep},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::timeout::StoppedClock;

const MS: Duration = Duration::from_millis(1);

/// A body whose frames the test hands out.
struct Channel(mpsc::UnboundedReceiver<Frame<Bytes>>);

impl Body for Channel {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(7);
        hint
    }
}

fn channel() -> (mpsc::UnboundedSender<Frame<Bytes>>, Channel) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Channel(receiver))
}

fn data(text: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(text.as_bytes()))
}

/// What a service with a timeout makes of `response`.
async fn answered<B: Body>(layer: TimeoutLayer<Http>, response: Response<B>) -> Response<TimedBody<B>> {
    let mut response = Some(response);
    let mut service =
        layer.layer(service_fn(move |_: Request<()>| ready(Ok::<_, Infallible>(response.take().unwrap()))));
    service.ready().await.unwrap().call(Request::new(())).await.unwrap()
}

fn within(millis: u32) -> TimeoutLayer<Http> {
    TimeoutLayer::http("orders").within(millis * MS)
}

async fn json(response: Response<impl Body<Data = Bytes, Error: std::fmt::Debug>>) -> serde_json::Value {
    assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn answers_a_504_when_the_time_is_up() {
    let mut service =
        within(200).layer(service_fn(|_: Request<()>| pending::<Result<Response<Empty<Bytes>>, Infallible>>()));
    let begun = Instant::now();
    let response = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    assert_eq!(begun.elapsed(), 200 * MS);
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(response.extensions().get(), Some(&Elapsed::new("orders")));
    assert_eq!(response.extensions().get::<Rejection>(), None);
    let problem = json(response).await;
    assert_eq!(
        problem,
        serde_json::json!({
            "title": "request timed out", "status": 504, "policy": "timeout", "name": "orders", "reason": "elapsed"
        })
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_comes_too_late_is_answered_without_being_made() {
    let layer = within(200);
    let timeout = layer.handle();
    let mut service = layer
        .layer(service_fn(|_: Request<()>| -> Ready<Result<Response<Empty<Bytes>>, Infallible>> { panic!("called") }));
    let by_header = Request::builder().header(REQUEST_TIMEOUT_MS, "0").body(()).unwrap();
    let by_extension = Request::builder().extension(Deadline::at(Instant::now())).body(()).unwrap();
    for request in [by_header, by_extension] {
        let response = service.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
        let rejection = response.extensions().get::<Rejection>().unwrap();
        assert_eq!((rejection.policy(), rejection.reason()), ("timeout", Reason::DeadlinePassed));
        assert_eq!(response.extensions().get::<Elapsed>(), None);
        assert_eq!(json(response).await["reason"], "deadline_passed");
    }
    assert_eq!(timeout.snapshot().refused, 2);
}

/// The header, the extension and the task-local deadline that a service behind a 5 s timeout sees, in milliseconds.
async fn seen(request: Request<()>) -> [u128; 3] {
    let seen = Arc::new(Mutex::new([0; 3]));
    let see = seen.clone();
    let mut service = within(5000).layer(service_fn(move |request: Request<()>| {
        let now = Instant::now();
        *see.lock().unwrap() = [
            request.headers()[REQUEST_TIMEOUT_MS].to_str().unwrap().parse().unwrap(),
            request.extensions().get::<Deadline>().unwrap().remaining(now).as_millis(),
            Deadline::current().unwrap().remaining(now).as_millis(),
        ];
        ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
    }));
    service.ready().await.unwrap().call(request).await.unwrap();
    *seen.lock().unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_request_passed_on_carries_what_is_left() {
    let request = || Request::builder();
    assert_eq!(seen(request().body(()).unwrap()).await, [5000; 3]);
    assert_eq!(seen(request().header(REQUEST_TIMEOUT_MS, "1500").body(()).unwrap()).await, [1500; 3]);
    assert_eq!(seen(request().header(REQUEST_TIMEOUT_MS, "6000").body(()).unwrap()).await, [5000; 3], "only shortens");
    let deadline = Deadline::after(700 * MS);
    assert_eq!(seen(request().extension(deadline).body(()).unwrap()).await, [700; 3]);
    for (header, earlier) in [("600", 600), ("800", 700)] {
        let both = request().extension(deadline).header(REQUEST_TIMEOUT_MS, header).body(()).unwrap();
        assert_eq!(seen(both).await, [earlier; 3]);
    }
    assert_eq!(deadline.scope(async { seen(request().body(()).unwrap()).await }).await, [700; 3]);
    for unreadable in ["", "soon", "-1", "1.5", "10s", "1, 2", "+7"] {
        let value = HeaderValue::from_static(unreadable);
        assert_eq!(
            seen(request().header(REQUEST_TIMEOUT_MS, value).body(()).unwrap()).await,
            [5000; 3],
            "{unreadable:?}"
        );
    }
    let twice = request().header(REQUEST_TIMEOUT_MS, "900").header(REQUEST_TIMEOUT_MS, "800").body(()).unwrap();
    assert_eq!(seen(twice).await, [900; 3], "the first of several counts");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_breaks_off_when_the_time_is_up() {
    let layer = within(200);
    let timeout = layer.handle();
    let (sender, body) = channel();
    let begun = Instant::now();
    let response = answered(layer, Response::new(body)).await;
    assert_eq!((response.status(), response.body().size_hint().lower()), (StatusCode::OK, 7));
    let mut body = response.into_body();
    sender.send(data("one")).unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");

    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(begun.elapsed(), 200 * MS);
    assert_eq!(error.downcast_ref(), Some(&Elapsed::new("orders")));
    assert!(sender.is_closed(), "the inner body is dropped at once");
    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(0));
    assert!(body.frame().await.is_none());
    assert_eq!(timeout.snapshot().elapsed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_ends_in_time_comes_whole_with_its_trailers() {
    let layer = within(200);
    let timeout = layer.handle();
    let (sender, body) = channel();
    let mut body = answered(layer, Response::new(body)).await.into_body();
    assert!(!body.is_end_stream());
    sender.send(data("one")).unwrap();
    sender.send(Frame::trailers(HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("late"))]))).unwrap();
    drop(sender);
    sleep(199 * MS).await;
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
    assert_eq!(body.frame().await.unwrap().unwrap().into_trailers().unwrap()[CONTENT_TYPE], "late");
    sleep(200 * MS).await;
    assert!(body.frame().await.is_none());
    assert_eq!(timeout.snapshot().elapsed, 0);
}

#[tokio::test(start_paused = true)]
async fn of_what_comes_too_late_only_the_last_frame_is_given() {
    let late = |frame| async {
        let (sender, body) = channel();
        let mut body = answered(within(200), Response::new(body)).await.into_body();
        sender.send(frame).unwrap();
        sleep(300 * MS).await;
        body.frame().await.unwrap()
    };
    assert!(late(data("one of many")).await.is_err());
    assert!(late(Frame::trailers(HeaderMap::new())).await.is_ok());

    let mut whole = answered(within(200), Response::new(Full::new(Bytes::from_static(b"all of it")))).await.into_body();
    sleep(300 * MS).await;
    assert!(whole.frame().await.unwrap().is_ok(), "the work is done, so the answer is given");
}

#[tokio::test(start_paused = true)]
async fn a_body_without_end_is_cut_off_though_it_never_waits() {
    let endless = futures_util::stream::repeat_with(|| Ok::<_, Infallible>(data("again")));
    let mut body = answered(within(200), Response::new(StreamBody::new(endless))).await.into_body();
    let mut frames = 0;
    let error = loop {
        match body.frame().await.unwrap() {
            Ok(_) => frames += 1,
            Err(error) => break error,
        }
        advance(MS).await;
    };
    assert!(error.is::<Elapsed>());
    assert_eq!(frames, 200);
}

#[tokio::test(start_paused = true)]
async fn the_body_runs_under_the_deadline() {
    let left = async {
        let left = Deadline::current().map(|deadline| deadline.remaining(Instant::now()));
        Ok::<_, Infallible>(Frame::data(Bytes::from(format!("{left:?}"))))
    };
    let body = StreamBody::new(Box::pin(futures_util::stream::once(left)));
    let mut body = answered(within(200), Response::new(body)).await.into_body();
    sleep(50 * MS).await;
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "Some(150ms)");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_dropped_drops_the_inner_body_and_is_not_counted() {
    let layer = within(200);
    let timeout = layer.handle();
    for polls in 0..3 {
        let (sender, body) = channel();
        let mut body = answered(layer.clone(), Response::new(body)).await.into_body();
        sender.send(data("one")).unwrap();
        for _ in 0..polls {
            let _ = body.frame().now_or_never();
        }
        drop(body);
        assert!(sender.is_closed());
    }
    sleep(300 * MS).await;
    assert_eq!(timeout.snapshot().elapsed, 0);
}

#[tokio::test(start_paused = true)]
async fn of_two_timeouts_around_a_body_the_inner_one_tells_what_happened() {
    let (sender, body) = channel();
    let mut body = Some(body);
    let (total, attempt) = (within(100), TimeoutLayer::http("attempt"));
    let (outer, inner) = (total.handle(), attempt.handle());
    let mut service = ServiceBuilder::new()
        .layer(total)
        .layer(attempt)
        .service_fn(move |_: Request<()>| ready(Ok::<_, Infallible>(Response::new(body.take().unwrap()))));
    let response = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    let error = response.into_body().frame().await.unwrap().unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Elapsed::inherited("attempt")));
    assert_eq!((outer.snapshot().elapsed, inner.snapshot().elapsed), (0, 1));
    drop(sender);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_inner_service_stays_what_it_is() {
    let mut service = within(200).layer(service_fn(|_: Request<()>| async {
        sleep(200 * MS).await;
        Err::<Response<Empty<Bytes>>, std::fmt::Error>(std::fmt::Error)
    }));
    let error: std::fmt::Error = service.ready().await.unwrap().call(Request::new(())).await.unwrap_err();
    assert_eq!(error, std::fmt::Error);
}

#[test]
fn the_body_is_unpin_if_the_inner_body_is() {
    fn unpin<T: Unpin + Send + Sync>() {}
    unpin::<TimedBody<Full<Bytes>>>();
}

// ===== over sockets =====

type HyperClient = Client<HttpConnector, Full<Bytes>>;

fn client() -> HyperClient {
    Client::builder(TokioExecutor::new()).build_http()
}

/// Serves `app` on a loopback port, and gives its address.
async fn serve(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
    format!("http://{address}/")
}

fn get_from(address: &str) -> Request<Full<Bytes>> {
    Request::get(address).body(Full::default()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_handler_passes_the_deadline_of_its_caller_on_to_the_next_hop() {
    let _clock = StoppedClock::new();
    let hops = Arc::new(Mutex::new(Vec::new()));
    let note = |hops: &Arc<Mutex<Vec<_>>>, headers: &HeaderMap, deadline: Deadline| {
        let header = headers[REQUEST_TIMEOUT_MS].to_str().unwrap().to_owned();
        hops.lock().unwrap().push((header, deadline.remaining(Instant::now()).as_millis()));
    };

    let seen = hops.clone();
    let payments = async move |headers: HeaderMap, Extension(deadline): Extension<Deadline>| {
        note(&seen, &headers, deadline);
    };
    let payments = serve(Router::new().route("/", get(payments)).layer(TimeoutLayer::http("payments"))).await;

    let seen = hops.clone();
    let client_of_payments = TimeoutLayer::http("payments").within(3600 * 1000 * MS).layer(client());
    let orders = async move |headers: HeaderMap, Extension(deadline): Extension<Deadline>| {
        note(&seen, &headers, deadline);
        assert_eq!(Deadline::current(), Some(deadline));
        advance(300 * MS).await;
        let response = client_of_payments.clone().oneshot(get_from(&payments)).await.unwrap();
        response.status()
    };
    let orders = serve(Router::new().route("/", get(orders)).layer(TimeoutLayer::http("orders"))).await;

    let edge = TimeoutLayer::http("edge").within(2000 * MS).layer(client());
    let response = edge.oneshot(get_from(&orders)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(*hops.lock().unwrap(), [("2000".to_owned(), 2000), ("1700".to_owned(), 1700)]);
}

#[tokio::test(start_paused = true)]
async fn a_router_answers_a_504_and_stays_infallible() {
    let _clock = StoppedClock::new();
    let layer = within(200);
    let timeout = layer.handle();
    let app: Router = Router::new()
        .route(
            "/",
            get(async || {
                advance(200 * MS).await;
                pending::<()>().await;
            }),
        )
        .layer(layer);
    let response = client().request(get_from(&serve(app).await)).await.unwrap();
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("request timed out"));
    assert_eq!(timeout.snapshot().elapsed, 1, "every connection's service shares the policy");
}

/// An answer of which the first part comes at once and the second never.
fn half() -> axum::body::Body {
    use futures_util::StreamExt;
    let first = futures_util::stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b"first")) });
    axum::body::Body::from_stream(first.chain(futures_util::stream::pending()))
}

#[tokio::test(start_paused = true)]
async fn a_hyper_client_sees_half_a_body_break_off() {
    let _clock = StoppedClock::new();
    let address = serve(Router::new().route("/", get(async || half()))).await;
    let response = within(200).layer(client()).oneshot(get_from(&address)).await.unwrap();
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    advance(200 * MS).await;
    let error: BoxError = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Elapsed::new("orders")));
}

#[tokio::test(start_paused = true)]
async fn a_router_breaks_half_a_body_off_so_that_nobody_takes_it_for_a_whole_one() {
    let _clock = StoppedClock::new();
    let layer = within(200);
    let timeout = layer.handle();
    let address = serve(Router::new().route("/", get(async || half())).layer(layer)).await;
    let mut body = client().request(get_from(&address)).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    advance(200 * MS).await;
    assert!(body.frame().await.unwrap().is_err());
    assert_eq!(timeout.snapshot().elapsed, 1);
}
