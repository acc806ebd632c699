//! gRPC clients: a tonic channel to a tonic server.

use std::net::SocketAddr;

use buttress::{
    CircuitBreakerLayer, Deadline, RetryLayer, StepLayer,
    step::{GRPC_TIMEOUT, IDEMPOTENCY_KEY, SAGA_EPOCH, StepOutcome},
};
use tokio::net::TcpListener;
use tonic::{Code, Status, transport::Endpoint};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use super::charge;
use crate::support::grpc::{Answer, EchoClient, Scripted, connect, serve};

#[tokio::test]
async fn a_call_made_in_a_step_says_which_and_any_other_is_left_alone() {
    let scripted = Scripted::default();
    let channel = connect(serve(scripted.clone()).await).await;
    let mut client = EchoClient::new(StepLayer::grpc().layer(channel));
    assert_eq!(client.echo("plain").await.unwrap().into_inner().text, "plain");
    let within = Deadline::after(std::time::Duration::from_secs(60));
    let echoed = within.scope(charge().scope(client.echo("hello"))).await.unwrap();
    assert_eq!(echoed.into_inner().text, "hello");
    let seen = scripted.seen();
    assert!(!seen[0].headers.contains_key(IDEMPOTENCY_KEY) && !seen[0].headers.contains_key(SAGA_EPOCH));
    assert_eq!(seen[1].headers[IDEMPOTENCY_KEY], "07070707-0707-0707-0707-070707070707/charge/1/act");
    assert_eq!(seen[1].headers[SAGA_EPOCH], "3");
    assert!(seen[1].headers.contains_key(GRPC_TIMEOUT));
}

#[tokio::test]
async fn a_status_is_heard_in_the_head_and_in_the_trailers_before_the_caller_sees_it() {
    for number in 1..17 {
        let code = Code::from(number);
        let refused = StepOutcome::of_grpc_code(code) == StepOutcome::Refused;
        for answer in [Answer::Fail(Status::new(code, "no")), Answer::FailInTrailers(Status::new(code, "no"))] {
            let what = format!("{answer:?}");
            let channel = connect(serve(Scripted::new([answer])).await).await;
            let mut client = EchoClient::new(StepLayer::grpc().layer(channel));
            let step = charge();
            let status = step.clone().scope(client.echo("hello")).await.unwrap_err();
            assert_eq!((status.code(), step.was_refused()), (code, refused), "{what}");
        }
    }
    let channel = connect(serve(Scripted::default()).await).await;
    let step = charge();
    step.clone().scope(EchoClient::new(StepLayer::grpc().layer(channel)).echo("hello")).await.unwrap();
    assert!(!step.was_refused());
}

#[tokio::test]
async fn a_stream_that_is_dropped_before_its_trailers_may_have_happened() {
    let refusal = || Status::failed_precondition("no");
    let answers = [
        Answer::FailAfter(vec!["one".into()], refusal()),
        Answer::FailAfter(vec!["one".into()], refusal()),
        Answer::HangAfterHead,
    ];
    let channel = connect(serve(Scripted::new(answers)).await).await;
    let mut client = EchoClient::new(StepLayer::grpc().layer(channel));

    let step = charge();
    let mut words = step.clone().scope(client.echo_many("all")).await.unwrap().into_inner();
    assert_eq!(words.message().await.unwrap(), Some("one".into()));
    assert!(!step.was_refused(), "it isn't over");
    assert_eq!(words.message().await.unwrap_err().code(), Code::FailedPrecondition);
    assert!(step.was_refused());

    for read in [1, 0] {
        let step = charge();
        let mut words = step.clone().scope(client.echo_many("half")).await.unwrap().into_inner();
        for _ in 0..read {
            words.message().await.unwrap();
        }
        drop(words);
        assert!(!step.was_refused());
    }
}

#[tokio::test]
async fn a_refusal_by_our_own_layers_is_one_and_after_an_attempt_that_was_sent_none_is() {
    let scripted = Scripted::default();
    let breaker = CircuitBreakerLayer::grpc("inventory");
    breaker.handle().force_open();
    let channel = connect(serve(scripted.clone()).await).await;
    let step = charge();
    let refused = ServiceBuilder::new().layer(StepLayer::grpc()).layer(breaker).service(channel);
    let status = step.clone().scope(EchoClient::new(refused).echo("hello")).await.unwrap_err();
    assert_eq!((status.code(), step.was_refused(), scripted.calls()), (Code::Unavailable, true, 0));

    let answers = [Answer::Fail(Status::unavailable("perhaps")), Answer::Fail(Status::not_found("gone"))];
    let channel = connect(serve(Scripted::new(answers)).await).await;
    let step = charge();
    let retried = ServiceBuilder::new().layer(StepLayer::grpc()).layer(RetryLayer::grpc("inventory")).service(channel);
    let status = step.clone().scope(EchoClient::new(retried).echo("hello")).await.unwrap_err();
    assert_eq!((status.code(), step.was_refused()), (Code::NotFound, false));
}

/// An address that nobody listens on any more.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::from_shared(format!("http://{address}")).unwrap()
}

#[tokio::test]
async fn a_connection_that_was_refused_says_that_nothing_happened() {
    let lazy = endpoint(nobody().await).connect_lazy();
    let stack = || ServiceBuilder::new().layer(StepLayer::grpc());
    let over_breaker = stack().layer(CircuitBreakerLayer::grpc("inventory")).service(lazy.clone());
    let over_retry = stack().layer(RetryLayer::grpc("inventory")).service(lazy.clone());

    let step = charge();
    let status = step.clone().scope(EchoClient::new(stack().service(lazy.clone())).echo("hello")).await.unwrap_err();
    assert_eq!((status.code(), step.was_refused()), (Code::Unavailable, true), "{status:?}");
    let step = charge();
    step.clone().scope(EchoClient::new(over_breaker).echo("hello")).await.unwrap_err();
    assert!(step.was_refused(), "through a breaker");
    let step = charge();
    step.clone().scope(EchoClient::new(over_retry).echo("hello")).await.unwrap_err();
    assert!(step.was_refused(), "after several attempts, of which none was sent");

    // Where what is below made a status of it, it is that one's source.
    let behind_a_client = service_fn(move |request| {
        let call = lazy.clone().oneshot(request);
        async move { call.await.map_err(|error| Status::from_error(error.into())) }
    });
    let step = charge();
    step.clone().scope(EchoClient::new(stack().service(behind_a_client)).echo("hello")).await.unwrap_err();
    assert!(step.was_refused(), "in a status");
}

#[tokio::test]
async fn a_channel_whose_server_has_gone_says_that_nothing_happened_once_it_cannot_connect_again() {
    let address = nobody().await;
    let eager = service_fn(move |request| async move { endpoint(address).connect().await?.oneshot(request).await });
    let step = charge();
    let status = step.clone().scope(EchoClient::new(StepLayer::grpc().layer(eager)).echo("hello")).await.unwrap_err();
    assert!(step.was_refused(), "{status:?}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { listener.accept().await.map(drop) });
    let channel = endpoint(address).connect().await.unwrap();
    server.await.unwrap().unwrap();
    let mut client = EchoClient::new(StepLayer::grpc().layer(channel));
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let step = charge();
        let status = step.clone().scope(client.echo("hello")).await.unwrap_err();
        // The first may have gone out over what was open until then.
        if step.was_refused() {
            assert_eq!(status.code(), Code::Unavailable);
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{status:?}");
    }
}
