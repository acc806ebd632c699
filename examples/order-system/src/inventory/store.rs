//! Inventory's database: every public method is one transaction.

use std::path::Path;

use serde::Deserialize;
use sqlx::{SqliteConnection, SqlitePool};

use crate::running::StartError;
use crate::{db, seed};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Held,
    Committed,
    Released,
}

#[derive(Debug)]
pub(super) struct Reservation {
    pub(super) state: State,
    /// Sorted by product.
    pub(super) lines: Vec<(String, i64)>,
}

/// Why inventory won't do what it was asked.
#[derive(Debug)]
pub(super) enum Refusal {
    UnknownProduct {
        sku: String,
    },
    TooLittle {
        sku: String,
        available: i64,
    },
    /// The order has another reservation.
    OtherLines,
    Released,
    Committed,
    NothingHeld,
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stocked {
    sku: String,
    on_hand: i64,
}

#[derive(Clone, Debug)]
pub(super) struct Store {
    pool: SqlitePool,
}

impl Store {
    pub(super) async fn open(path: &Path) -> Result<Self, StartError> {
        let pool = db::open(path, include_str!("schema.sql")).await?;
        let stock: Vec<Stocked> = seed::read("inventory/stock.json", include_str!("../../data/inventory/stock.json"))?;
        let mut tx = pool.begin_with(db::WRITE).await?;
        for item in stock {
            sqlx::query("INSERT OR IGNORE INTO product (sku, initial, on_hand) VALUES (?1, ?2, ?2)")
                .bind(item.sku)
                .bind(item.on_hand)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(Self { pool })
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// All lines or none. `lines` are sorted and name a product once.
    pub(super) async fn reserve(&self, order: &str, lines: Vec<(String, i64)>) -> Result<Reservation, Refusal> {
        let mut tx = self.pool.begin_with(db::WRITE).await?;
        if let Some(earlier) = find(&mut tx, order).await? {
            return match earlier.state {
                State::Released => Err(Refusal::Released),
                _ if earlier.lines != lines => Err(Refusal::OtherLines),
                _ => Ok(earlier),
            };
        }
        insert(&mut tx, order, "held").await?;
        for (sku, quantity) in &lines {
            take(&mut tx, sku, *quantity).await?;
            sqlx::query("INSERT INTO reservation_line (order_id, sku, quantity) VALUES (?, ?, ?)")
                .bind(order)
                .bind(sku)
                .bind(quantity)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(Reservation { state: State::Held, lines })
    }

    pub(super) async fn commit(&self, order: &str) -> Result<Reservation, Refusal> {
        let mut tx = self.pool.begin_with(db::WRITE).await?;
        let mut reservation = find(&mut tx, order).await?.ok_or(Refusal::NothingHeld)?;
        match reservation.state {
            State::Released => return Err(Refusal::Released),
            State::Committed => return Ok(reservation),
            State::Held => set_state(&mut tx, order, "committed").await?,
        }
        tx.commit().await?;
        reservation.state = State::Committed;
        Ok(reservation)
    }

    pub(super) async fn release(&self, order: &str) -> Result<Reservation, Refusal> {
        let mut tx = self.pool.begin_with(db::WRITE).await?;
        let lines = match find(&mut tx, order).await? {
            Some(Reservation { state: State::Committed, .. }) => return Err(Refusal::Committed),
            Some(earlier) if earlier.state == State::Released => return Ok(earlier),
            Some(held) => {
                for (sku, quantity) in &held.lines {
                    sqlx::query("UPDATE product SET on_hand = on_hand + ? WHERE sku = ?")
                        .bind(quantity)
                        .bind(sku)
                        .execute(&mut *tx)
                        .await?;
                }
                set_state(&mut tx, order, "released").await?;
                held.lines
            }
            None => {
                insert(&mut tx, order, "released").await?;
                Vec::new()
            }
        };
        tx.commit().await?;
        Ok(Reservation { state: State::Released, lines })
    }

    pub(super) async fn find(&self, order: &str) -> Result<Option<Reservation>, Refusal> {
        let mut connection = self.pool.acquire().await?;
        Ok(find(&mut connection, order).await?)
    }
}

async fn find(connection: &mut SqliteConnection, order: &str) -> sqlx::Result<Option<Reservation>> {
    let state: Option<(String,)> = sqlx::query_as("SELECT state FROM reservation WHERE order_id = ?")
        .bind(order)
        .fetch_optional(&mut *connection)
        .await?;
    let Some((state,)) = state else {
        return Ok(None);
    };
    let state = match state.as_str() {
        "held" => State::Held,
        "committed" => State::Committed,
        // The schema allows no fourth.
        _ => State::Released,
    };
    let lines = sqlx::query_as("SELECT sku, quantity FROM reservation_line WHERE order_id = ? ORDER BY sku")
        .bind(order)
        .fetch_all(connection)
        .await?;
    Ok(Some(Reservation { state, lines }))
}

async fn insert(connection: &mut SqliteConnection, order: &str, state: &str) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO reservation (order_id, state) VALUES (?, ?)")
        .bind(order)
        .bind(state)
        .execute(connection)
        .await?;
    Ok(())
}

async fn set_state(connection: &mut SqliteConnection, order: &str, state: &str) -> sqlx::Result<()> {
    sqlx::query("UPDATE reservation SET state = ? WHERE order_id = ?")
        .bind(state)
        .bind(order)
        .execute(connection)
        .await?;
    Ok(())
}

async fn take(connection: &mut SqliteConnection, sku: &str, quantity: i64) -> Result<(), Refusal> {
    let taken = sqlx::query("UPDATE product SET on_hand = on_hand - ?1 WHERE sku = ?2 AND on_hand >= ?1")
        .bind(quantity)
        .bind(sku)
        .execute(&mut *connection)
        .await?;
    if taken.rows_affected() == 1 {
        return Ok(());
    }
    let on_hand: Option<(i64,)> =
        sqlx::query_as("SELECT on_hand FROM product WHERE sku = ?").bind(sku).fetch_optional(connection).await?;
    let sku = sku.to_owned();
    Err(match on_hand {
        Some((available,)) => Refusal::TooLittle { sku, available },
        None => Refusal::UnknownProduct { sku },
    })
}
