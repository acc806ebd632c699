//! Payments' database: what each step of a saga does to it, once.

use std::path::Path;

use axum::http::StatusCode;
use buttress::barrier::{Barrier, Stop};
use serde::{Deserialize, Serialize};
use sqlx::{Sqlite, SqliteConnection, SqlitePool};

use crate::running::StartError;
use crate::{db, seed};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Charged,
    Declined,
    Refunded,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Charge {
    pub(super) order_id: String,
    pub(super) amount_cents: i64,
    pub(super) state: State,
}

/// What came of the wish to charge. What is declined is an answer too: it is noted, and a repeated call hears it again.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Charged {
    Booked(Charge),
    Declined,
    UnknownCard,
    /// The order was charged by another step.
    Before,
}

/// What an undo gave back, if there was anything.
pub(super) type GivenBack = Option<Charge>;

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

    pub(super) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    pub(super) async fn find(&self, order: &str) -> sqlx::Result<Option<Charge>> {
        let mut connection = self.pool.acquire().await?;
        find(&mut connection, order).await
    }
}

/// Charges the card. With `decline` the bank says no whatever the card.
pub(super) async fn charge(
    barrier: &Barrier<Sqlite>,
    order: &str,
    card: &str,
    cents: i64,
    decline: bool,
) -> Result<Charged, Stop> {
    let charge = barrier.act(async |mut tx| {
        if find(&mut tx, order).await?.is_some() {
            return Ok(Charged::Before);
        }
        let limit: Option<(i64,)> =
            sqlx::query_as("SELECT limit_cents FROM card WHERE token = ?").bind(card).fetch_optional(&mut *tx).await?;
        let Some((limit,)) = limit else { return Ok(Charged::UnknownCard) };
        if decline || cents > limit {
            insert(&mut tx, order, cents, "declined").await?;
            return Ok(Charged::Declined);
        }
        insert(&mut tx, order, cents, "charged").await?;
        book(&mut tx, order, "charge", cents).await?;
        Ok(Charged::Booked(Charge { order_id: order.to_owned(), amount_cents: cents, state: State::Charged }))
    });
    charge.await
}

/// Undoes [`charge`], by what that answered: if nothing was taken, there is nothing to give back.
pub(super) async fn give_back(barrier: &Barrier<Sqlite>, order: &str) -> Result<GivenBack, Stop> {
    let give_back = barrier.undo(async |mut tx, did: Charged| match did {
        Charged::Booked(charge) if charge.order_id != order => {
            Err(Stop::refuse(StatusCode::UNPROCESSABLE_ENTITY, "This step charged another order."))
        }
        Charged::Booked(_) => refunded(&mut tx, order).await.map(Some),
        Charged::Declined | Charged::UnknownCard | Charged::Before => Ok(None),
    });
    give_back.await
}

/// Refunds a charge that had its reason at the time: a step like another, and not the undo of one.
pub(super) async fn refund(barrier: &Barrier<Sqlite>, order: &str) -> Result<Charge, Stop> {
    barrier.act(async |mut tx| refunded(&mut tx, order).await).await
}

/// Gives the money back, if it is there.
async fn refunded(connection: &mut SqliteConnection, order: &str) -> Result<Charge, Stop> {
    let changed = sqlx::query("UPDATE charge SET state = 'refunded' WHERE order_id = ? AND state = 'charged'")
        .bind(order)
        .execute(&mut *connection)
        .await?;
    match find(connection, order).await? {
        Some(charge) if changed.rows_affected() == 1 => {
            book(connection, order, "refund", charge.amount_cents).await?;
            Ok(charge)
        }
        _ => Err(Stop::refuse(StatusCode::UNPROCESSABLE_ENTITY, "There is no charge of this order to give back.")),
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
            // The schema allows no fourth.
            _ => State::Refunded,
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
