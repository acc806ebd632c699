//! A tonic service behind a barrier, called by a tonic client in a step.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use buttress::{
    BarrierLayer, StepLayer,
    barrier::{Barrier, Stop},
    step::{StepContext, StepKey},
};
use http::{Request, Response};
use sqlx::{Sqlite, SqlitePool};
use tonic::{
    Code, Status,
    body::Body,
    server::{NamedService, UnaryService},
    transport::Channel,
};
use tonic_prost::ProstCodec;
use tower::{Layer, Service};

use super::{
    shop::{charge, undo},
    sqlite::Database,
};
use crate::support::grpc::{EchoClient, Word, connect, serve};

/// Charges; what is sent as `undo` is refunded.
#[derive(Clone)]
struct Payments;

impl NamedService for Payments {
    const NAME: &'static str = "test.Echo";
}

type Answer = Pin<Box<dyn Future<Output = Result<tonic::Response<Word>, Status>> + Send>>;

impl UnaryService<Word> for Payments {
    type Response = Word;
    type Future = Answer;

    fn call(&mut self, request: tonic::Request<Word>) -> Answer {
        Box::pin(async move {
            let barrier = Barrier::<Sqlite>::of(request.extensions())?;
            let what = request.into_inner().text;
            let id = if what == "undo" {
                barrier.undo(|mut tx, did: i64| async move {
                    sqlx::query("INSERT INTO refund VALUES ($1)").bind(did).execute(&mut *tx).await?;
                    Ok(did)
                })
            } else {
                return Ok(tonic::Response::new(Word { text: act(&barrier, what).await?.to_string() }));
            };
            Ok(tonic::Response::new(Word { text: id.await?.to_string() }))
        })
    }
}

async fn act(barrier: &Barrier<Sqlite>, what: String) -> Result<i64, Stop> {
    let charged = barrier.act(|mut tx| async move {
        let charged = sqlx::query("INSERT INTO charge(what) VALUES ($1)").bind(&what).execute(&mut *tx).await?;
        match what.as_str() {
            "decline" => Err(Status::already_exists("charged by another").into()),
            "later" => Err(Status::resource_exhausted("come back later").into()),
            _ => Ok(charged.last_insert_rowid()),
        }
    });
    charged.await
}

impl Service<Request<Body>> for Payments {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let payments = self.clone();
        let mut server = tonic::server::Grpc::new(ProstCodec::<Word, Word>::default());
        Box::pin(async move { Ok(server.unary(payments, request).await) })
    }
}

struct Shop {
    channel: Channel,
    pool: SqlitePool,
    _database: Database,
}

impl Shop {
    async fn open() -> Self {
        let database = Database::new().await.unwrap();
        let pool = database.pool.clone();
        let layer = BarrierLayer::grpc(pool.clone());
        layer.migrate().await.unwrap();
        let tables = "CREATE TABLE charge(id INTEGER PRIMARY KEY, what TEXT); CREATE TABLE refund(charge INTEGER)";
        sqlx::raw_sql(tables).execute(&pool).await.unwrap();
        let channel = connect(serve(layer.layer(Payments)).await).await;
        Self { channel, pool, _database: database }
    }

    /// What came back, and whether the step concluded that it was refused.
    async fn step(&self, key: &StepKey, epoch: u64, what: &str) -> (Result<String, Code>, bool) {
        let step = StepContext::new(key.clone(), epoch);
        let mut client = EchoClient::new(StepLayer::grpc().layer(self.channel.clone()));
        let answer = step.clone().scope(client.echo(what)).await;
        (answer.map(|word| word.into_inner().text).map_err(|status| status.code()), step.was_refused())
    }

    async fn rows(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tonic_service_does_each_step_once_and_its_coordinator_concludes_the_same() {
    let shop = Shop::open().await;
    let key = charge();
    let one = || Ok("1".to_owned());
    for _ in 0..2 {
        assert_eq!(shop.step(&key, 1, "").await, (one(), false));
    }
    for _ in 0..2 {
        assert_eq!(shop.step(&undo(&key), 2, "undo").await, (one(), false));
    }
    assert_eq!(shop.step(&key, 1, "").await, (Err(Code::Aborted), false), "H1");

    let never = charge();
    assert_eq!(shop.step(&undo(&never), 1, "undo").await, (Ok("0".to_owned()), false), "H5");
    assert_eq!(shop.step(&never, 1, "").await, (Err(Code::FailedPrecondition), true), "H4");
    assert_eq!(
        (shop.rows("SELECT count(*) FROM charge").await, shop.rows("SELECT count(*) FROM refund").await),
        (1, 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_of_the_effect_rolls_back_and_is_remembered_if_it_is_the_last_word() {
    let shop = Shop::open().await;
    let (declined, later) = (charge(), charge());
    for what in ["decline", ""] {
        assert_eq!(shop.step(&declined, 1, what).await, (Err(Code::AlreadyExists), true));
    }
    assert_eq!(shop.step(&later, 1, "later").await, (Err(Code::ResourceExhausted), false));
    assert_eq!(shop.step(&later, 1, "").await, (Ok("1".to_owned()), false));
    assert_eq!(shop.rows("SELECT count(*) FROM charge").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_no_step_is_an_invalid_argument_and_a_lost_database_is_unavailable() {
    let shop = Shop::open().await;
    let status = EchoClient::new(shop.channel.clone()).echo("").await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("not called in a step"), "{status}");
    assert_eq!(shop.step(&undo(&charge()), 1, "").await, (Err(Code::InvalidArgument), true), "an undo isn't an act");
    shop.pool.close().await;
    assert_eq!(shop.step(&charge(), 1, "").await, (Err(Code::Unavailable), false));
}
