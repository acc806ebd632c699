//! The participant that charges and refunds, over HTTP.

use axum::{
    Extension, Json, Router,
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
    routing::post,
    serve::ListenerExt,
};
use buttress::{
    BarrierLayer,
    barrier::{Barrier, Stop},
    failpoint,
    step::StepHeaders,
};
use http::StatusCode;
use sqlx::{Row, Sqlite};

use super::{Place, books, is_stubborn, obey, say};
use crate::shop::{Charge, LIMIT, Receipt, Refund};

const TABLES: &str = "\
CREATE TABLE IF NOT EXISTS charges(
  id INTEGER PRIMARY KEY, saga TEXT NOT NULL, number INTEGER NOT NULL, ord TEXT NOT NULL, cents INTEGER NOT NULL,
  refunds INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS receipts(id INTEGER PRIMARY KEY, saga TEXT NOT NULL, ord TEXT NOT NULL);";

#[derive(Clone, Copy)]
struct Epoch(u64);

pub(super) async fn live(place: Place) {
    let pool = books::open(&place.dir, "money.db", TABLES).await;
    let app = Router::new()
        .route("/charges", post(charge))
        .route("/refunds", post(refund))
        .route("/receipts", post(receipt))
        .layer(BarrierLayer::http(pool))
        .layer(from_fn(inbound));
    obey(async |line| format!("money doesn't know {line}"));
    let listener = place.listen().tap_io(|stream| stream.set_nodelay(true).unwrap());
    say("ready");
    axum::serve(listener, app).await.unwrap();
}

/// Where a call is before anything has happened to it.
async fn inbound(mut request: Request, next: Next) -> Response {
    failpoint::reach("inbound").await;
    let epoch = StepHeaders::read(request.headers()).ok().flatten().map_or(0, |step| step.epoch);
    request.extensions_mut().insert(Epoch(epoch));
    next.run(request).await
}

async fn charge(
    Extension(Epoch(epoch)): Extension<Epoch>,
    barrier: Barrier<Sqlite>,
    Json(charge): Json<Charge>,
) -> Result<Json<i64>, Stop> {
    let key = books::step(&barrier)?;
    let charged = barrier.act(|mut tx| async move {
        if charge.cents > LIMIT {
            return Err(Stop::refuse(StatusCode::UNPROCESSABLE_ENTITY, "above the limit"));
        }
        books::note(&mut tx, &key, epoch, &charge.order).await?;
        let done = sqlx::query("INSERT INTO charges(saga, number, ord, cents) VALUES (?, ?, ?, ?)");
        let done = done.bind(key.saga().to_string()).bind(key.number()).bind(charge.order).bind(charge.cents);
        Ok(done.execute(&mut *tx).await?.last_insert_rowid())
    });
    charged.await.map(Json)
}

async fn refund(
    Extension(Epoch(epoch)): Extension<Epoch>,
    barrier: Barrier<Sqlite>,
    Json(refund): Json<Refund>,
) -> Result<Json<i64>, Stop> {
    if is_stubborn() {
        return Err(Stop::refuse(StatusCode::SERVICE_UNAVAILABLE, "not now"));
    }
    let key = books::step(&barrier)?;
    let refunded = barrier.undo(|mut tx, charge: i64| async move {
        books::note(&mut tx, &key, epoch, &refund.order).await?;
        let done = sqlx::query("UPDATE charges SET refunds = refunds + 1 WHERE id = ? RETURNING cents");
        Ok(done.bind(charge).fetch_one(&mut *tx).await?.get::<i64, _>(0))
    });
    refunded.await.map(Json)
}

async fn receipt(
    Extension(Epoch(epoch)): Extension<Epoch>,
    barrier: Barrier<Sqlite>,
    Json(receipt): Json<Receipt>,
) -> Result<Json<i64>, Stop> {
    let key = books::step(&barrier)?;
    let sent = barrier.act(|mut tx| async move {
        books::note(&mut tx, &key, epoch, &receipt.order).await?;
        let done = sqlx::query("INSERT INTO receipts(saga, ord) VALUES (?, ?)");
        let done = done.bind(key.saga().to_string()).bind(receipt.order);
        Ok(done.execute(&mut *tx).await?.last_insert_rowid())
    });
    sent.await.map(Json)
}
