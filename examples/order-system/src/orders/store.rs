//! Orders' database. Orders takes part in its own sagas like any other service: what a step does here is behind a barrier,
//! in one transaction with the note that it was done.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use buttress::BarrierLayer;
use buttress::barrier::{Barrier, Stop};
use buttress::step::{StepContext, StepHeaders};
use serde::Serialize;
use sqlx::{Sqlite, SqliteConnection, SqlitePool};

use super::basket::{Priced, PricedLine};
use crate::db;

/// An order as the world may see it.
#[derive(Debug, Serialize)]
pub(super) struct Order {
    pub(super) id: String,
    pub(super) state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    pub(super) customer: String,
    pub(super) total_cents: i64,
    pub(super) lines: Vec<PricedLine>,
    pub(super) created_at_ms: i64,
}

#[derive(Clone, Debug)]
pub(super) struct Store {
    pool: SqlitePool,
    barrier: BarrierLayer<Sqlite>,
}

impl Store {
    pub(super) async fn open(path: &Path) -> sqlx::Result<Self> {
        let pool = db::open(path, include_str!("schema.sql")).await?;
        let barrier = BarrierLayer::http(pool.clone()).named("orders");
        Ok(Self { pool, barrier })
    }

    pub(super) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// The barrier of the step that this task carries out.
    fn barrier(&self) -> Result<Barrier<Sqlite>, Stop> {
        let step = StepContext::current().ok_or(Stop::NoStep)?;
        let mut headers = HeaderMap::new();
        StepHeaders::of(&step).write(&mut headers);
        Ok(self.barrier.barrier(&headers))
    }

    pub(super) async fn find(&self, id: &str) -> sqlx::Result<Option<Order>> {
        type Row = (String, i64, String, Option<String>, i64);
        let mut connection = self.pool.acquire().await?;
        let row: Option<Row> =
            sqlx::query_as("SELECT customer, total_cents, state, reason, created_at_ms FROM purchase WHERE id = ?")
                .bind(id)
                .fetch_optional(&mut *connection)
                .await?;
        let Some((customer, total_cents, state, reason, created_at_ms)) = row else {
            return Ok(None);
        };
        let lines: Vec<(String, String, i64, i64)> = sqlx::query_as(
            "SELECT sku, name, quantity, unit_price_cents FROM purchase_line WHERE order_id = ? ORDER BY rowid",
        )
        .bind(id)
        .fetch_all(&mut *connection)
        .await?;
        let lines = lines
            .into_iter()
            .map(|(sku, name, quantity, unit_price_cents)| PricedLine { sku, name, quantity, unit_price_cents })
            .collect();
        Ok(Some(Order { id: id.to_owned(), state, reason, customer, total_cents, lines, created_at_ms }))
    }
}

/// The steps of placing an order.
impl Store {
    /// Stores the order as pending, and says how that looks.
    pub(super) async fn create(&self, id: &str, order: &Priced) -> Result<i64, Stop> {
        let now = now_ms();
        let create = async |mut tx: buttress::barrier::Tx<Sqlite>| {
            insert(&mut tx, id, order, now).await?;
            Ok(now)
        };
        self.barrier()?.act(create).await
    }

    /// Notes why an order is about to be rejected. Not a step: without it the order is rejected all the same.
    pub(super) async fn note_reason(&self, id: &str, reason: &str) -> sqlx::Result<()> {
        sqlx::query("UPDATE purchase SET reason = ? WHERE id = ? AND state = 'pending'")
            .bind(reason)
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Undoes [`create`](Self::create): the order stays, and says that it was rejected.
    pub(super) async fn reject(&self, id: &str) -> Result<(), Stop> {
        let reject = async |mut tx: buttress::barrier::Tx<Sqlite>, _created: i64| {
            // No reason was noted if the process died, or the time was up in the midst of it.
            let reject = "UPDATE purchase SET state = 'rejected', reason = IFNULL(reason, 'interrupted')
                          WHERE id = ? AND state = 'pending'";
            sqlx::query(reject).bind(id).execute(&mut *tx).await?;
            Ok(())
        };
        self.barrier()?.undo(reject).await
    }

    pub(super) async fn confirm(&self, id: &str) -> Result<(), Stop> {
        self.barrier()?.act(async |mut tx| change(&mut tx, id, "pending", "confirmed").await).await
    }
}

/// The steps of cancelling one.
impl Store {
    /// Says whether the order was confirmed, and is now being cancelled by this saga and no other.
    pub(super) async fn begin_cancelling(&self, id: &str) -> Result<bool, Stop> {
        let begin =
            async |mut tx: buttress::barrier::Tx<Sqlite>| Ok(try_change(&mut tx, id, "confirmed", "cancelling").await?);
        self.barrier()?.act(begin).await
    }

    /// Undoes [`begin_cancelling`](Self::begin_cancelling), if it was this saga that began.
    pub(super) async fn keep(&self, id: &str) -> Result<(), Stop> {
        let keep = async |mut tx: buttress::barrier::Tx<Sqlite>, began: bool| {
            if began { change(&mut tx, id, "cancelling", "confirmed").await } else { Ok(()) }
        };
        self.barrier()?.undo(keep).await
    }

    pub(super) async fn cancelled(&self, id: &str) -> Result<(), Stop> {
        self.barrier()?.act(async |mut tx| change(&mut tx, id, "cancelling", "cancelled").await).await
    }
}

async fn insert(connection: &mut SqliteConnection, id: &str, order: &Priced, now: i64) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO purchase (id, customer, total_cents, state, created_at_ms) VALUES (?, ?, ?, 'pending', ?)",
    )
    .bind(id)
    .bind(&order.customer)
    .bind(order.total_cents)
    .bind(now)
    .execute(&mut *connection)
    .await?;
    for line in &order.lines {
        sqlx::query(
            "INSERT INTO purchase_line (order_id, sku, name, quantity, unit_price_cents) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(id)
        .bind(&line.sku)
        .bind(&line.name)
        .bind(line.quantity)
        .bind(line.unit_price_cents)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn try_change(connection: &mut SqliteConnection, id: &str, from: &str, to: &str) -> sqlx::Result<bool> {
    let changed = sqlx::query("UPDATE purchase SET state = ? WHERE id = ? AND state = ?")
        .bind(to)
        .bind(id)
        .bind(from)
        .execute(connection)
        .await?;
    Ok(changed.rows_affected() == 1)
}

/// As [`try_change`], where no other state is possible: tried again, and in the end looked at by somebody.
async fn change(connection: &mut SqliteConnection, id: &str, from: &str, to: &str) -> Result<(), Stop> {
    match try_change(connection, id, from, to).await? {
        true => Ok(()),
        false => Err(Stop::failed(format!("order {id} is not {from}, so it can't become {to}"))),
    }
}

/// Wall-clock time, because it must mean the same after a restart.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
