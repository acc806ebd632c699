//! The participant's half of a saga: does each step once, and undoes only what was done.
//!
//! # Why
//!
//! A coordinator that hears nothing of a step has to send it again, or to undo it, and can't know what it will meet. So
//! whoever carries steps out has to cope with all of this:
//!
//! | what comes | what happens | answer |
//! |---|---|---|
//! | a step | it is done | its own |
//! | the same once more: its answer was lost, or another node took the saga over | nothing | the stored one |
//! | an undo | it is undone, with the step's stored answer in hand | its own |
//! | the same once more | nothing | the stored one |
//! | an undo of what never came: the call was lost | nothing, and it never will | the default one |
//! | a step after its undo: the call was late | nothing | 410, `FAILED_PRECONDITION` |
//! | anything from a coordinator that lost its saga | nothing | 409, `ABORTED` |
//!
//! None of it can be told apart without a memory, and a memory that isn't written in the very transaction of the effect is
//! wrong when the process dies between the two. So a [`Barrier`] runs the effect in a transaction of its own, in which it
//! notes what it does, in one table, `saga_barrier`; both are committed, or neither is. That is what "once" means here: an
//! effect in *this* database. What an effect does elsewhere, a mail or another call, isn't rolled back with it.
//!
//! The calls say which step they are in by the headers of a [`StepLayer`](crate::StepLayer), which anybody can write: a
//! service that isn't for everybody has to find out who calls before this.
//!
//! # Examples
//!
//! With axum:
//!
#![cfg_attr(all(feature = "barrier-sqlite", feature = "axum"), doc = "```no_run")]
#![cfg_attr(not(all(feature = "barrier-sqlite", feature = "axum")), doc = "```ignore")]
//! use axum::{Json, Router, routing::post};
//! use buttress::{BarrierLayer, barrier::{Barrier, Stop, Tx}};
//! use http::StatusCode;
//! use sqlx::{Sqlite, SqlitePool};
//!
//! #[derive(serde::Deserialize)]
//! struct Charge { account: i64, cents: i64 }
//!
//! async fn charge(barrier: Barrier<Sqlite>, Json(charge): Json<Charge>) -> Result<Json<i64>, Stop> {
//!     barrier.act(|tx| async move { take(tx, charge).await }).await.map(Json)
//! }
//!
//! async fn refund(barrier: Barrier<Sqlite>) -> Result<(), Stop> {
//!     barrier.undo(|tx, charge: i64| async move { give_back(tx, charge).await }).await
//! }
//!
//! async fn take(mut tx: Tx<Sqlite>, charge: Charge) -> Result<i64, Stop> {
//!     let taken = sqlx::query("UPDATE account SET cents = cents - $1 WHERE id = $2 AND cents >= $1")
//!         .bind(charge.cents)
//!         .bind(charge.account)
//!         .execute(&mut *tx)
//!         .await?;
//!     if taken.rows_affected() == 0 {
//!         return Err(Stop::refuse(StatusCode::PAYMENT_REQUIRED, "account has too little"));
//!     }
//!     let charged = sqlx::query("INSERT INTO charge(account, cents) VALUES ($1, $2)")
//!         .bind(charge.account)
//!         .bind(charge.cents)
//!         .execute(&mut *tx)
//!         .await?;
//!     Ok(charged.last_insert_rowid())
//! }
//!
//! async fn give_back(mut tx: Tx<Sqlite>, charge: i64) -> Result<(), Stop> {
//!     sqlx::query("UPDATE account SET cents = account.cents + charge.cents FROM charge \
//!                  WHERE charge.id = $1 AND account.id = charge.account")
//!         .bind(charge)
//!         .execute(&mut *tx)
//!         .await?;
//!     Ok(())
//! }
//!
//! # async fn serve() -> Result<(), buttress::BoxError> {
//! let pool = SqlitePool::connect("sqlite:payments.db").await?;
//! let barrier = BarrierLayer::http(pool);
//! barrier.migrate().await?;
//! let app: Router = Router::new().route("/charges", post(charge).delete(refund)).layer(barrier);
//! # Ok(())
//! # }
//! ```
//!
//! With tonic, `BarrierLayer::grpc(pool)` goes around the service, and a method begins with
//! `Barrier::<Postgres>::of(request.extensions())?`, for a [`Stop`] becomes a `tonic::Status`.
//!
//! # What it costs
//!
//! Three statements more in a transaction of the effect's. All that happens to *one* saga in one database happens one by
//! one, for the saga's row is held from the beginning of the transaction to its end: so an effect should be short, and wait
//! for nobody else.
//!
//! | | SQLite | PostgreSQL |
//! |---|---|---|
//! | transaction | `BEGIN IMMEDIATE` | `READ COMMITTED`, whatever the database's default |
//! | a lock is waited for | as the pool's connections are told to, by default 5 s | 5 s |
//! | where others are in the way | tried again for 5 s, until the effect has begun | the same |
//!
//! The table grows by up to three rows a step. [`BarrierLayer::prune`] forgets sagas that are long over; nothing does that
//! by itself.

mod answer;
mod codes;
mod course;
mod event;
mod extract;
mod guard;
mod kept;
mod layer;
mod meter;
mod open;
mod run;
mod stop;
mod store;
mod tx;

pub use self::{
    guard::Barrier,
    kept::{AnswerError, LARGEST_ANSWER},
    layer::{BarrierLayer, BarrierService},
    stop::{Refusal, Stop},
    store::{POSTGRES_TABLE, SQLITE_TABLE, Store},
    tx::Tx,
};
