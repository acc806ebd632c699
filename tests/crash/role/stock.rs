//! The participant that holds stock, over gRPC.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use buttress::{
    BarrierLayer,
    barrier::{Barrier, Stop, Tx},
    failpoint,
    step::{StepHeaders, StepKey},
};
use http::{Request, Response};
use sqlx::{Row, Sqlite};
use tonic::{
    Code, Status,
    body::Body,
    server::NamedService,
    transport::{Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use tower::Service;

use super::{Place, books, is_stubborn, obey, say};
use crate::shop::{Given, ON_HAND, Wanted};

const TABLES: &str = "\
CREATE TABLE IF NOT EXISTS stock(on_hand INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS holds(
  id INTEGER PRIMARY KEY, saga TEXT NOT NULL, ord TEXT NOT NULL, items INTEGER NOT NULL, state TEXT NOT NULL);";

pub(super) async fn live(place: Place) {
    let pool = books::open(&place.dir, "stock.db", TABLES).await;
    let fill = sqlx::query("INSERT INTO stock(on_hand) SELECT ? WHERE NOT EXISTS (SELECT * FROM stock)");
    fill.bind(ON_HAND).execute(&pool).await.unwrap();
    obey(async |line| format!("stock doesn't know {line}"));
    let incoming = TcpIncoming::from(place.listen()).with_nodelay(Some(true));
    let server = Server::builder().layer(BarrierLayer::grpc(pool)).add_service(Stock);
    say("ready");
    server.serve_with_incoming(incoming).await.unwrap();
}

/// The service that tonic's code generator would have written.
#[derive(Debug, Clone, Copy)]
struct Stock;

impl NamedService for Stock {
    const NAME: &'static str = "crash.Stock";
}

impl Service<Request<Body>> for Stock {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let step = StepHeaders::read(request.headers()).ok().flatten();
        let method = Method { path: request.uri().path().to_owned(), epoch: step.map_or(0, |step| step.epoch) };
        Box::pin(async move {
            failpoint::reach("inbound").await;
            Ok(tonic::server::Grpc::new(ProstCodec::<Given, Wanted>::default()).unary(method, request).await)
        })
    }
}

struct Method {
    path: String,
    epoch: u64,
}

impl tonic::server::UnaryService<Wanted> for Method {
    type Response = Given;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<Given>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Wanted>) -> Self::Future {
        let (path, epoch) = (self.path.clone(), self.epoch);
        Box::pin(async move {
            let barrier: Barrier<Sqlite> = Barrier::of(request.extensions())?;
            let key = books::step(&barrier)?;
            let wanted = request.into_inner();
            let given = match path.rsplit('/').next() {
                Some("Reserve") => barrier.act(|tx| reserve(tx, key, epoch, wanted)).await,
                Some("Take") => barrier.act(|tx| take(tx, key, epoch, wanted)).await,
                Some("Label") => barrier.act(|tx| label(tx, key, epoch, wanted)).await,
                Some("Release") if is_stubborn() => Err(Status::unavailable("not now").into()),
                Some("Release") => barrier.undo(|tx, hold: i64| release(tx, key, epoch, wanted, hold)).await,
                _ => return Err(Status::new(Code::Unimplemented, path)),
            };
            Ok(tonic::Response::new(Given { id: given? }))
        })
    }
}

async fn reserve(mut tx: Tx<Sqlite>, key: StepKey, epoch: u64, wanted: Wanted) -> Result<i64, Stop> {
    books::note(&mut tx, &key, epoch, &wanted.order).await?;
    let done = sqlx::query("UPDATE stock SET on_hand = on_hand - ?1 WHERE on_hand >= ?1");
    if done.bind(wanted.items).execute(&mut *tx).await?.rows_affected() == 0 {
        return Err(Status::failed_precondition("sold out").into());
    }
    let done = sqlx::query("INSERT INTO holds(saga, ord, items, state) VALUES (?, ?, ?, 'open')");
    let done = done.bind(key.saga().to_string()).bind(wanted.order).bind(wanted.items);
    Ok(done.execute(&mut *tx).await?.last_insert_rowid())
}

async fn release(mut tx: Tx<Sqlite>, key: StepKey, epoch: u64, wanted: Wanted, hold: i64) -> Result<i64, Stop> {
    books::note(&mut tx, &key, epoch, &wanted.order).await?;
    let items = sqlx::query("UPDATE holds SET state = 'released' WHERE id = ? RETURNING items").bind(hold);
    let items: i64 = items.fetch_one(&mut *tx).await?.get(0);
    sqlx::query("UPDATE stock SET on_hand = on_hand + ?").bind(items).execute(&mut *tx).await?;
    Ok(items)
}

async fn take(mut tx: Tx<Sqlite>, key: StepKey, epoch: u64, wanted: Wanted) -> Result<i64, Stop> {
    books::note(&mut tx, &key, epoch, &wanted.order).await?;
    let done = sqlx::query("UPDATE holds SET state = 'taken' WHERE saga = ? AND state = 'open'");
    Ok(done.bind(key.saga().to_string()).execute(&mut *tx).await?.rows_affected() as i64)
}

async fn label(mut tx: Tx<Sqlite>, key: StepKey, epoch: u64, wanted: Wanted) -> Result<i64, Stop> {
    books::note(&mut tx, &key, epoch, &wanted.order).await?;
    Ok(0)
}
