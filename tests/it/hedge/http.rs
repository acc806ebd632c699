//! HTTP: what is hedged, and which answers end the race.

use std::{convert::Infallible, io, time::Duration};

use buttress::{
    BoxError, HedgeLayer, Reason, Rejection,
    hedge::{Careful, HTTP_PREVIOUS_ATTEMPTS},
    protocol::Http,
    retry::IDEMPOTENCY_KEY,
};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

use super::{Course, MS};

type Res = Response<Full<Bytes>>;

fn layer() -> HedgeLayer<Http, Careful> {
    HedgeLayer::http("test").after(100 * MS)
}

fn request(method: Method) -> Request<Full<Bytes>> {
    Request::builder().method(method).uri("/stock").body(Full::from("which")).unwrap()
}

fn status(status: u16) -> Res {
    Response::builder().status(status).body(Full::default()).unwrap()
}

fn answers<E: Send + 'static>(answer: Res) -> Result<Res, E> {
    Ok(answer)
}

#[tokio::test(start_paused = true)]
async fn what_is_idempotent_is_hedged() {
    let inner = || Course::new(|_| (300 * MS, answers::<Infallible>(status(200))));
    for (method, calls) in
        [(Method::GET, 2), (Method::HEAD, 2), (Method::PUT, 2), (Method::POST, 1), (Method::PATCH, 1)]
    {
        let inner = inner();
        layer().layer(inner.clone()).oneshot(request(method.clone())).await.unwrap();
        assert_eq!(inner.calls(), calls, "{method}");
    }
    let course = inner();
    let mut keyed = request(Method::POST);
    keyed.headers_mut().insert(IDEMPOTENCY_KEY, "7".parse().unwrap());
    layer().layer(course.clone()).oneshot(keyed).await.unwrap();
    assert_eq!(course.calls(), 2);
    let course = inner();
    layer()
        .safe_when(|head| head.uri.path() == "/stock")
        .layer(course.clone())
        .oneshot(request(Method::POST))
        .await
        .unwrap();
    assert_eq!(course.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn hedges_say_how_many_attempts_there_were_before() {
    let inner = Course::new(|_| (1000 * MS, answers::<Infallible>(status(200))));
    let mut retried = request(Method::GET);
    retried.headers_mut().insert(HTTP_PREVIOUS_ATTEMPTS, "3".parse().unwrap());
    layer().max_hedges(2).layer(inner.clone()).oneshot(retried).await.unwrap();
    let asked = inner.seen.asked.lock().unwrap();
    let previous = asked.iter().map(|(_, request)| request.headers()[HTTP_PREVIOUS_ATTEMPTS].to_str().unwrap());
    assert_eq!(previous.collect::<Vec<_>>(), ["3", "4", "5"]);
}

/// The status handed on, how many calls there were, and when.
async fn race(first: (u32, Res), second: (u32, Res)) -> (u16, Vec<u64>) {
    let script = [first, second];
    let inner = Course::new(move |call| (script[call].0 * MS, answers::<Infallible>(script[call].1.clone())));
    let began = Instant::now();
    let response = layer().layer(inner.clone()).oneshot(request(Method::GET)).await.unwrap();
    assert_eq!(inner.running(), 0);
    (response.status().as_u16(), inner.times(began))
}

fn asking(status: u16, retry_after: &'static str) -> Res {
    Response::builder().status(status).header("retry-after", retry_after).body(Full::default()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_another_attempt_may_mend_lets_it_go_at_once() {
    for code in [408, 502, 503, 504] {
        assert_eq!(race((10, status(code)), (10, status(200))).await, (200, vec![0, 10]), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn any_other_answer_ends_the_race() {
    for code in [200, 302, 404, 500, 501] {
        assert_eq!(race((10, status(code)), (0, status(200))).await, (code, vec![0]));
        assert_eq!(race((1000, status(200)), (10, status(code))).await, (code, vec![0, 100]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_too_much_to_do_is_not_hurried() {
    assert_eq!(race((10, status(429)), (0, status(200))).await, (429, vec![0]));
    assert_eq!(race((10, asking(503, "1")), (0, status(200))).await, (503, vec![0]));
    // The other one is waited for.
    assert_eq!(race((110, asking(503, "1")), (100, status(200))).await, (200, vec![0, 100]));
    assert_eq!(race((110, status(429)), (100, status(200))).await, (200, vec![0, 100]));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_rides_along_only_if_nothing_was_sent() {
    let refused = || {
        let mut response = status(503);
        response.extensions_mut().insert(Rejection::new("bulkhead", "below", Reason::BulkheadFull));
        response
    };
    for (first, calls, is_rejection) in [(refused(), 1, true), (status(502), 2, false)] {
        let inner =
            Course::new(move |call| (MS, answers::<Infallible>(if call == 0 { first.clone() } else { refused() })));
        let response = layer().layer(inner.clone()).oneshot(request(Method::GET)).await.unwrap();
        assert_eq!(inner.calls(), calls);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.extensions().get::<Rejection>().is_some(), is_rejection);
    }
}

#[tokio::test(start_paused = true)]
async fn the_error_of_the_service_stays_what_it_is() {
    let inner = Course::new(|_| (MS, Err::<Res, _>(io::Error::from(io::ErrorKind::ConnectionReset))));
    let error: io::Error = layer().layer(inner.clone()).oneshot(request(Method::GET)).await.unwrap_err();
    assert_eq!((error.kind(), inner.calls()), (io::ErrorKind::ConnectionReset, 2));
}

#[tokio::test(start_paused = true)]
async fn other_statuses_may_be_called_non_fatal() {
    let inner = Course::new(|call| (MS, answers::<BoxError>(status(if call == 0 { 500 } else { 200 }))));
    let layer = layer().non_fatal_if(|status, _| status.is_server_error());
    assert_eq!(layer.layer(inner.clone()).oneshot(request(Method::GET)).await.unwrap().status(), 200);
    assert_eq!(inner.calls(), 2);
}

#[test]
fn a_delay_is_a_duration() {
    assert_eq!(layer().handle().snapshot().after, Some(Duration::from_millis(100)));
}
