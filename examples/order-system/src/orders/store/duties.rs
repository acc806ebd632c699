//! What orders owe other services.

use std::time::Duration;

use super::{Store, after, now_ms};
use crate::orders::owed::Duty;

#[derive(Debug)]
pub(in crate::orders) struct Owed {
    pub(in crate::orders) order: String,
    pub(in crate::orders) duty: Duty,
    pub(in crate::orders) attempts: u32,
}

impl Store {
    pub(in crate::orders) async fn due(&self, most: usize) -> sqlx::Result<Vec<Owed>> {
        let rows: Vec<(String, String, u32)> =
            sqlx::query_as("SELECT order_id, duty, attempts FROM owed WHERE due_at_ms <= ? ORDER BY due_at_ms LIMIT ?")
                .bind(now_ms())
                .bind(i64::try_from(most).unwrap_or(i64::MAX))
                .fetch_all(&self.pool)
                .await?;
        Ok(rows
            .into_iter()
            .filter_map(|(order, duty, attempts)| Some(Owed { order, duty: Duty::named(&duty)?, attempts }))
            .collect())
    }

    /// How long until something is due, if anything is owed.
    pub(in crate::orders) async fn until_due(&self) -> sqlx::Result<Option<Duration>> {
        let (next,): (Option<i64>,) = sqlx::query_as("SELECT MIN(due_at_ms) FROM owed").fetch_one(&self.pool).await?;
        Ok(next.map(|at| Duration::from_millis(u64::try_from(at - now_ms()).unwrap_or(0))))
    }

    pub(in crate::orders) async fn fulfilled(&self, order: &str, duty: Duty) -> sqlx::Result<()> {
        sqlx::query("DELETE FROM owed WHERE order_id = ? AND duty = ?")
            .bind(order)
            .bind(duty.name())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    pub(in crate::orders) async fn postpone(&self, order: &str, duty: Duty, wait: Duration) -> sqlx::Result<()> {
        sqlx::query("UPDATE owed SET attempts = attempts + 1, due_at_ms = ? WHERE order_id = ? AND duty = ?")
            .bind(after(wait))
            .bind(order)
            .bind(duty.name())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
