//! Orders' database: every public method is one transaction.

mod answers;
mod duties;

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use serde::Serialize;
use sqlx::{SqliteConnection, SqlitePool};

use crate::db;
use crate::orders::basket::{Priced, PricedLine};
use crate::orders::owed::Duty;
use crate::web::Problem;
pub(in crate::orders) use answers::Answer;
use answers::set_answer;

/// How long a duty is left to the request that made it before the background task takes it up.
const GRACE: Duration = Duration::from_millis(1_500);

/// An order as the world may see it.
#[derive(Debug, Serialize)]
pub(in crate::orders) struct Order {
    id: String,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    customer: String,
    total_cents: i64,
    lines: Vec<PricedLine>,
    created_at_ms: i64,
}

/// What came of the wish to create an order.
#[derive(Debug)]
pub(in crate::orders) enum Created {
    New,
    /// The key was used before, for the same basket.
    Before,
    /// The key was used before, for another basket.
    KeyTaken,
}

/// An idempotency key and the basket it stands for.
#[derive(Clone, Debug)]
pub(in crate::orders) struct Key {
    pub(in crate::orders) key: String,
    pub(in crate::orders) fingerprint: String,
}

#[derive(Clone, Debug)]
pub(in crate::orders) struct Store {
    pool: SqlitePool,
}

impl Store {
    pub(in crate::orders) async fn open(path: &Path) -> sqlx::Result<Self> {
        Ok(Self { pool: db::open(path, include_str!("../schema.sql")).await? })
    }

    pub(in crate::orders) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    pub(in crate::orders) async fn close(&self) {
        self.pool.close().await;
    }

    /// Stores the order as pending, unless its key was used before.
    pub(in crate::orders) async fn create(&self, id: &str, order: &Priced, key: Option<&Key>) -> sqlx::Result<Created> {
        let mut tx = self.pool.begin_with(db::WRITE).await?;
        if let Some(key) = key {
            let used: Option<(String,)> = sqlx::query_as("SELECT fingerprint FROM idempotency WHERE key = ?")
                .bind(&key.key)
                .fetch_optional(&mut *tx)
                .await?;
            if let Some((fingerprint,)) = used {
                return Ok(if fingerprint == key.fingerprint { Created::Before } else { Created::KeyTaken });
            }
        }
        insert_order(&mut tx, id, order).await?;
        if let Some(key) = key {
            sqlx::query("INSERT INTO idempotency (key, fingerprint, order_id) VALUES (?, ?, ?)")
                .bind(&key.key)
                .bind(&key.fingerprint)
                .bind(id)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(Created::New)
    }

    /// Decides the order, together with what that makes it owe.
    pub(in crate::orders) async fn confirm(&self, id: &str, owed: &[Duty]) -> sqlx::Result<()> {
        let mut tx = self.pool.begin_with(db::WRITE).await?;
        decide(&mut tx, id, "confirmed", None, owed).await?;
        tx.commit().await
    }

    /// Decides the order, together with what that makes it owe.
    pub(in crate::orders) async fn reject(&self, id: &str, reason: &str, owed: &[Duty]) -> sqlx::Result<()> {
        let mut tx = self.pool.begin_with(db::WRITE).await?;
        decide(&mut tx, id, "rejected", Some(reason), owed).await?;
        tx.commit().await
    }

    /// Rejects what the last stop cut off. How far it had come isn't known, so all is undone.
    pub(in crate::orders) async fn reject_interrupted(&self) -> sqlx::Result<usize> {
        let mut tx = self.pool.begin_with(db::WRITE).await?;
        let pending: Vec<(String,)> =
            sqlx::query_as("SELECT id FROM purchase WHERE state = 'pending'").fetch_all(&mut *tx).await?;
        for (id,) in &pending {
            decide(&mut tx, id, "rejected", Some("interrupted"), &[Duty::Refund, Duty::Release]).await?;
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "interrupted", "The order was cut off.")
                .with("order_id", id.as_str())
                .with("being_undone", vec![Duty::Refund.undoes(), Duty::Release.undoes()]);
            let answer = Answer { status: problem.status(), body: problem.body().to_string() };
            set_answer(&mut tx, id, &answer).await?;
        }
        tx.commit().await?;
        Ok(pending.len())
    }

    pub(in crate::orders) async fn find(&self, id: &str) -> sqlx::Result<Option<Order>> {
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

async fn insert_order(connection: &mut SqliteConnection, id: &str, order: &Priced) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO purchase (id, customer, total_cents, state, created_at_ms) VALUES (?, ?, ?, 'pending', ?)",
    )
    .bind(id)
    .bind(&order.customer)
    .bind(order.total_cents)
    .bind(now_ms())
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

async fn decide(
    connection: &mut SqliteConnection,
    id: &str,
    state: &str,
    reason: Option<&str>,
    owed: &[Duty],
) -> sqlx::Result<()> {
    sqlx::query("UPDATE purchase SET state = ?, reason = ? WHERE id = ? AND state = 'pending'")
        .bind(state)
        .bind(reason)
        .bind(id)
        .execute(&mut *connection)
        .await?;
    for duty in owed {
        sqlx::query("INSERT INTO owed (order_id, duty, due_at_ms) VALUES (?, ?, ?)")
            .bind(id)
            .bind(duty.name())
            .bind(after(GRACE))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Wall-clock time, because it must mean the same after a restart.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn after(wait: Duration) -> i64 {
    now_ms().saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
}
