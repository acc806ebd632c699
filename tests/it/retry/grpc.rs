//! gRPC: failures in the head, in the trailers and after a message, over tonic's client and server.

use std::{convert::Infallible, time::Duration};

use buttress::{
    BoxError, Deadline, Elapsed, Reason, Rejection, RetryLayer,
    protocol::{Grpc, grpc::Code},
    retry::{FIRST_FRAME_WITHIN, GRPC_PREVIOUS_ATTEMPTS},
};
use futures_util::stream;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Empty};
use tokio_stream::StreamExt;
use tonic::{Status, body::Body, metadata::MetadataMap};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{Script, hardly, waits};
use crate::support::grpc::{Answer, EchoClient, Scripted, Word, connect, serve};

fn layer() -> RetryLayer<Grpc> {
    RetryLayer::grpc("test").backoff(waits())
}

fn unavailable() -> Status {
    Status::unavailable("come back later")
}

fn with_pushback(pushback: &'static str) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert("grpc-retry-pushback-ms", pushback.parse().unwrap());
    Status::with_metadata(tonic::Code::Unavailable, "come back later", metadata)
}

/// The number of previous attempts that each call carried.
fn previous(scripted: &Scripted) -> Vec<Option<String>> {
    let header =
        |headers: &HeaderMap| headers.get(GRPC_PREVIOUS_ATTEMPTS).map(|value| value.to_str().unwrap().to_owned());
    scripted.seen().iter().map(|seen| header(&seen.headers)).collect()
}

#[tokio::test]
async fn failures_before_the_first_message_are_retried_over_a_channel() {
    let scripted = Scripted::new([Answer::Fail(unavailable()), Answer::FailInTrailers(unavailable())]);
    let channel = connect(serve(scripted.clone()).await).await;
    let layer = layer().max_attempts(4).backoff(hardly());
    let mut client = EchoClient::new(layer.layer(channel));
    assert_eq!(client.echo("hello").await.unwrap().into_inner(), "hello".into());
    assert_eq!(previous(&scripted), [None, Some("1".to_owned()), Some("2".to_owned())]);
    assert!(scripted.seen().iter().all(|seen| seen.words == ["hello".into()]));
    assert_eq!((layer.handle().snapshot().retries, layer.handle().snapshot().recovered), (2, 1));
}

#[tokio::test]
async fn a_failure_after_a_message_is_not_retried() {
    let answers = [Answer::FailAfter(vec!["one".into()], unavailable())];
    let scripted = Scripted::new(answers);
    let channel = connect(serve(scripted.clone()).await).await;
    let mut client = EchoClient::new(layer().backoff(hardly()).layer(channel));
    let mut words = client.echo_many("hello").await.unwrap().into_inner();
    assert_eq!(words.message().await.unwrap(), Some("one".into()));
    assert_eq!(words.message().await.unwrap_err().code(), tonic::Code::Unavailable);
    assert_eq!(scripted.calls(), 1);
}

#[tokio::test]
async fn a_stream_is_handed_on_whole() {
    let words: Vec<Word> = ["one", "two", "three"].map(Word::from).into();
    let scripted = Scripted::new([Answer::Fail(unavailable()), Answer::Messages(words.clone())]);
    let channel = connect(serve(scripted.clone()).await).await;
    let mut client = EchoClient::new(layer().backoff(hardly()).layer(channel));
    let stream = client.echo_many("hello").await.unwrap().into_inner();
    assert_eq!(stream.collect::<Result<Vec<_>, _>>().await.unwrap(), words);
    assert_eq!(scripted.calls(), 2);
}

#[tokio::test]
async fn a_stream_of_requests_is_sent_again_whole() {
    let scripted = Scripted::new([Answer::FailInTrailers(unavailable()), Answer::Messages(vec!["three".into()])]);
    let channel = connect(serve(scripted.clone()).await).await;
    let mut client = EchoClient::new(layer().backoff(hardly()).layer(channel));
    let words = ["one", "two", "three"].map(Word::from);
    assert_eq!(client.gather(stream::iter(words.clone())).await.unwrap().into_inner(), "three".into());
    let seen = scripted.seen();
    assert_eq!(seen.iter().map(|seen| seen.words.as_slice()).collect::<Vec<_>>(), [&words, &words]);
}

#[tokio::test]
async fn no_connection_is_unavailable() {
    let address = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let layer = layer().backoff(hardly());
    let mut client = EchoClient::new(layer.layer(channel));
    assert!(client.echo("hello").await.is_err());
    assert_eq!((layer.handle().snapshot().retries, layer.handle().snapshot().gave_up_attempts), (2, 1));
}

#[tokio::test]
async fn what_was_never_sent_is_tried_again_whatever_the_method() {
    let address = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let layer = layer().backoff(hardly()).methods(["test.Echo/EchoMany"]);
    assert!(EchoClient::new(layer.layer(channel.clone())).echo("hello").await.is_err());
    assert_eq!(layer.handle().snapshot().retries, 2);

    // Also when what is below has made a status of it.
    let below = tower::service_fn(move |request| {
        let call = tower::ServiceExt::oneshot(channel.clone(), request);
        async move { call.await.map_err(|error| Status::from_error(error.into())) }
    });
    assert!(EchoClient::new(layer.layer(below)).echo("hello").await.is_err());
    assert_eq!(layer.handle().snapshot().retries, 4);
}

#[tokio::test]
async fn a_tonic_server_can_be_put_under_it() {
    let scripted = Scripted::new([Answer::Fail(unavailable())]);
    let server = layer().backoff(hardly()).layer(scripted.clone());
    let mut client = EchoClient::new(connect(serve(server).await).await);
    assert_eq!(client.echo("hello").await.unwrap().into_inner(), "hello".into());
    assert_eq!(scripted.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_pushback_is_kept_to_exactly() {
    for (pushback, waited) in [("0", 0), ("30", 30), ("20000", 20_000)] {
        for answer in [Answer::Fail, Answer::FailInTrailers] {
            let scripted = Scripted::new([answer(with_pushback(pushback)), answer(unavailable())]);
            let began = tokio::time::Instant::now();
            let mut client = EchoClient::new(layer().layer(scripted.clone()));
            client.echo("hello").await.unwrap();
            // After a pushback the computed waits begin with the first.
            let waited = Duration::from_millis(waited + 100);
            assert!((waited..waited + Duration::from_millis(3)).contains(&began.elapsed()), "{:?}", began.elapsed());
            assert_eq!(scripted.calls(), 3);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pushback_that_says_no_or_cannot_be_read_ends_the_call() {
    for pushback in ["-1", "-2147483648", "soon", "1.5", "99999999999"] {
        for answer in [Answer::Fail, Answer::FailInTrailers] {
            let scripted = Scripted::new([answer(with_pushback(pushback))]);
            let layer = layer();
            let status = EchoClient::new(layer.layer(scripted.clone())).echo("hello").await.unwrap_err();
            assert_eq!(status.code(), tonic::Code::Unavailable);
            assert_eq!((scripted.calls(), layer.handle().snapshot().gave_up_refused), (1, 1), "{pushback}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_unavailable_is_retried_unless_other_codes_are_named() {
    for code in 1..=16 {
        let status = || Status::new(tonic::Code::from(code), "no");
        let scripted = Scripted::new([Answer::Fail(status())]);
        let _ = EchoClient::new(layer().layer(scripted.clone())).echo("hello").await;
        assert_eq!(scripted.calls(), if code == 14 { 2 } else { 1 }, "{code}");

        let scripted = Scripted::new([Answer::FailInTrailers(status())]);
        let layer = layer().codes([Code::Aborted, Code::ResourceExhausted]);
        let _ = EchoClient::new(layer.layer(scripted.clone())).echo("hello").await;
        assert_eq!(scripted.calls(), if [8, 10].contains(&code) { 2 } else { 1 }, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_methods_that_are_named_are_retried() {
    let scripted = Scripted::new([Answer::Fail(unavailable()), Answer::Fail(unavailable())]);
    let layer = layer().methods(["test.Echo/EchoMany"]);
    let mut client = EchoClient::new(layer.layer(scripted.clone()));
    assert!(client.echo("hello").await.is_err());
    assert_eq!((scripted.calls(), layer.handle().snapshot().gave_up_unsafe), (1, 1));
    client.echo_many("hello").await.unwrap();
    assert_eq!(scripted.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn rules_can_be_replaced() {
    let scripted = Scripted::new([Answer::FailInTrailers(Status::internal("stream reset"))]);
    let layer = layer()
        .safe_when(|head| head.uri.path().ends_with("/Echo"))
        .retry_if(|code, trailers| code == Code::Internal && trailers.contains_key("grpc-message"));
    EchoClient::new(layer.layer(scripted.clone())).echo("hello").await.unwrap();
    assert_eq!(scripted.calls(), 2);
}

#[test]
#[should_panic(expected = "invalid setting retry.codes: OK is not a failure")]
fn success_is_not_to_be_retried() {
    let _ = layer().codes([Code::Unavailable, Code::Ok]);
}

#[test]
#[should_panic(expected = "invalid setting retry.methods: none is not one or more")]
fn no_method_at_all_is_no_retry_at_all() {
    let _ = layer().methods([""; 0]);
}

/// What an inner service answers with is judged even if it comes from no gRPC server at all.
async fn attempts(answer: impl Fn() -> Result<Response<Empty<bytes::Bytes>>, BoxError> + Clone) -> usize {
    let inner = Script::new(move |_, _: &Request<Body>| answer());
    let _ = layer().layer(inner.clone()).oneshot(Request::new(Body::empty())).await;
    inner.calls()
}

#[tokio::test(start_paused = true)]
async fn refusals_and_elapsed_times_are_told_from_failures() {
    let rejection = || Rejection::new("bulkhead", "inventory", Reason::BulkheadFull);
    let unavailable = || Response::builder().header("grpc-status", "14").body(Empty::new()).unwrap();
    assert_eq!(attempts(move || Ok(unavailable())).await, 3);
    let refused = move || {
        let mut response = unavailable();
        response.extensions_mut().insert(rejection());
        Ok(response)
    };
    assert_eq!(attempts(refused).await, 1);
    assert_eq!(attempts(move || Err(rejection().into())).await, 1);
    // An attempt that ran out of time is DEADLINE_EXCEEDED, which has to be named to be retried.
    assert_eq!(attempts(|| Err(Elapsed::new("attempt").into())).await, 1);
    assert_eq!(attempts(|| Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into())).await, 3);
    assert_eq!(attempts(|| Err(Status::unavailable("gone").into())).await, 3);
    assert_eq!(attempts(|| Err(Status::not_found("gone").into())).await, 1);
    // A proxy's answer.
    assert_eq!(attempts(|| Ok(Response::builder().status(503).body(Empty::new()).unwrap())).await, 3);
    assert_eq!(attempts(|| Ok(Response::builder().status(404).body(Empty::new()).unwrap())).await, 1);
    // No status at all is UNKNOWN.
    assert_eq!(attempts(|| Ok(Response::new(Empty::new()))).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_a_message_yet_is_handed_on_soon() {
    let scripted = Scripted::new([Answer::HangAfterHead]);
    let began = tokio::time::Instant::now();
    let layer = layer();
    let response = EchoClient::new(layer.layer(scripted.clone())).echo_many("hello").await;
    assert!(response.is_ok());
    assert!((FIRST_FRAME_WITHIN..2 * FIRST_FRAME_WITHIN).contains(&began.elapsed()));
    // On the last attempt there is nothing to wait for.
    let scripted = Scripted::new([Answer::HangAfterHead]);
    let began = tokio::time::Instant::now();
    assert!(EchoClient::new(layer.max_attempts(1).layer(scripted)).echo_many("hello").await.is_ok());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_answer_at_hand_is_given_when_the_wait_would_outlast_the_deadline() {
    for answer in [Answer::Fail, Answer::FailInTrailers] {
        let scripted = Scripted::new([answer(with_pushback("5000"))]);
        let layer = layer();
        let mut client = EchoClient::new(layer.layer(scripted.clone()));
        let mut request = tonic::Request::new(Word::from("hello"));
        request.extensions_mut().insert(Deadline::after(Duration::from_secs(3)));
        let began = tokio::time::Instant::now();
        assert_eq!(client.echo_with(request).await.unwrap_err().code(), tonic::Code::Unavailable);
        assert!(began.elapsed() < Duration::from_millis(1));
        assert_eq!((scripted.calls(), layer.handle().snapshot().gave_up_deadline), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_that_were_looked_at_are_handed_on() {
    let inner = service_fn(|_: Request<Body>| async {
        let trailers = HeaderMap::from_iter([
            ("grpc-status".parse().unwrap(), "5".parse().unwrap()),
            ("x-hint".parse().unwrap(), "look elsewhere".parse().unwrap()),
        ]);
        let body = Empty::<bytes::Bytes>::new().with_trailers(std::future::ready(Some(Ok::<_, Infallible>(trailers))));
        Ok::<_, Infallible>(Response::new(body))
    });
    let mut service = layer().layer(inner);
    let response = service.ready().await.unwrap().call(Request::new(Body::empty())).await.unwrap();
    let trailers = response.into_body().collect().await.unwrap().trailers().cloned().unwrap();
    assert_eq!(
        (&trailers["grpc-status"], &trailers["x-hint"]),
        (&"5".parse().unwrap(), &"look elsewhere".parse().unwrap())
    );
}
