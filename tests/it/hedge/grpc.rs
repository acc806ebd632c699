//! gRPC: proposal A6, over tonic's client and server.

use std::{convert::Infallible, time::Duration};

use buttress::{
    HedgeLayer,
    hedge::{Careful, GRPC_PREVIOUS_ATTEMPTS},
    protocol::{Grpc, grpc::Code},
    retry::OnMethods,
};
use http::{Request, Response};
use http_body_util::Empty;
use tokio::time::Instant;
use tonic::{
    Status,
    body::Body,
    transport::{Channel, Endpoint, channel::Change},
};
use tower::{Layer, ServiceExt};
use tracing_subscriber::filter::LevelFilter;

use super::{Course, MS};
use crate::support::{
    events::Events,
    grpc::{Answer, EchoClient, Scripted, connect, serve},
};

fn layer() -> HedgeLayer<Grpc, OnMethods<Careful>> {
    HedgeLayer::grpc("test").methods(["test.Echo/Echo"]).after(100 * MS)
}

type Res = Response<Empty<bytes::Bytes>>;

/// An answer of nothing but trailers.
fn trailers_only(code: u8, pushback: Option<&'static str>) -> Res {
    let mut response = Response::builder().header("grpc-status", code.to_string());
    if let Some(pushback) = pushback {
        response = response.header("grpc-retry-pushback-ms", pushback);
    }
    response.body(Empty::new()).unwrap()
}

/// The code handed on, and when the calls came.
async fn race(hedges: u32, answers: &[(u32, Res)]) -> (String, Vec<u64>) {
    let answers = answers.to_vec();
    let inner = Course::new(move |call| (answers[call].0 * MS, Ok::<_, Infallible>(answers[call].1.clone())));
    let layer = layer().max_hedges(hedges).non_fatal_codes([Code::Unavailable, Code::Aborted]);
    let began = Instant::now();
    let request = Request::builder().uri("/test.Echo/Echo").body(Body::empty()).unwrap();
    let response = layer.layer(inner.clone()).oneshot(request).await.unwrap();
    assert_eq!(inner.running(), 0);
    (response.headers()["grpc-status"].to_str().unwrap().to_owned(), inner.times(began))
}

#[tokio::test(start_paused = true)]
async fn a_non_fatal_code_lets_the_next_go_at_once() {
    let answers = [(10, trailers_only(14, None)), (10, trailers_only(10, None)), (10, trailers_only(0, None))];
    assert_eq!(race(2, &answers).await, ("0".to_owned(), vec![0, 10, 20]));
    // The last to fail is handed on.
    assert_eq!(race(1, &answers).await, ("10".to_owned(), vec![0, 10]));
}

#[tokio::test(start_paused = true)]
async fn a_fatal_code_is_handed_on_and_cancels_the_others() {
    for code in (1..=16).filter(|code| ![10, 14].contains(code)) {
        let answers = [(1000, trailers_only(0, None)), (10, trailers_only(code, None))];
        assert_eq!(race(3, &answers).await, (code.to_string(), vec![0, 100]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_pushback_sets_the_time_of_the_next_and_of_that_only() {
    let answers = [(10, trailers_only(14, Some("500"))), (300, trailers_only(0, None)), (0, trailers_only(0, None))];
    assert_eq!(race(2, &answers).await, ("0".to_owned(), vec![0, 510, 610]));
    // With another under way, too.
    let answers = [(120, trailers_only(14, Some("30"))), (300, trailers_only(0, None)), (10, trailers_only(0, None))];
    assert_eq!(race(2, &answers).await, ("0".to_owned(), vec![0, 100, 150]));
}

#[tokio::test(start_paused = true)]
async fn a_pushback_that_says_no_ends_the_hedging_and_not_the_call() {
    for no in ["-1", "soon"] {
        let answers = [(10, trailers_only(14, Some(no)))];
        assert_eq!(race(2, &answers).await, ("14".to_owned(), vec![0]));
        let answers = [(1000, trailers_only(0, None)), (10, trailers_only(14, Some(no)))];
        assert_eq!(race(3, &answers).await, ("0".to_owned(), vec![0, 100]));
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_methods_that_are_named_are_hedged() {
    let events = Events::at(LevelFilter::WARN);
    let scripted = Scripted::new([]);
    let slow = |scripted: &Scripted| {
        let inner = scripted.clone();
        tower::service_fn(move |request: Request<Body>| {
            let inner = inner.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(300)).await;
                inner.oneshot(request).await
            }
        })
    };
    let layer = layer();
    let mut client = EchoClient::new(layer.layer(slow(&scripted)));
    client.echo("hello").await.unwrap();
    assert_eq!((scripted.calls(), layer.handle().snapshot().hedges), (1, 1), "the loser was dropped");
    client.echo_many("hello").await.unwrap();
    assert_eq!(layer.handle().snapshot().hedges, 1);
    assert_eq!(events.take(), "");

    let layer = HedgeLayer::grpc("unsaid").after(100 * MS);
    EchoClient::new(layer.layer(slow(&scripted))).echo("hello").await.unwrap();
    assert_eq!(layer.handle().snapshot().hedges, 0);
    assert!(events.take().contains("nothing is hedged"));
}

#[tokio::test(start_paused = true)]
async fn a_failure_in_the_trailers_is_one_too() {
    let scripted = Scripted::new([Answer::FailInTrailers(Status::unavailable("gone"))]);
    let layer = layer();
    let mut client = EchoClient::new(layer.layer(scripted.clone()));
    assert_eq!(client.echo("hello").await.unwrap().into_inner(), "hello".into());
    let seen = scripted.seen();
    assert_eq!(seen[1].headers[GRPC_PREVIOUS_ATTEMPTS], "1");
    assert_eq!((seen.len(), layer.handle().snapshot().won), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn answers_that_came_in_messages_are_observed() {
    let scripted = Scripted::default();
    let layer = HedgeLayer::grpc("test").idempotent().minimum_calls(10);
    let mut client = EchoClient::new(layer.layer(scripted.clone()));
    for _ in 0..10 {
        client.echo("hello").await.unwrap();
    }
    tokio::time::advance(Duration::from_millis(100)).await;
    assert!(layer.handle().snapshot().after.is_some());
}

#[tokio::test]
async fn a_hedge_goes_to_another_endpoint_of_a_channel_that_balances() {
    // Which endpoint a balancer takes is chance. So it knows only the one that hangs until the first attempt is there.
    let (hung, well) = (Scripted::new([Answer::Hang]), Scripted::default());
    let [to_hung, to_well] = [serve(hung.clone()).await, serve(well.clone()).await]
        .map(|address| Endpoint::from_shared(format!("http://{address}")).unwrap());
    let (channel, changes) = Channel::balance_channel(2);
    changes.send(Change::Insert("hung", to_hung)).await.unwrap();

    let layer = layer().after(60 * 1000 * MS);
    let mut client = EchoClient::new(layer.layer(channel));
    let call = tokio::spawn(async move { client.echo("hello").await });
    let first = async {
        while hung.calls() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), first).await.expect("the first attempt never arrives");
    changes.send(Change::Insert("well", to_well)).await.unwrap();
    changes.send(Change::Remove("hung")).await.unwrap();
    tokio::time::pause();
    tokio::time::advance(60 * 1000 * MS).await;
    tokio::time::resume();

    let answer = tokio::time::timeout(Duration::from_secs(20), call).await.expect("the call hangs").unwrap();
    assert_eq!(answer.unwrap().into_inner(), "hello".into());
    assert_eq!((hung.calls(), well.calls(), layer.handle().snapshot().won), (1, 1, 1));
}

#[tokio::test]
async fn a_call_over_a_channel_is_hedged_and_the_loser_is_reset() {
    let scripted = Scripted::new([Answer::Hang]);
    let layer = layer().after(Duration::from_millis(30));
    let mut client = EchoClient::new(layer.layer(connect(serve(scripted.clone()).await).await));
    assert_eq!(client.echo("hello").await.unwrap().into_inner(), "hello".into());
    let seen = scripted.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|seen| seen.words == ["hello".into()]), "both had the request's body");
    assert_eq!(layer.handle().snapshot().won, 1);
}

#[test]
#[should_panic(expected = "invalid setting hedge.non_fatal_codes: OK is not a failure")]
fn success_is_not_a_failure() {
    let _ = layer().non_fatal_codes([Code::Ok]);
}

#[test]
#[should_panic(expected = "invalid setting hedge.methods: none is not one or more")]
fn no_method_at_all_is_no_hedge_at_all() {
    let _ = layer().methods([""; 0]);
}
