//! HTTP: what is retried, when, and what the attempts carry.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use buttress::{
    BoxError, Deadline, Elapsed, Reason, Rejection, RetryLayer, TimeoutLayer,
    protocol::Http,
    retry::{Attempt, HTTP_PREVIOUS_ATTEMPTS, IDEMPOTENCY_KEY, RetryService, is_idempotent, is_transient},
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{ACCEPT, CONTENT_TYPE},
    request,
};
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use super::{Script, waits};
use crate::support::{
    allocations::{allocations, call_now},
    body::{ScriptedBody, data, scripted},
};

type Req = Request<Full<Bytes>>;
type Res = Response<Full<Bytes>>;

fn request(method: Method) -> Req {
    Request::builder().method(method).uri(Uri::from_static("/orders")).body(Full::from("an order")).unwrap()
}

fn answer(status: u16) -> Res {
    Response::builder().status(status).body(Full::from("sorry")).unwrap()
}

fn layer() -> RetryLayer<Http> {
    RetryLayer::http("test").backoff(waits())
}

/// How often `request` is sent when it is always answered by `answer`.
async fn attempts(request: Req, answer: impl Fn() -> Result<Res, BoxError> + Clone) -> usize {
    let inner = Script::new(move |_, _: &Req| answer());
    let _ = layer().layer(inner.clone()).oneshot(request).await;
    inner.calls()
}

#[tokio::test(start_paused = true)]
async fn retries_what_is_safe_after_what_may_pass() {
    for (method, safe) in [
        (Method::GET, true),
        (Method::HEAD, true),
        (Method::OPTIONS, true),
        (Method::TRACE, true),
        (Method::PUT, true),
        (Method::DELETE, true),
        (Method::POST, false),
        (Method::PATCH, false),
        (Method::CONNECT, false),
    ] {
        for (status, passes) in [
            (200, false),
            (304, false),
            (400, false),
            (404, false),
            (408, true),
            (429, true),
            (500, false),
            (501, false),
            (502, true),
            (503, true),
            (504, true),
        ] {
            let calls = attempts(request(method.clone()), move || Ok(answer(status))).await;
            assert_eq!(calls, if safe && passes { 3 } else { 1 }, "{method} {status}");
        }
        let reset = || Err(io::Error::from(io::ErrorKind::ConnectionReset).into());
        assert_eq!(attempts(request(method.clone()), reset).await, if safe { 3 } else { 1 }, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idempotency_key_makes_any_request_safe() {
    let mut request = request(Method::POST);
    request.headers_mut().insert(IDEMPOTENCY_KEY, "order-1".parse().unwrap());
    assert_eq!(attempts(request, || Ok(answer(503))).await, 3);
}

#[tokio::test(start_paused = true)]
async fn what_provably_was_not_sent_may_be_sent_again() {
    let refused = || Err(io::Error::from(io::ErrorKind::ConnectionRefused).into());
    assert_eq!(attempts(request(Method::POST), refused).await, 3);
    let wrapped = || Err(io::Error::other(io::Error::from(io::ErrorKind::ConnectionRefused)).into());
    assert_eq!(attempts(request(Method::POST), wrapped).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_never_retried() {
    let rejection = || Rejection::new("circuit_breaker", "payments", Reason::CircuitOpen);
    let ours = move || {
        let mut response = answer(503);
        response.extensions_mut().insert(rejection());
        Ok(response)
    };
    assert_eq!(attempts(request(Method::GET), ours).await, 1);
    assert_eq!(attempts(request(Method::GET), move || Err(rejection().into())).await, 1);
    let envoys = || {
        let mut response = answer(503);
        response.headers_mut().insert("x-envoy-overloaded", "true".parse().unwrap());
        Ok(response)
    };
    assert_eq!(attempts(request(Method::GET), envoys).await, 1);
}

#[tokio::test(start_paused = true)]
async fn the_user_says_what_is_safe_and_what_would_help() {
    let inner = Script::new(|_, request: &Req| {
        Ok::<_, Infallible>(answer(if request.uri().path() == "/orders" { 500 } else { 503 }))
    });
    let layer = layer()
        .safe_when(|head: &request::Parts| is_idempotent(head) || head.uri.path() == "/search")
        .retry_if(|status: StatusCode, headers: &HeaderMap| is_transient(status) && !headers.contains_key("final"));
    let service = layer.layer(inner.clone());
    let mut search = request(Method::POST);
    *search.uri_mut() = "/search".parse().unwrap();
    service.clone().oneshot(search).await.unwrap();
    assert_eq!(inner.calls(), 3);
    service.clone().oneshot(request(Method::POST)).await.unwrap();
    service.oneshot(request(Method::GET)).await.unwrap();
    assert_eq!(inner.calls(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_ran_out_of_time_is_tried_again() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let inner = service_fn(move |_: Req| {
        let slow = counted.fetch_add(1, SeqCst) == 0;
        async move {
            tokio::time::sleep(Duration::from_secs(if slow { 60 } else { 0 })).await;
            Ok::<_, BoxError>(answer(200))
        }
    });
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::http("whole").within(Duration::from_secs(10)))
        .layer(layer())
        .layer(TimeoutLayer::http("attempt").within(Duration::from_secs(1)))
        .service(inner);
    let response = service.oneshot(request(Method::GET)).await.unwrap();
    assert_eq!((response.status().as_u16(), calls.load(SeqCst)), (200, 2));
    assert!(response.extensions().get::<Elapsed>().is_none());
}

#[tokio::test(start_paused = true)]
async fn retry_after_replaces_the_wait_within_bounds() {
    for (field, asked, waited) in [
        ("x-other", "2", 100),
        ("retry-after", "0", 100),
        ("retry-after", "2", 2000),
        ("retry-after", "120", 5100),
        ("retry-after", "99999999999999999999999999", 5100),
        // What can't be read is as good as absent.
        ("retry-after", "soon", 100),
        ("retry-after", "-3", 100),
        ("retry-after", "", 100),
        ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT", 100),
        // The word of a rate limit, as ours and others' write it.
        ("ratelimit", r#""default";r=0;t=2"#, 2000),
        ("ratelimit", r#""default";r=7;t=2"#, 100),
    ] {
        let inner = Script::new(move |calls, _: &Req| {
            let mut response = answer(if calls == 0 { 503 } else { 200 });
            response.headers_mut().insert(field, asked.parse().unwrap());
            Ok::<_, Infallible>(response)
        });
        let began = Instant::now();
        assert_eq!(layer().layer(inner).oneshot(request(Method::GET)).await.unwrap().status(), 200);
        assert_eq!(began.elapsed().as_millis(), waited, "{field}: {asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_say_how_many_there_were_before() {
    let inner = Script::new(|_, _: &Req| Ok::<_, Infallible>(answer(503)));
    layer().layer(inner.clone()).oneshot(request(Method::PUT)).await.unwrap();
    let seen = |inner: &Script<_, Req>| {
        let asked = inner.asked.lock().unwrap();
        let headers = asked.iter().map(|request| request.headers().get(HTTP_PREVIOUS_ATTEMPTS).cloned());
        let headers: Vec<_> = headers.map(|value| value.map(|value| value.to_str().unwrap().to_owned())).collect();
        let extensions = asked.iter().map(|request| request.extensions().get::<Attempt>().copied());
        (headers, extensions.collect::<Vec<_>>())
    };
    let expected = [None, Some("1".to_owned()), Some("2".to_owned())];
    assert_eq!(seen(&inner), (expected.into(), vec![None, Some(Attempt::after(1)), Some(Attempt::after(2))]));

    // A caller's own retry is counted on from.
    inner.asked.lock().unwrap().clear();
    let mut request = request(Method::PUT);
    request.headers_mut().insert(HTTP_PREVIOUS_ATTEMPTS, "4".parse().unwrap());
    layer().layer(inner.clone()).oneshot(request).await.unwrap();
    assert_eq!(seen(&inner).0, ["4", "5", "6"].map(|value| Some(value.to_owned())));
}

#[tokio::test(start_paused = true)]
async fn every_attempt_is_the_whole_request() {
    #[derive(Debug, Clone, PartialEq)]
    struct Tenant(u32);

    let inner = Script::new(|_, _: &Req| Ok::<_, Infallible>(answer(503)));
    let mut request = request(Method::PUT);
    request.headers_mut().insert("x-tenant", "7".parse().unwrap());
    request.extensions_mut().insert(Tenant(7));
    layer().layer(inner.clone()).oneshot(request).await.unwrap();
    let asked = std::mem::take(&mut *inner.asked.lock().unwrap());
    assert_eq!(asked.len(), 3);
    for request in asked {
        assert_eq!((request.method(), request.uri().path()), (&Method::PUT, "/orders"));
        assert_eq!(request.headers()["x-tenant"], "7");
        assert_eq!(request.extensions().get(), Some(&Tenant(7)));
        assert_eq!(request.into_body().collect().await.unwrap().to_bytes(), "an order");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_in_the_request_is_kept_to() {
    let inner = Script::new(|_, _: &Req| Ok::<_, Infallible>(answer(503)));
    let mut request = request(Method::GET);
    request.extensions_mut().insert(Deadline::after(Duration::from_millis(100)));
    let began = Instant::now();
    assert_eq!(layer().layer(inner.clone()).oneshot(request).await.unwrap().status(), 503);
    assert_eq!((inner.calls(), began.elapsed()), (1, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_failed_attempt_is_dropped_before_the_wait() {
    let (frames, body) = scripted();
    let body = std::sync::Mutex::new(Some(body));
    let inner = Script::new(move |calls, _: &Req| {
        let body = body.lock().unwrap().take().unwrap_or_else(|| scripted().1);
        let status = if calls == 0 { 503 } else { 200 };
        Ok::<Response<ScriptedBody>, Infallible>(Response::builder().status(status).body(body).unwrap())
    });
    let inner = tower::util::BoxCloneService::new(service_fn({
        let inner = Arc::new(tokio::sync::Mutex::new(inner));
        move |request: Req| {
            let inner = inner.clone();
            async move {
                let mut inner = inner.lock().await;
                tower::Service::call(inner.ready().await?, request).await
            }
        }
    }));
    let mut call = tokio_test::task::spawn(layer().layer(inner).oneshot(request(Method::GET)));
    while frames.send(data("still here")).is_ok() {
        assert!(call.poll().is_pending());
        tokio::task::yield_now().await;
    }
    // In the midst of the first wait.
    assert!(call.poll().is_pending());
    tokio::time::advance(Duration::from_millis(101)).await;
    while call.poll().is_pending() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_axum_router_can_be_put_under_it() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let handler = move |headers: HeaderMap| async move {
        counted.fetch_add(1, SeqCst);
        match Attempt::from_headers(&headers).number() {
            3 => (StatusCode::OK, "at last"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "not yet"),
        }
    };
    let app: Router = Router::new().route("/orders", get(handler)).layer(layer());
    let request = Request::get("/orders").body(Body::empty()).unwrap();
    let response: Response<Body> = app.oneshot(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "at last");
    assert_eq!(calls.load(SeqCst), 3);
}

#[test]
fn a_first_attempt_allocates_what_keeping_the_request_takes() {
    let inner = tower::service_fn(|_: Req| std::future::ready(Ok::<_, Infallible>(answer(200))));
    let mut bare = inner;
    let mut service: RetryService<_, Http> = RetryLayer::http("test").layer(inner);
    // A policy's first call registers its metrics.
    drop(call_now(&mut service, request(Method::GET)));
    // Of what costs nothing to clone itself.
    let cost = |call: &mut dyn FnMut(Req), headers: usize| {
        let with_headers = |_| {
            let mut request = request(Method::GET);
            for name in [CONTENT_TYPE, ACCEPT].into_iter().take(headers) {
                request.headers_mut().insert(name, HeaderValue::from_static("text/plain"));
            }
            request
        };
        let requests: Vec<Req> = (0..100).map(with_headers).collect();
        allocations(|| requests.into_iter().for_each(call))
    };
    let mut call_bare = |request| drop(call_now(&mut bare, request));
    let (bare_empty, bare_headers) = (cost(&mut call_bare, 0), cost(&mut call_bare, 2));
    let mut call_kept = |request| drop(call_now(&mut service, request));
    // The clone of a head without headers costs nothing, one with headers their table's two allocations.
    assert_eq!(cost(&mut call_kept, 0) - bare_empty, 0);
    assert_eq!(cost(&mut call_kept, 2) - bare_headers, 2 * 100);
}
