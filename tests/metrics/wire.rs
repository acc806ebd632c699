//! Exchanges over real sockets: they end when their bodies do, and in gRPC as their trailers say.

use std::{convert::Infallible, time::Duration};

use axum::{Router, body::Body, response::IntoResponse, routing::get};
use buttress::{
    BulkheadLayer, CircuitBreakerLayer, FallbackLayer, HedgeLayer, RateLimitLayer, RetryLayer, TimeoutLayer,
    fallback::Failure, protocol::grpc::Code,
};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::net::TcpListener;
use tonic::{Status, transport::Channel};
use tower::{ServiceBuilder, ServiceExt};

#[path = "../it/support/grpc.rs"]
#[allow(dead_code, reason = "the integration tests use all of it")]
mod grpc;

use grpc::{Answer, EchoClient, Scripted, connect, serve};

use crate::{counts::value, scrape::prometheus};

/// What a policy of this name has counted.
fn counted(policy: &str, name: &str, metric: &str, label: (&str, &str)) -> Option<f64> {
    buttress::metrics::observe();
    value(&prometheus().render(), &format!("buttress_{metric}"), &[("policy", policy), ("name", name), label])
}

/// How many calls this policy has of each outcome: success, failure, overload, ignored, cancelled.
fn calls(policy: &str, name: &str) -> [f64; 5] {
    let outcomes = ["success", "failure", "overload", "ignored", "cancelled"];
    // None are there before the first has ended.
    outcomes.map(|outcome| counted(policy, name, "calls_total", ("outcome", outcome)).unwrap_or(0.0))
}

fn count(policy: &str, name: &str, metric: &str) -> Option<f64> {
    counted(policy, name, metric, ("policy", policy))
}

/// Waits until what the other side of a connection does has been seen.
async fn eventually(check: impl Fn() -> bool) {
    let poll = async {
        while !check() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), poll).await.expect("it never came to be");
}

async fn channel(scripted: Scripted) -> Channel {
    connect(serve(scripted).await).await
}

#[tokio::test]
async fn a_grpc_exchange_is_counted_by_the_status_in_its_trailers() {
    let _installed = prometheus();
    let busy = || Status::resource_exhausted("too much");
    let scripted = Scripted::new([
        Answer::Echo,
        Answer::Fail(Status::unavailable("trailers only")),
        Answer::FailInTrailers(Status::internal("in trailers")),
        Answer::FailAfter(vec!["one".into()], Status::data_loss("after a message")),
        Answer::Fail(Status::not_found("the caller's fault")),
        Answer::Fail(busy()),
        Answer::FailInTrailers(busy()),
    ]);
    let layers = ServiceBuilder::new()
        .layer(TimeoutLayer::grpc("over grpc"))
        .layer(CircuitBreakerLayer::grpc("over grpc"))
        .layer(RateLimitLayer::grpc("over grpc").limit(100, Duration::from_secs(1)))
        .layer(BulkheadLayer::grpc("over grpc"));
    let mut client = EchoClient::new(layers.service(channel(scripted).await));
    assert!(client.echo("echo").await.is_ok());
    for _ in 0..6 {
        client.echo("fails").await.unwrap_err();
    }
    // What is the caller's fault says that the service is well.
    for policy in ["circuit_breaker", "bulkhead"] {
        assert_eq!(calls(policy, "over grpc"), [2.0, 3.0, 2.0, 0.0, 0.0], "{policy}");
    }
    for metric in ["timeout_first_byte_seconds_count", "timeout_exchange_seconds_count"] {
        assert_eq!(count("timeout", "over grpc", metric), Some(7.0), "{metric}");
    }
    assert_eq!(count("rate_limit", "over grpc", "rate_limit_allowed_total"), Some(7.0));
}

#[tokio::test]
async fn a_grpc_stream_that_is_dropped_in_its_midst_is_cancelled() {
    let _installed = prometheus();
    let scripted = Scripted::new([Answer::HangAfterHead, Answer::Hang]);
    let layers = ServiceBuilder::new()
        .layer(TimeoutLayer::grpc("grpc dropped"))
        .layer(RetryLayer::grpc("grpc dropped"))
        .layer(CircuitBreakerLayer::grpc("grpc dropped"))
        .layer(BulkheadLayer::grpc("grpc dropped"));
    let mut client = EchoClient::new(layers.service(channel(scripted.clone()).await));
    let stream = client.echo_many("words").await.unwrap();
    let of_timeout = |metric| count("timeout", "grpc dropped", metric);
    assert_eq!(of_timeout("timeout_first_byte_seconds_count"), Some(1.0));
    assert_eq!((calls("bulkhead", "grpc dropped")[4], of_timeout("calls_cancelled_total")), (0.0, Some(0.0)));
    drop(stream);
    assert_eq!((calls("bulkhead", "grpc dropped")[4], of_timeout("calls_cancelled_total")), (1.0, Some(1.0)));

    // Before there is a head it is the retry's too, which is done with the stream above.
    let hangs = tokio::spawn(async move { client.echo("word").await });
    eventually(|| scripted.calls() == 2).await;
    hangs.abort();
    hangs.await.unwrap_err();
    for policy in ["circuit_breaker", "bulkhead"] {
        assert_eq!(calls(policy, "grpc dropped"), [0.0, 0.0, 0.0, 0.0, 2.0], "{policy}");
    }
    assert_eq!(
        (of_timeout("calls_cancelled_total"), of_timeout("timeout_exchange_seconds_count")),
        (Some(2.0), Some(0.0))
    );
    assert_eq!(count("retry", "grpc dropped", "calls_cancelled_total"), Some(1.0));
    assert_eq!(count("retry", "grpc dropped", "retry_attempts_count"), Some(1.0));
}

#[tokio::test]
async fn retries_hedges_and_fallbacks_over_grpc_are_counted() {
    let _installed = prometheus();
    let unavailable = || Answer::Fail(Status::unavailable("not now"));
    let scripted = Scripted::new([
        // Works the second time.
        unavailable(),
        Answer::Echo,
        // Never does, and the fallback answers.
        unavailable(),
        unavailable(),
        unavailable(),
        // The first hangs, and the hedge answers.
        Answer::Hang,
        Answer::Echo,
    ]);
    let instead = async |_: http::request::Parts, _: Failure| {
        let answer = http::Response::new(Full::<bytes::Bytes>::default());
        let (mut parts, body) = answer.into_parts();
        parts.headers.insert("grpc-status", http::HeaderValue::from(Code::Aborted as i32));
        http::Response::from_parts(parts, body)
    };
    let channel = channel(scripted).await;
    let retried = ServiceBuilder::new()
        .layer(FallbackLayer::grpc("grpc again").with(instead))
        .layer(RetryLayer::grpc("grpc again"))
        .service(channel.clone());
    let mut client = EchoClient::new(retried);
    assert!(client.echo("works the second time").await.is_ok());
    client.echo("never does").await.unwrap_err();
    let hedge = HedgeLayer::grpc("grpc again").after(Duration::from_millis(50)).methods(["test.Echo/Echo"]);
    assert!(EchoClient::new(ServiceBuilder::new().layer(hedge).service(channel)).echo("hedged").await.is_ok());

    let of_retry = |metric| count("retry", "grpc again", metric);
    assert_eq!((of_retry("retry_retries_total"), of_retry("retry_recovered_total")), (Some(3.0), Some(1.0)));
    assert_eq!(counted("retry", "grpc again", "retry_gave_up_total", ("reason", "attempts")), Some(1.0));
    let fell_back = counted("fallback", "grpc again", "fallback_failures_total", ("failure", "failed"));
    assert!(fell_back.is_some());
    let answered = |outcome| {
        let labels = [("name", "grpc again"), ("failure", "failed"), ("outcome", outcome)];
        value(&prometheus().render(), "buttress_fallback_failures_total", &labels)
    };
    assert_eq!((answered("answered"), answered("failed")), (Some(1.0), Some(0.0)));
    let of_hedge = |metric: &str| count("hedge", "grpc again", &format!("hedge_{metric}_total"));
    assert_eq!((of_hedge("sent"), of_hedge("won"), of_hedge("lost")), (Some(1.0), Some(1.0), Some(0.0)));
}

#[tokio::test]
async fn an_http_body_that_breaks_off_or_is_not_read_to_its_end_is_no_success() {
    let _installed = prometheus();
    // Not at once, or there would be no head either.
    let breaks = async || {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(std::io::Error::other("broken off"))
    };
    let broken = async move || {
        let first = futures_util::stream::iter([Ok::<_, std::io::Error>("hello")]);
        Body::from_stream(futures_util::StreamExt::chain(first, futures_util::stream::once(breaks())))
    };
    let endless = async || {
        let endless = futures_util::stream::repeat_with(|| Ok::<_, Infallible>("more "));
        Body::from_stream(endless).into_response()
    };
    let app = Router::new()
        .route("/whole", get(async || "hello"))
        .route("/broken", get(broken))
        .route("/endless", get(endless))
        .layer(BulkheadLayer::http("over http"))
        .layer(TimeoutLayer::http("over http"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(axum::serve(listener, app).into_future());
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let client = ServiceBuilder::new()
        .layer(TimeoutLayer::http("over http client"))
        .layer(CircuitBreakerLayer::http("over http client"))
        .layer(RateLimitLayer::http("over http client").limit(7, Duration::from_secs(60)))
        .service(client);
    let ask = async |path: &str| {
        let request = http::Request::get(format!("http://{address}{path}")).body(Body::empty()).unwrap();
        client.clone().oneshot(request).await.unwrap()
    };
    for _ in 0..3 {
        ask("/whole").await.into_body().collect().await.unwrap();
    }
    for _ in 0..2 {
        assert!(ask("/broken").await.into_body().collect().await.is_err());
    }
    let mut endless = ask("/endless").await.into_body();
    endless.frame().await.unwrap().unwrap();
    drop(endless);
    // Who reads a status and no body has cancelled nothing.
    assert_eq!(ask("/whole").await.status(), 200);
    assert_eq!(ask("/whole").await.status(), 429);
    // The server finds out when it next writes.
    eventually(|| calls("bulkhead", "over http")[4] == 1.0).await;
    server.abort();
    assert_eq!(calls("bulkhead", "over http"), [4.0, 2.0, 0.0, 0.0, 1.0]);
    for (name, exchanges) in [("over http", 6.0), ("over http client", 7.0)] {
        assert_eq!(count("timeout", name, "calls_cancelled_total"), Some(1.0), "{name}");
        assert_eq!(count("timeout", name, "timeout_exchange_seconds_count"), Some(exchanges), "{name}");
        assert_eq!(count("timeout", name, "timeout_first_byte_seconds_count"), Some(exchanges + 1.0), "{name}");
    }
    // What the rate limit refused says nothing of the service.
    assert_eq!(calls("circuit_breaker", "over http client"), [4.0, 2.0, 0.0, 1.0, 1.0]);
    assert_eq!(counted("rate_limit", "over http client", "rate_limit_refused_total", ("why", "rate")), Some(1.0));
}
