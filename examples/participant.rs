//! A service that takes part in sagas: whatever order its calls come in, and however often, it charges once at most.
//!
//! ```text
//! cargo run --example participant
//! ```

use axum::{Json, Router, body::Body, extract::Request, routing::post};
use buttress::{
    BarrierLayer, BoxError, StepLayer,
    barrier::{Barrier, Stop},
    step::{Op, SagaId, StepContext, StepKey},
};
use sqlx::{Sqlite, sqlite::SqlitePoolOptions};
use tower::{Layer, ServiceExt};

async fn charge(barrier: Barrier<Sqlite>) -> Result<Json<i64>, Stop> {
    let charged = barrier.act(|mut tx| async move {
        println!("  charging");
        let charged = sqlx::query("INSERT INTO charge DEFAULT VALUES").execute(&mut *tx).await?;
        Ok(charged.last_insert_rowid())
    });
    charged.await.map(Json)
}

async fn refund(barrier: Barrier<Sqlite>) -> Result<(), Stop> {
    let refunded = barrier.undo(|mut tx, charge: i64| async move {
        println!("  refunding charge {charge}");
        sqlx::query("DELETE FROM charge WHERE id = $1").bind(charge).execute(&mut *tx).await?;
        Ok(())
    });
    refunded.await
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
    sqlx::query("CREATE TABLE charge(id INTEGER PRIMARY KEY)").execute(&pool).await?;
    let barrier = BarrierLayer::http(pool);
    barrier.migrate().await?;
    let payments = Router::new().route("/", post(charge).delete(refund)).layer(barrier);

    // What a coordinator does, on a bad day. The client would be a hyper client; the layer around it is the same.
    let payments = StepLayer::http().layer(payments);
    let (paid, lost) = (SagaId::new(), SagaId::new());
    for (what, saga, op, epoch) in [
        ("a charge", paid, Op::Act, 1),
        ("the same charge, its answer was lost", paid, Op::Act, 1),
        ("its undo, by another coordinator", paid, Op::Undo, 2),
        ("the first coordinator wakes", paid, Op::Act, 1),
        ("the undo of a charge that was lost", lost, Op::Undo, 1),
        ("and now it comes", lost, Op::Act, 1),
    ] {
        println!("{what}");
        let step = StepContext::new(StepKey::new(saga, "charge", 0, op)?, epoch);
        let call = Request::builder().method(if op == Op::Act { "POST" } else { "DELETE" }).body(Body::empty())?;
        let answer = step.clone().scope(payments.clone().oneshot(call)).await?;
        println!("  {}, refused: {}", answer.status(), step.was_refused());
    }
    Ok(())
}
