//! The layer over gRPC: in dialogue under paused time, and over real connections.

use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use buttress::{
    BoxError, SagaLayer,
    protocol::grpc::Code,
    saga::{
        Coordinator,
        Idempotency::{Optional, Required},
        OnDisconnect, Saga, SagaService,
    },
};
use futures_util::{Stream, StreamExt, future::BoxFuture, stream};
use http::{HeaderMap, Request, Response};
use tokio::time::{Instant, sleep};
use tonic::{Status, body::Body, codegen::BoxStream, server::NamedService};
use tonic_prost::ProstCodec;
use tower::{Layer, Service, ServiceExt};

use super::{
    controlled::{Controlled, Order},
    layer::step,
    world::World,
};
use crate::support::grpc::{EchoClient, Word, connect, serve};

const REST: Duration = Duration::from_secs(3600);

/// Takes a step and answers; a stream takes a second step before its end.
#[derive(Clone, Default)]
struct Shop {
    world: World,
    runs: Arc<AtomicUsize>,
    journal: Option<Controlled>,
}

impl Shop {
    /// Does what it is asked.
    async fn place(&self, saga: &Saga, asked: &str) -> Result<Word, Status> {
        let run = self.runs.fetch_add(1, SeqCst) + 1;
        step(saga, &self.world, "reserve").await?;
        match asked {
            "hang" => pending().await,
            "panic" => panic!("of the handler"),
            "fail the journal" => self.journal.as_ref().unwrap().henceforth(Order::Fail),
            "a step" => {
                let fails = saga.step("ship").run(async |_| Err::<(), BoxError>("no lorry".into()));
                fails.await?;
            }
            code => {
                if let Ok(code) = code.parse::<i32>() {
                    return Err(Status::new(code.into(), "no"));
                }
            }
        }
        Ok(Word::from(format!("{run}: {asked}").as_str()))
    }

    fn stream(self, saga: Saga, asked: String) -> impl Stream<Item = Result<Word, Status>> + Send {
        let ticks = stream::iter([Ok("one".into()), Ok("two".into())]).chain(stream::once(async move {
            sleep(Duration::from_secs(1)).await;
            assert!(Saga::current().is_some(), "the stream is the saga's too");
            self.place(&saga, &asked).await
        }));
        ticks.boxed()
    }
}

impl NamedService for Shop {
    const NAME: &'static str = "test.Echo";
}

impl Service<Request<Body>> for Shop {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shop = self.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<Word, Word>::default());
            Ok(match request.uri().path() {
                "/test.Echo/EchoMany" => grpc.server_streaming(shop, request).await,
                _ => grpc.unary(shop, request).await,
            })
        })
    }
}

type Called<T> = BoxFuture<'static, Result<tonic::Response<T>, Status>>;

impl tonic::server::UnaryService<Word> for Shop {
    type Response = Word;
    type Future = Called<Word>;

    fn call(&mut self, request: tonic::Request<Word>) -> Self::Future {
        let shop = self.clone();
        Box::pin(async move {
            let saga = request.extensions().get::<Saga>().expect("the layer puts it there").clone();
            shop.place(&saga, &request.into_inner().text).await.map(tonic::Response::new)
        })
    }
}

impl tonic::server::ServerStreamingService<Word> for Shop {
    type Response = Word;
    type ResponseStream = BoxStream<Word>;
    type Future = Called<BoxStream<Word>>;

    fn call(&mut self, request: tonic::Request<Word>) -> Self::Future {
        let shop = self.clone();
        Box::pin(async move {
            let saga = request.extensions().get::<Saga>().unwrap().clone();
            let stream: BoxStream<Word> = Box::pin(shop.stream(saga, request.into_inner().text));
            Ok(tonic::Response::new(stream))
        })
    }
}

type Grpc = buttress::protocol::Grpc;
type Around = SagaService<Shop, Grpc>;

async fn shop(configure: impl FnOnce(SagaLayer<Grpc>) -> SagaLayer<Grpc>) -> (Coordinator, Shop, EchoClient<Around>) {
    let journal = Controlled::default();
    let shop = Shop { journal: Some(journal.clone()), ..Shop::default() };
    let coordinator = shop.world.register(Coordinator::with_inline_journal(journal)).start().await.unwrap();
    let service = configure(SagaLayer::grpc(&coordinator, "place-order")).layer(shop.clone());
    (coordinator, shop, EchoClient::new(service))
}

// ===== the verdict =====

#[tokio::test(start_paused = true)]
async fn h16_status_0_in_the_trailers_commits() {
    let (coordinator, shop, mut client) = shop(|layer| layer).await;
    let answer = client.echo("a book").await.unwrap();
    assert_eq!(answer.into_inner().text, "1: a book");
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    assert_eq!(shop.world.log(), ["do reserve"]);
}

#[tokio::test(start_paused = true)]
async fn h16_any_other_status_is_undone_though_it_arrives_as_a_200() {
    for code in 1..=16 {
        let (_coordinator, shop, mut client) = shop(|layer| layer).await;
        // Trailers-only.
        let status = client.echo(&code.to_string()).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code.into(), "no"));
        assert_eq!(shop.world.log(), ["do reserve", "undo reserve"], "{code}");
        // After messages, in the trailers.
        let mut words = client.echo_many(&code.to_string()).await.unwrap().into_inner();
        assert_eq!(words.message().await.unwrap(), Some("one".into()));
        assert_eq!(words.message().await.unwrap(), Some("two".into()));
        assert_eq!(words.message().await.unwrap_err().code(), code.into());
        assert_eq!(shop.world.log()[2..], ["do reserve", "undo reserve"], "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_commits_can_be_replaced() {
    let shop = Shop::default();
    let coordinator = shop.world.coordinator().start().await.unwrap();
    let layer = SagaLayer::grpc(&coordinator, "place-order")
        .commits_when(|code: Code, _: &HeaderMap| matches!(code, Code::Ok | Code::AlreadyExists));
    let mut client = EchoClient::new(layer.layer(shop.clone()));
    assert_eq!(client.echo("6").await.unwrap_err().code(), tonic::Code::AlreadyExists);
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    assert_eq!(shop.world.log(), ["do reserve"]);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_failed_is_a_status_by_the_question_mark() {
    let (_coordinator, shop, mut client) = shop(|layer| layer).await;
    let status = client.echo("a step").await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "1000");
    assert!(!status.message().contains("lorry"));
    assert_eq!(shop.world.log(), ["do reserve", "undo reserve"]);
}

// ===== streams =====

#[tokio::test(start_paused = true)]
async fn the_messages_of_a_stream_are_handed_on_as_they_come_and_its_status_when_the_commit_is_durable() {
    let (_coordinator, shop, mut client) = shop(|layer| layer).await;
    let journal = shop.journal.clone().unwrap();
    let before = Instant::now();
    let mut words = client.echo_many("a book").await.unwrap().into_inner();
    assert_eq!(words.message().await.unwrap(), Some("one".into()));
    assert_eq!(words.message().await.unwrap(), Some("two".into()));
    assert_eq!((before.elapsed(), journal.commits()), (Duration::ZERO, 0));
    assert_eq!(words.message().await.unwrap(), Some("1: a book".into()));
    assert_eq!(words.message().await.unwrap(), None);
    assert_eq!((before.elapsed(), journal.commits()), (Duration::from_secs(1), 1));
}

#[tokio::test(start_paused = true)]
async fn h6_a_stream_whose_client_hangs_up_is_read_to_its_end_and_commits_or_is_undone_if_told_so() {
    for (on_disconnect, log) in [
        (OnDisconnect::Continue, ["do reserve"].as_slice()),
        // It was dropped before its last step.
        (OnDisconnect::Undo, &[]),
    ] {
        let (coordinator, shop, mut client) = shop(|layer| layer.on_disconnect(on_disconnect)).await;
        let mut words = client.echo_many("a book").await.unwrap().into_inner();
        assert_eq!(words.message().await.unwrap(), Some("one".into()));
        drop(words);
        assert!(coordinator.drain(REST).await.unwrap().in_time);
        assert_eq!(shop.world.log(), log, "{on_disconnect:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_deadline_passes_in_the_midst_of_a_stream_it_ends_with_deadline_exceeded() {
    let (coordinator, shop, mut client) = shop(|layer| layer.deadline(Duration::from_secs(5))).await;
    let before = Instant::now();
    let mut words = client.echo_many("hang").await.unwrap().into_inner();
    for word in ["one", "two"] {
        assert_eq!(words.message().await.unwrap(), Some(word.into()));
    }
    let status = words.message().await.unwrap_err();
    assert_eq!((status.code(), before.elapsed()), (tonic::Code::DeadlineExceeded, Duration::from_secs(5)));
    let status = client.echo("hang").await.unwrap_err();
    assert_eq!((status.code(), before.elapsed()), (tonic::Code::DeadlineExceeded, Duration::from_secs(10)));
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    assert_eq!(shop.world.log(), ["do reserve", "undo reserve", "do reserve", "undo reserve"]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_stream_is_undone_and_goes_on_in_whoever_reads_it() {
    let (_coordinator, shop, mut client) = shop(|layer| layer).await;
    let mut words = client.echo_many("panic").await.unwrap().into_inner();
    let read = tokio::spawn(async move { while words.message().await.unwrap().is_some() {} });
    assert_eq!(*read.await.unwrap_err().into_panic().downcast::<&str>().unwrap(), "of the handler");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(shop.world.log(), ["do reserve", "undo reserve"]);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_cannot_be_written_is_unknown() {
    for streams in [false, true] {
        let (_coordinator, shop, mut client) = shop(|layer| layer).await;
        let status = match streams {
            false => client.echo("fail the journal").await.unwrap_err(),
            true => {
                let words = client.echo_many("fail the journal").await.unwrap().into_inner();
                words.collect::<Vec<_>>().await.pop().unwrap().unwrap_err()
            }
        };
        assert_eq!(status.code(), tonic::Code::Unknown, "{status:?}");
        assert!(status.message().contains("not known"), "{status:?}");
        assert_eq!(shop.world.log(), ["do reserve"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_drains_is_unavailable() {
    let (coordinator, _, mut client) = shop(|layer| layer).await;
    coordinator.drain(REST).await.unwrap();
    let status = client.echo("a book").await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "1000");
}

// ===== keys =====

fn keyed(key: &'static str, text: &str) -> tonic::Request<Word> {
    let mut request = tonic::Request::new(text.into());
    request.metadata_mut().insert("idempotency-key", key.parse().unwrap());
    request
}

#[tokio::test(start_paused = true)]
async fn h17_a_key_in_the_metadata_is_one_saga_and_its_answer_is_given_again() {
    let shop = Shop::default();
    let coordinator = shop.world.coordinator().start().await.unwrap();
    let layer = SagaLayer::grpc(&coordinator, "place-order").idempotency(Required);
    let mut client = EchoClient::new(layer.layer(shop.clone()));
    assert_eq!(client.echo("a book").await.unwrap_err().code(), tonic::Code::InvalidArgument);
    for replayed in [false, true, true] {
        let answer = client.echo_with(keyed("k", "a book")).await.unwrap();
        assert_eq!(answer.metadata().contains_key("idempotency-replayed"), replayed);
        assert_eq!(answer.into_inner().text, "1: a book");
    }
    assert_eq!(client.echo_with(keyed("k", "a lorry")).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    // FAILED_PRECONDITION stands, UNAVAILABLE says "not now".
    for (code, runs) in [("9", 1), ("14", 2)] {
        let before = shop.runs.load(SeqCst);
        for _ in 0..2 {
            let status = client.echo_with(keyed("failed", code)).await.unwrap_err();
            assert_eq!(status.code() as i32, code.parse::<i32>().unwrap());
        }
        assert_eq!(shop.runs.load(SeqCst) - before, runs, "{code}");
        if code == "9" {
            client = EchoClient::new(SagaLayer::grpc(&coordinator, "again").idempotency(Optional).layer(shop.clone()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn h17_the_answer_of_a_stream_is_kept_too() {
    let shop = Shop::default();
    let coordinator = shop.world.coordinator().start().await.unwrap();
    let layer = SagaLayer::grpc(&coordinator, "place-order").idempotency(Required);
    let service = layer.layer(shop.clone());
    let mut all = Vec::new();
    for _ in 0..2 {
        let service = service.clone().map_request(|mut request: Request<Body>| {
            request.headers_mut().insert("idempotency-key", "k".parse().unwrap());
            request
        });
        let words = EchoClient::new(service).echo_many("a book").await.unwrap().into_inner();
        all.push(words.map(|word| word.unwrap().text).collect::<Vec<_>>().await);
    }
    assert_eq!(all[0], ["one", "two", "1: a book"]);
    assert_eq!(all[0], all[1]);
    assert_eq!(shop.runs.load(SeqCst), 1);
}

// ===== over real connections =====

#[tokio::test]
async fn over_a_real_connection_the_status_decides() {
    let shop = Shop::default();
    let coordinator = shop.world.coordinator().start().await.unwrap();
    let service = SagaLayer::grpc(&coordinator, "place-order").layer(shop.clone());
    assert_eq!(<Around as NamedService>::NAME, Shop::NAME);
    let mut client = EchoClient::new(connect(serve(service).await).await);
    assert_eq!(client.echo("a book").await.unwrap().into_inner().text, "1: a book");
    assert_eq!(client.echo("13").await.unwrap_err().code(), tonic::Code::Internal);
    let words = client.echo_many("a book").await.unwrap().into_inner();
    assert_eq!(words.map(|word| word.unwrap().text).collect::<Vec<_>>().await, ["one", "two", "3: a book"]);
    let words = client.echo_many("5").await.unwrap().into_inner();
    let words = words.collect::<Vec<_>>().await;
    assert_eq!((words.len(), words[2].as_ref().unwrap_err().code()), (3, tonic::Code::NotFound));
    assert_eq!(
        shop.world.log(),
        ["do reserve", "do reserve", "undo reserve", "do reserve", "do reserve", "undo reserve"]
    );
}

#[tokio::test]
async fn k1_over_a_real_connection_a_client_that_cancels_is_carried_out_or_undone_as_it_was_told() {
    for (on_disconnect, log) in
        [(OnDisconnect::Continue, ["do reserve"].as_slice()), (OnDisconnect::Undo, &["do reserve", "undo reserve"])]
    {
        let shop = Shop::default();
        let coordinator = shop.world.coordinator().start().await.unwrap();
        let layer = SagaLayer::grpc(&coordinator, "place-order").on_disconnect(on_disconnect);
        let mut client = EchoClient::new(connect(serve(layer.layer(shop.clone())).await).await);
        let call = tokio::spawn(async move { client.echo("hang").await });
        while shop.world.log().is_empty() {
            tokio::task::yield_now().await;
        }
        call.abort();
        if on_disconnect == OnDisconnect::Undo {
            while shop.world.log().len() < 2 {
                tokio::task::yield_now().await;
            }
        } else {
            // It hangs, and nobody cuts it off.
            assert!(!coordinator.drain(Duration::from_millis(50)).await.unwrap().in_time);
        }
        assert_eq!(shop.world.log(), log, "{on_disconnect:?}");
    }
}
