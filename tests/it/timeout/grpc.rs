//! gRPC services: a tonic server, a tonic channel.

use std::{
    convert::Infallible,
    future::{Ready, pending, ready},
    sync::{Arc, Mutex},
    time::Duration,
};

use buttress::{Deadline, Elapsed, Reason, Rejection, TimeoutLayer, protocol::Grpc, timeout::GRPC_TIMEOUT};
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, StreamBody};
use tokio::time::{advance, sleep};
use tonic::Code;
use tower::{Layer, Service, ServiceExt, service_fn};
use tracing_subscriber::filter::LevelFilter;

use crate::{
    support::{
        events::Events,
        grpc::{Answer, EchoClient, Scripted, connect, serve},
    },
    timeout::StoppedClock,
};

const MS: Duration = Duration::from_millis(1);

fn within(millis: u32) -> TimeoutLayer<Grpc> {
    TimeoutLayer::grpc("inventory").within(millis * MS)
}

#[tokio::test(start_paused = true)]
async fn answers_nothing_but_trailers_when_the_time_is_up() {
    let mut service =
        within(200).layer(service_fn(|_: Request<()>| pending::<Result<Response<Empty<Bytes>>, Infallible>>()));
    let response = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["grpc-status"], "4");
    assert_eq!(response.headers()["grpc-message"], "inventory: request timed out");
    assert_eq!(response.extensions().get(), Some(&Elapsed::new("inventory")));
    assert!(response.body().is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_comes_too_late_is_answered_without_being_made() {
    let mut service = within(200)
        .layer(service_fn(|_: Request<()>| -> Ready<Result<Response<Empty<Bytes>>, Infallible>> { panic!("called") }));
    let request = Request::builder().header(GRPC_TIMEOUT, "0m").body(()).unwrap();
    let response = service.ready().await.unwrap().call(request).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "4");
    let rejection = response.extensions().get::<Rejection>().unwrap();
    assert_eq!((rejection.policy(), rejection.reason()), ("timeout", Reason::DeadlinePassed));
}

/// The `grpc-timeout` that a service behind a 5 s timeout sees if it came as `timeout`.
async fn passed_on(timeout: &str) -> String {
    let seen = Arc::new(Mutex::new(String::new()));
    let see = seen.clone();
    let mut service = within(5000).layer(service_fn(move |request: Request<()>| {
        request.headers()[GRPC_TIMEOUT].to_str().unwrap().clone_into(&mut see.lock().unwrap());
        assert_eq!(request.extensions().get(), Deadline::current().as_ref());
        ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
    }));
    let request = Request::builder().header(GRPC_TIMEOUT, timeout).body(()).unwrap();
    service.ready().await.unwrap().call(request).await.unwrap();
    seen.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn the_request_passed_on_carries_what_is_left() {
    assert_eq!(passed_on("1500m").await, "1500000u");
    assert_eq!(passed_on("7n").await, "7n");
    assert_eq!(passed_on("1H").await, "5000000u", "it only ever shortens");
    assert_eq!(passed_on("99999999H").await, "5000000u");
    for unreadable in ["123456789n", "000000001n", "", "n", "5", "5s", "-5S", "+5S", "5.0S", "5 S", "S5"] {
        assert_eq!(passed_on(unreadable).await, "5000000u", "{unreadable:?} is ignored");
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_that_is_ignored_is_told_of() {
    let events = Events::at(LevelFilter::DEBUG);
    passed_on("123456789n").await;
    let told = events.take();
    let line = r#"DEBUG buttress::timeout::event: header ignored: unreadable policy="timeout" name=inventory header=grpc-timeout"#;
    assert_eq!(told.trim(), line);
    passed_on("5S").await;
    assert_eq!(events.take(), "", "nothing is told of a call that went well");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_ends_with_the_trailers_of_a_timeout() {
    let layer = within(200);
    let timeout = layer.handle();
    let mut service = layer.layer(service_fn(|_: Request<()>| async {
        let stalls = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
        Ok::<_, Infallible>(Response::new(StreamBody::new(stalls)))
    }));
    let mut body = service.ready().await.unwrap().call(Request::new(())).await.unwrap().into_body();
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "4");
    assert_eq!(trailers["grpc-message"], "inventory: request timed out");
    assert!(body.is_end_stream());
    assert!(body.frame().await.is_none());
    assert_eq!(timeout.snapshot().elapsed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_transport_error_is_the_time_being_up_once_it_is() {
    let fails_after = |millis: u32| async move {
        let layer = within(200);
        let mut service = layer.layer(service_fn(move |_: Request<()>| async move {
            sleep(millis * MS).await;
            Err::<Response<Empty<Bytes>>, &str>("connection lost")
        }));
        service.ready().await.unwrap().call(Request::new(())).await
    };
    assert_eq!(fails_after(199).await.unwrap_err(), "connection lost");
    assert_eq!(fails_after(200).await.unwrap().headers()["grpc-status"], "4");
}

// ===== over sockets =====

#[tokio::test(start_paused = true)]
async fn a_tonic_client_sees_the_deadline_exceeded_and_the_server_what_was_left() {
    let _clock = StoppedClock::new();
    let scripted = Scripted::new([Answer::Hang]);
    let channel = connect(serve(scripted.clone()).await).await;
    let mut client = EchoClient::new(within(200).layer(channel));
    let call = tokio::spawn(async move { client.echo("word").await });
    while scripted.calls() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(scripted.seen()[0].headers[GRPC_TIMEOUT], "200000u");
    advance(200 * MS).await;
    let status = call.await.unwrap().unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::DeadlineExceeded, "inventory: request timed out"));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_set_on_a_tonic_request_is_kept_if_it_is_the_shorter_one() {
    let _clock = StoppedClock::new();
    let scripted = Scripted::new([]);
    let mut client = EchoClient::new(within(200).layer(connect(serve(scripted.clone()).await).await));
    for millis in [50, 500] {
        let mut request = tonic::Request::new("word".into());
        request.set_timeout(millis * MS);
        client.echo_with(request).await.unwrap();
    }
    let sent = scripted.seen().iter().map(|seen| seen.headers[GRPC_TIMEOUT].clone()).collect::<Vec<_>>();
    assert_eq!(sent, ["50000000n", "200000u"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_stalls_ends_as_a_timeout_in_a_tonic_client() {
    let _clock = StoppedClock::new();
    let channel = connect(serve(Scripted::new([Answer::HangAfterHead])).await).await;
    let mut words = EchoClient::new(within(200).layer(channel)).echo_many("word").await.unwrap().into_inner();
    advance(200 * MS).await;
    let status = words.message().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::DeadlineExceeded, "inventory: request timed out"));
}

#[tokio::test(start_paused = true)]
async fn a_tonic_server_cuts_a_stream_off_for_any_client() {
    let _clock = StoppedClock::new();
    let layer = within(200);
    let timeout = layer.handle();
    let scripted = Scripted::new([Answer::HangAfterHead, Answer::Hang]);
    let channel = connect(serve(layer.layer(scripted.clone())).await).await;
    let mut client = EchoClient::new(channel);
    let mut words = client.echo_many("word").await.unwrap().into_inner();
    advance(200 * MS).await;
    assert_eq!(words.message().await.unwrap_err().code(), Code::DeadlineExceeded);

    let call = tokio::spawn(async move { client.echo("word").await });
    while scripted.calls() == 1 {
        tokio::task::yield_now().await;
    }
    advance(200 * MS).await;
    assert_eq!(call.await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(timeout.snapshot().elapsed, 2);
}
