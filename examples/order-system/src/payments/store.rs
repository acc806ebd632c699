//! Payments' database: every public method is one transaction.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sqlx::{SqliteConnection, SqlitePool};

use crate::running::StartError;
use crate::{db, seed};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Charged,
    Declined,
    Refunded,
    /// Refunded before it was ever charged.
    Void,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Charge {
    pub(super) order_id: String,
    pub(super) amount_cents: i64,
    pub(super) state: State,
}

/// Why payments won't charge.
#[derive(Debug)]
pub(super) enum Refusal {
    UnknownCard,
    Declined,
    /// The order was charged another amount.
    OtherAmount,
    /// The order was refunded; a late charge must not take money again.
    Refunded,
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Card {
    token: String,
    limit_cents: i64,
}

#[derive(Clone, Debug)]
pub(super) struct Store {
    pool: SqlitePool,
}

impl Store {
    pub(super) async fn open(path: &Path) -> Result<Self, StartError> {
        let pool = db::open(path, include_str!("schema.sql")).await?;
        let cards: Vec<Card> = seed::read("payments/cards.json", include_str!("../../data/payments/cards.json"))?;
        let mut tx = pool.begin_with(db::WRITE).await?;
        for card in cards {
            sqlx::query("INSERT OR IGNORE INTO card (token, limit_cents) VALUES (?, ?)")
                .bind(card.token)
                .bind(card.limit_cents)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(Self { pool })
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// Charges once, however often it is asked. With `decline` the bank says no whatever the card.
    pub(super) async fn charge(&self, order: &str, card: &str, cents: i64, decline: bool) -> Result<Charge, Refusal> {
        let mut tx = self.pool.begin_with(db::WRITE).await?;
        if let Some(earlier) = find(&mut tx, order).await? {
            return match earlier.state {
                State::Refunded | State::Void => Err(Refusal::Refunded),
                _ if earlier.amount_cents != cents => Err(Refusal::OtherAmount),
                State::Declined => Err(Refusal::Declined),
                State::Charged => Ok(earlier),
            };
        }
        let limit: Option<(i64,)> =
            sqlx::query_as("SELECT limit_cents FROM card WHERE token = ?").bind(card).fetch_optional(&mut *tx).await?;
        let (limit,) = limit.ok_or(Refusal::UnknownCard)?;
        if decline || cents > limit {
            insert(&mut tx, order, cents, "declined").await?;
            tx.commit().await?;
            return Err(Refusal::Declined);
        }
        insert(&mut tx, order, cents, "charged").await?;
        book(&mut tx, order, "charge", cents).await?;
        tx.commit().await?;
        Ok(Charge { order_id: order.to_owned(), amount_cents: cents, state: State::Charged })
    }

    /// Gives the money back, if any was taken, and sees to it that none will be.
    pub(super) async fn refund(&self, order: &str) -> sqlx::Result<Charge> {
        let mut tx = self.pool.begin_with(db::WRITE).await?;
        let charge = match find(&mut tx, order).await? {
            Some(mut charge) if charge.state == State::Charged => {
                sqlx::query("UPDATE charge SET state = 'refunded' WHERE order_id = ?")
                    .bind(order)
                    .execute(&mut *tx)
                    .await?;
                book(&mut tx, order, "refund", charge.amount_cents).await?;
                charge.state = State::Refunded;
                charge
            }
            Some(settled) => settled,
            None => {
                insert(&mut tx, order, 0, "void").await?;
                Charge { order_id: order.to_owned(), amount_cents: 0, state: State::Void }
            }
        };
        tx.commit().await?;
        Ok(charge)
    }

    pub(super) async fn find(&self, order: &str) -> sqlx::Result<Option<Charge>> {
        let mut connection = self.pool.acquire().await?;
        find(&mut connection, order).await
    }
}

async fn find(connection: &mut SqliteConnection, order: &str) -> sqlx::Result<Option<Charge>> {
    let row: Option<(i64, String)> = sqlx::query_as("SELECT amount_cents, state FROM charge WHERE order_id = ?")
        .bind(order)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|(amount_cents, state)| Charge {
        order_id: order.to_owned(),
        amount_cents,
        state: match state.as_str() {
            "charged" => State::Charged,
            "declined" => State::Declined,
            "refunded" => State::Refunded,
            // The schema allows no fifth.
            _ => State::Void,
        },
    }))
}

async fn insert(connection: &mut SqliteConnection, order: &str, cents: i64, state: &str) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO charge (order_id, amount_cents, state) VALUES (?, ?, ?)")
        .bind(order)
        .bind(cents)
        .bind(state)
        .execute(connection)
        .await?;
    Ok(())
}

async fn book(connection: &mut SqliteConnection, order: &str, kind: &str, cents: i64) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO entry (order_id, kind, amount_cents) VALUES (?, ?, ?)")
        .bind(order)
        .bind(kind)
        .bind(cents)
        .execute(connection)
        .await?;
    Ok(())
}
