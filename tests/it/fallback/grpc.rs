//! gRPC: failures that a head tells, over tonic's client and server.

use std::convert::Infallible;

use buttress::{
    BoxError, FallbackLayer,
    fallback::{FellBack, Nothing},
    protocol::Grpc,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use tonic::{Status, body::Body};
use tower::{Layer, ServiceExt, service_fn};

use crate::support::{
    grpc::{Answer, EchoClient, Scripted, connect, serve},
    script::Script,
};

fn layer() -> FallbackLayer<Grpc, Nothing> {
    FallbackLayer::grpc("test")
}

#[tokio::test]
async fn another_service_answers_with_the_same_message() {
    let failing = Scripted::new([Answer::Fail(Status::unavailable("gone"))]);
    let other = connect(serve(Scripted::default()).await).await;
    let layer = layer().service(other);
    let mut client = EchoClient::new(layer.layer(connect(serve(failing.clone()).await).await));
    assert_eq!(client.echo("hello").await.unwrap().into_inner(), "hello".into());
    assert_eq!((failing.calls(), layer.handle().snapshot().fell_back), (1, 1));
    // The next is answered by the service itself.
    assert_eq!(client.echo("hello").await.unwrap().into_inner(), "hello".into());
    assert_eq!((failing.calls(), layer.handle().snapshot().fell_back), (2, 1));
}

#[tokio::test]
async fn a_server_under_it_answers_by_a_function() {
    let failing = Scripted::new([Answer::Fail(Status::internal("broken"))]);
    let empty = layer().with(async |_, _| Status::ok("nothing").into_http::<Body>());
    let mut client = EchoClient::new(connect(serve(empty.layer(failing)).await).await);
    let mut words = client.echo_many("hello").await.unwrap().into_inner();
    assert_eq!(words.message().await.unwrap(), None);
    assert_eq!(empty.handle().snapshot().fell_back, 1);
}

/// Whether the fallback answered.
async fn falls_back(answer: impl Fn() -> Result<Response<Empty<Bytes>>, BoxError> + Clone) -> bool {
    let inner = Script::new(move |_, _: &Request<()>| answer());
    let instead = Response::builder().header("grpc-status", "0").body(Empty::<Bytes>::new()).unwrap();
    let response = layer().value(instead).layer(inner).oneshot(Request::new(())).await;
    response.is_ok_and(|response| response.extensions().get::<FellBack>().is_some())
}

#[tokio::test]
async fn the_servers_faults_are_answered_and_the_callers_are_not() {
    for code in 0..=16_u8 {
        let servers = [2, 4, 8, 13, 14, 15].contains(&code);
        let head = move || Ok(Response::builder().header("grpc-status", code.to_string()).body(Empty::new()).unwrap());
        assert_eq!(falls_back(head).await, servers, "{code}");
        // As the error that a client of tonic's may have.
        if code > 0 {
            assert_eq!(
                falls_back(move || Err(Status::new(i32::from(code).into(), "no").into())).await,
                servers,
                "{code}"
            );
        }
    }
    assert!(falls_back(|| Err("connection reset".into())).await);
    assert!(falls_back(|| Ok(Response::builder().status(503).body(Empty::new()).unwrap())).await);
}

#[tokio::test]
async fn a_failure_after_the_head_is_too_late() {
    let failing = Scripted::new([Answer::FailInTrailers(Status::unavailable("gone"))]);
    let layer = layer().service(Scripted::default());
    let mut client = EchoClient::new(layer.layer(failing));
    assert_eq!(client.echo("hello").await.unwrap_err().code(), tonic::Code::Unavailable);
    assert_eq!(layer.handle().snapshot().fell_back, 0);
}

#[tokio::test]
async fn infallible_stays_infallible() {
    let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())));
    let Ok(_): Result<_, Infallible> =
        layer().value(Response::new(Empty::<Bytes>::new())).layer(inner).oneshot(Request::new(())).await;
}
