//! Orders' database: every public method is one transaction.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use serde::Serialize;
use sqlx::{SqliteConnection, SqlitePool};

use super::basket::{Priced, PricedLine};
use super::owed::Duty;
use crate::db;
use crate::web::Problem;

/// How long a duty is left to the request that made it before the background task takes it up.
const GRACE: Duration = Duration::from_millis(1_500);

/// An order as the world may see it.
#[derive(Debug, Serialize)]
pub(super) struct Order {
    id: String,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    customer: String,
    total_cents: i64,
    lines: Vec<PricedLine>,
    created_at_ms: i64,
}

/// What a request for an order was answered, word for word.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: String,
}

/// What came of the wish to create an order.
#[derive(Debug)]
pub(super) enum Created {
    New,
    /// The key was used before, for the same basket.
    Before,
    /// The key was used before, for another basket.
    KeyTaken,
}

#[derive(Debug)]
pub(super) struct Owed {
    pub(super) order: String,
    pub(super) duty: Duty,
    pub(super) attempts: u32,
}

/// An idempotency key and the basket it stands for.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) key: String,
    pub(super) fingerprint: String,
}

#[derive(Clone, Debug)]
pub(super) struct Store {
    pool: SqlitePool,
}

impl Store {
    pub(super) async fn open(path: &Path) -> sqlx::Result<Self> {
        Ok(Self {
            pool: db::open(path, include_str!("schema.sql")).await?,
        })
    }

    pub(super) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// Stores the order as pending, unless its key was used before.
    pub(super) async fn create(
        &self,
        id: &str,
        order: &Priced,
        key: Option<&Key>,
    ) -> sqlx::Result<Created> {
        let mut tx = self.pool.begin_with(db::WRITE).await?;
        if let Some(key) = key {
            let used: Option<(String,)> =
                sqlx::query_as("SELECT fingerprint FROM idempotency WHERE key = ?")
                    .bind(&key.key)
                    .fetch_optional(&mut *tx)
                    .await?;
            if let Some((fingerprint,)) = used {
                return Ok(if fingerprint == key.fingerprint {
                    Created::Before
                } else {
                    Created::KeyTaken
                });
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
    pub(super) async fn confirm(&self, id: &str, owed: &[Duty]) -> sqlx::Result<()> {
        let mut tx = self.pool.begin_with(db::WRITE).await?;
        decide(&mut tx, id, "confirmed", None, owed).await?;
        tx.commit().await
    }

    /// Decides the order, together with what that makes it owe.
    pub(super) async fn reject(&self, id: &str, reason: &str, owed: &[Duty]) -> sqlx::Result<()> {
        let mut tx = self.pool.begin_with(db::WRITE).await?;
        decide(&mut tx, id, "rejected", Some(reason), owed).await?;
        tx.commit().await
    }

    /// Rejects what the last stop cut off. How far it had come isn't known, so all is undone.
    pub(super) async fn reject_interrupted(&self) -> sqlx::Result<usize> {
        let mut tx = self.pool.begin_with(db::WRITE).await?;
        let pending: Vec<(String,)> =
            sqlx::query_as("SELECT id FROM purchase WHERE state = 'pending'")
                .fetch_all(&mut *tx)
                .await?;
        for (id,) in &pending {
            decide(
                &mut tx,
                id,
                "rejected",
                Some("interrupted"),
                &[Duty::Refund, Duty::Release],
            )
            .await?;
            let problem = Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "interrupted",
                "The order was cut off.",
            )
            .with("order_id", id.as_str())
            .with(
                "being_undone",
                vec![Duty::Refund.undoes(), Duty::Release.undoes()],
            );
            let answer = Answer {
                status: problem.status(),
                body: problem.body().to_string(),
            };
            set_answer(&mut tx, id, &answer).await?;
        }
        tx.commit().await?;
        Ok(pending.len())
    }

    /// Keeps the answer for whoever asks again with the order's key.
    pub(super) async fn keep_answer(&self, id: &str, answer: &Answer) -> sqlx::Result<()> {
        set_answer(&mut *self.pool.acquire().await?, id, answer).await
    }

    /// `None` while the first request with this key is at work.
    pub(super) async fn answer(&self, key: &str) -> sqlx::Result<Option<Answer>> {
        let kept: Option<(Option<u16>, Option<String>)> =
            sqlx::query_as("SELECT status, body FROM idempotency WHERE key = ?")
                .bind(key)
                .fetch_optional(&self.pool)
                .await?;
        let Some((Some(status), Some(body))) = kept else {
            return Ok(None);
        };
        let status =
            StatusCode::from_u16(status).map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok(Some(Answer { status, body }))
    }

    pub(super) async fn find(&self, id: &str) -> sqlx::Result<Option<Order>> {
        type Row = (String, i64, String, Option<String>, i64);
        let mut connection = self.pool.acquire().await?;
        let row: Option<Row> = sqlx::query_as(
            "SELECT customer, total_cents, state, reason, created_at_ms FROM purchase WHERE id = ?",
        )
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
            .map(|(sku, name, quantity, unit_price_cents)| PricedLine {
                sku,
                name,
                quantity,
                unit_price_cents,
            })
            .collect();
        Ok(Some(Order {
            id: id.to_owned(),
            state,
            reason,
            customer,
            total_cents,
            lines,
            created_at_ms,
        }))
    }

    pub(super) async fn due(&self, most: usize) -> sqlx::Result<Vec<Owed>> {
        let rows: Vec<(String, String, u32)> = sqlx::query_as(
            "SELECT order_id, duty, attempts FROM owed WHERE due_at_ms <= ? ORDER BY due_at_ms LIMIT ?",
        )
        .bind(now_ms())
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .filter_map(|(order, duty, attempts)| {
                Some(Owed {
                    order,
                    duty: Duty::named(&duty)?,
                    attempts,
                })
            })
            .collect())
    }

    /// How long until something is due, if anything is owed.
    pub(super) async fn until_due(&self) -> sqlx::Result<Option<Duration>> {
        let (next,): (Option<i64>,) = sqlx::query_as("SELECT MIN(due_at_ms) FROM owed")
            .fetch_one(&self.pool)
            .await?;
        Ok(next.map(|at| Duration::from_millis(u64::try_from(at - now_ms()).unwrap_or(0))))
    }

    pub(super) async fn fulfilled(&self, order: &str, duty: Duty) -> sqlx::Result<()> {
        sqlx::query("DELETE FROM owed WHERE order_id = ? AND duty = ?")
            .bind(order)
            .bind(duty.name())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    pub(super) async fn postpone(
        &self,
        order: &str,
        duty: Duty,
        wait: Duration,
    ) -> sqlx::Result<()> {
        sqlx::query("UPDATE owed SET attempts = attempts + 1, due_at_ms = ? WHERE order_id = ? AND duty = ?")
            .bind(after(wait))
            .bind(order)
            .bind(duty.name())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

async fn insert_order(
    connection: &mut SqliteConnection,
    id: &str,
    order: &Priced,
) -> sqlx::Result<()> {
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

async fn set_answer(
    connection: &mut SqliteConnection,
    id: &str,
    answer: &Answer,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE idempotency SET status = ?, body = ? WHERE order_id = ?")
        .bind(answer.status.as_u16())
        .bind(&answer.body)
        .bind(id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Wall-clock time, because it must mean the same after a restart.
fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn after(wait: Duration) -> i64 {
    now_ms().saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
}
