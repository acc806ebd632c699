//! HTTP: which answers are replaced, and by what.

use std::{convert::Infallible, io};

use axum::{
    Router,
    body::Body,
    extract::Request as AxumRequest,
    routing::{get, post},
};
use buttress::{
    CircuitBreakerLayer, Elapsed, FallbackLayer, Reason, Rejection,
    circuit_breaker::State,
    fallback::{Failure, FellBack, Nothing},
    protocol::Http,
};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::net::TcpListener;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use crate::support::{body::data, body::scripted, script::Script};

type Req = Request<Empty<Bytes>>;
type Res = Response<Full<Bytes>>;

fn layer() -> FallbackLayer<Http, Nothing> {
    FallbackLayer::http("test")
}

fn status(status: u16) -> Res {
    Response::builder().status(status).body(Full::default()).unwrap()
}

async fn answered(answer: Res) -> Response<impl http_body::Body<Data = Bytes, Error: std::fmt::Debug>> {
    let inner = Script::new(move |_, _: &Req| Ok::<_, Infallible>(answer.clone()));
    layer().value(Response::new(Full::<Bytes>::from("instead"))).layer(inner).oneshot(Req::default()).await.unwrap()
}

#[tokio::test]
async fn server_errors_and_overload_are_answered_and_the_callers_faults_are_not() {
    for code in [500, 502, 503, 504, 599, 429] {
        let response = answered(status(code)).await;
        assert_eq!(response.status(), 200, "{code}");
        let mark = response.extensions().get::<FellBack>().unwrap().clone();
        assert_eq!(mark.failure().to_string(), format!("http {code}"));
        assert_eq!((mark.name().as_str(), mark.is_failed()), ("test", false));
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "instead");
    }
    for code in [200, 204, 304, 400, 401, 404, 409, 422] {
        let response = answered(status(code)).await;
        assert_eq!(response.status(), code);
        assert!(response.extensions().get::<FellBack>().is_none());
    }
}

#[tokio::test]
async fn refusals_and_elapsed_times_are_answered() {
    let mut refused = status(503);
    refused.extensions_mut().insert(Rejection::new("bulkhead", "below", Reason::BulkheadFull));
    let mut elapsed = status(504);
    elapsed.extensions_mut().insert(Elapsed::new("attempt"));
    for (answer, kind) in [(refused, "rejected"), (elapsed, "elapsed")] {
        let response = answered(answer).await;
        assert_eq!(response.extensions().get::<FellBack>().unwrap().failure().kind(), kind);
        assert!(response.extensions().get::<Rejection>().is_none());
    }
}

#[tokio::test]
async fn the_error_of_the_service_stays_what_it_is() {
    let inner = Script::new(|_, _: &Req| Err::<Res, _>(io::Error::from(io::ErrorKind::ConnectionReset)));
    let other = service_fn(async |_: Req| Err::<Res, _>(io::Error::from(io::ErrorKind::TimedOut)));
    let error: io::Error = layer().service(other).layer(inner.clone()).oneshot(Req::default()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let answered = layer().value(status(200)).layer(inner).oneshot(Req::default()).await;
    assert_eq!(answered.unwrap().extensions().get::<FellBack>().unwrap().failure().to_string(), "connection reset");
}

#[tokio::test]
async fn a_function_is_told_the_head_and_the_failure() {
    let layer = layer().with(async |head: http::request::Parts, failure: Failure| {
        let text = format!("{} {} {} {failure}", head.method, head.uri, head.headers["x-who"].to_str().unwrap());
        Response::new(Full::<Bytes>::from(text))
    });
    let inner = Script::new(|_, _: &Request<String>| Ok::<_, Infallible>(status(500)));
    let request = Request::delete("/cart/1").header("x-who", "me").body("body".to_owned()).unwrap();
    let response = layer.layer(inner.clone()).oneshot(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "DELETE /cart/1 me http 500");
    assert_eq!(inner.asked.lock().unwrap()[0].body(), "body");
}

#[tokio::test]
async fn a_fallback_that_fails_is_handed_on_with_the_first_failure() {
    let inner = |code| Script::new(move |_, _: &Req| Ok::<_, Infallible>(status(code)));
    let layer = layer().service(inner(502));
    let response = layer.layer(inner(500)).oneshot(Req::default()).await.unwrap();
    assert_eq!(response.status(), 502);
    let mark = response.extensions().get::<FellBack>().unwrap();
    assert_eq!((mark.is_failed(), mark.failure().to_string().as_str()), (true, "http 500"));
    assert_eq!((layer.handle().snapshot().failed, layer.handle().snapshot().fell_back), (1, 0));
}

#[tokio::test]
async fn a_refused_fallback_is_a_rejection_only_if_the_call_was_refused_too() {
    let refused = || {
        let open = CircuitBreakerLayer::http("open");
        open.handle().force_open();
        open.layer(Script::new(|_, _: &Req| Ok::<_, Infallible>(status(200))))
    };
    let failing = Script::new(|_, _: &Req| Ok::<_, Infallible>(status(500)));
    let response = layer().service(refused()).layer(failing).oneshot(Req::default()).await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.extensions().get::<Rejection>().is_none());
    let response = layer().service(refused()).layer(refused()).oneshot(Req::default()).await.unwrap();
    assert!(response.extensions().get::<Rejection>().is_some());
}

#[tokio::test]
async fn what_a_failure_is_can_be_said() {
    let layer = layer().classify(|status: StatusCode, _: &HeaderMap| match status {
        StatusCode::NOT_FOUND => buttress::Outcome::FAILURE,
        _ => buttress::Outcome::Success,
    });
    for (code, answered) in [(404, 200), (500, 500)] {
        let inner = Script::new(move |_, _: &Req| Ok::<_, Infallible>(status(code)));
        let response = layer.clone().value(status(200)).layer(inner).oneshot(Req::default()).await.unwrap();
        assert_eq!(response.status(), answered);
    }
}

#[tokio::test]
async fn a_layer_above_judges_the_fallback_as_any_other_answer() {
    for (fallback, state) in [(200, State::Closed), (500, State::Open)] {
        let breaker = CircuitBreakerLayer::http("above").consecutive_failures(1);
        let service = ServiceBuilder::new()
            .layer(breaker.clone())
            .layer(layer().value(status(fallback)))
            .service(Script::new(|_, _: &Req| Ok::<_, Infallible>(status(503))));
        let response = service.oneshot(Req::default()).await.unwrap();
        drop(response);
        assert_eq!(breaker.handle().state(), state);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_too_late() {
    let inner = service_fn(|_: Req| async {
        let (sender, body) = scripted();
        sender.send(data("half")).unwrap();
        sender.send(Err(io::ErrorKind::ConnectionReset.into())).unwrap();
        Ok::<_, Infallible>(Response::new(body))
    });
    let layer = layer().value(status(200));
    let response = layer.layer(inner).oneshot(Req::default()).await.unwrap();
    let error = response.into_body().collect().await.unwrap_err();
    assert_eq!(error.downcast::<io::Error>().unwrap().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(layer.handle().snapshot().fell_back, 0);
}

async fn serve(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

#[tokio::test]
async fn a_route_falls_back_for_every_connection_together() {
    let layer = layer().max_concurrent(64).with(async |head, _| Response::new(Body::from(head.uri.path().to_owned())));
    let fallback = layer.handle();
    let app = Router::new().route("/ratings", get(async || StatusCode::INTERNAL_SERVER_ERROR)).layer(layer);
    let url = serve(app).await + "/ratings";
    for _ in 0..5 {
        // A connection each.
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let response = client.get(url.parse().unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "/ratings");
    }
    assert_eq!((fallback.snapshot().fell_back, fallback.snapshot().in_flight), (5, 0));
}

#[tokio::test]
async fn another_server_gets_the_same_body() {
    let echo = |status: StatusCode| post(async move |body: String| (status, body + "!"));
    let broken = serve(Router::new().route("/", echo(StatusCode::INTERNAL_SERVER_ERROR))).await;
    let well = serve(Router::new().route("/", echo(StatusCode::OK))).await;
    let client = || Client::builder(TokioExecutor::new()).build_http::<Body>();
    let at = |url: String| {
        tower::util::MapRequest::new(client(), move |mut request: AxumRequest| {
            *request.uri_mut() = url.parse().unwrap();
            request
        })
    };
    let layer = layer().replay_at_most(10).service(at(well));
    for (body, status, text) in [("hello", 200, "hello!"), ("more than ten bytes", 500, "more than ten bytes!")] {
        let stream = Body::from_stream(futures_util::stream::iter([Ok::<_, io::Error>(body)]));
        let response = layer.layer(at(broken.clone())).oneshot(Request::post("/").body(stream).unwrap()).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), text);
    }
    assert_eq!((layer.handle().snapshot().fell_back, layer.handle().snapshot().not_replayable), (1, 1));
}
