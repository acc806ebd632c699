//! What requests were answered, for whoever asks again.

use axum::http::StatusCode;
use sqlx::SqliteConnection;

use super::Store;

/// What a request for an order was answered, word for word.
#[derive(Clone, Debug)]
pub(in crate::orders) struct Answer {
    pub(in crate::orders) status: StatusCode,
    pub(in crate::orders) body: String,
}

impl Store {
    /// Keeps the answer for whoever asks again with the order's key.
    pub(in crate::orders) async fn keep_answer(&self, id: &str, answer: &Answer) -> sqlx::Result<()> {
        set_answer(&mut *self.pool.acquire().await?, id, answer).await
    }

    /// `None` while the first request with this key is at work.
    pub(in crate::orders) async fn answer(&self, key: &str) -> sqlx::Result<Option<Answer>> {
        let kept: Option<(Option<u16>, Option<String>)> =
            sqlx::query_as("SELECT status, body FROM idempotency WHERE key = ?")
                .bind(key)
                .fetch_optional(&self.pool)
                .await?;
        let Some((Some(status), Some(body))) = kept else {
            return Ok(None);
        };
        let status = StatusCode::from_u16(status).map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok(Some(Answer { status, body }))
    }
}

pub(super) async fn set_answer(connection: &mut SqliteConnection, id: &str, answer: &Answer) -> sqlx::Result<()> {
    sqlx::query("UPDATE idempotency SET status = ?, body = ? WHERE order_id = ?")
        .bind(answer.status.as_u16())
        .bind(&answer.body)
        .bind(id)
        .execute(connection)
        .await?;
    Ok(())
}
