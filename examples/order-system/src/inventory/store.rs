//! Inventory's database: what each step of a saga does to it, once.

use std::path::Path;

use buttress::barrier::{Barrier, Stop};
use serde::{Deserialize, Serialize};
use sqlx::{Sqlite, SqlitePool};
use tonic::Status;

use super::shelf;
use crate::running::StartError;
use crate::{db, seed};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    Held,
    /// Sold.
    Committed,
    Released,
    /// Sold, and taken back.
    Returned,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reservation {
    pub(super) state: State,
    /// Sorted by product.
    pub(super) lines: Vec<(String, i64)>,
}

/// What came of the wish to reserve. A refusal is an answer like the other: it is kept with the step, in all its detail, and
/// a repeated call hears it again though the goods may have come in by then.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reserved {
    Held(Reservation),
    Refused(Refusal),
}

/// Why nothing is reserved.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Refusal {
    UnknownProduct {
        sku: String,
    },
    TooLittle {
        sku: String,
        available: i64,
    },
    /// The order has a reservation by another step.
    Taken,
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

    pub(super) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    pub(super) async fn find(&self, order: &str) -> sqlx::Result<Option<Reservation>> {
        shelf::find(&mut *self.pool.acquire().await?, order).await
    }
}

/// All lines or none. `lines` are sorted and name a product once.
pub(super) async fn reserve(
    barrier: &Barrier<Sqlite>,
    order: &str,
    lines: Vec<(String, i64)>,
) -> Result<Reserved, Stop> {
    let reserve = barrier.act(async |mut tx| {
        if shelf::find(&mut tx, order).await?.is_some() {
            return Ok(Reserved::Refused(Refusal::Taken));
        }
        // All are looked at before one is taken, for an answer is committed with whatever was done for it.
        for (sku, quantity) in &lines {
            if let Some(refusal) = shelf::missing(&mut tx, sku, *quantity).await? {
                return Ok(Reserved::Refused(refusal));
            }
        }
        shelf::hold(&mut tx, order, &lines).await?;
        Ok(Reserved::Held(Reservation { state: State::Held, lines }))
    });
    reserve.await
}

/// Undoes [`reserve`], by what that answered: if it never happened, there is nothing to put back.
pub(super) async fn release(barrier: &Barrier<Sqlite>, order: &str) -> Result<Vec<(String, i64)>, Stop> {
    let release = barrier.undo(async |mut tx, did: Reserved| {
        let Reserved::Held(held) = did else { return Ok(Vec::new()) };
        match shelf::find(&mut tx, order).await? {
            Some(found) if found.state == State::Held => {
                shelf::put_back(&mut tx, &held.lines).await?;
                shelf::set_state(&mut tx, order, "released").await?;
                Ok(held.lines)
            }
            Some(_) => Err(Status::failed_precondition("the goods are sold").into()),
            None => Err(Status::failed_precondition("these goods are held for another order").into()),
        }
    });
    release.await
}

/// The goods are sold.
pub(super) async fn commit(barrier: &Barrier<Sqlite>, order: &str) -> Result<Reservation, Stop> {
    let commit = barrier.act(async |mut tx| {
        let mut found = shelf::held_once(&mut tx, order).await?;
        // Sold, and back before the news of the sale came: that changes nothing any more.
        if found.state == State::Held {
            shelf::set_state(&mut tx, order, "committed").await?;
            found.state = State::Committed;
        }
        Ok(found)
    });
    commit.await
}

/// Goods that were sold come back.
pub(super) async fn restock(barrier: &Barrier<Sqlite>, order: &str) -> Result<Reservation, Stop> {
    let restock = barrier.act(async |mut tx| {
        let mut found = shelf::held_once(&mut tx, order).await?;
        if found.state != State::Returned {
            shelf::put_back(&mut tx, &found.lines).await?;
            shelf::set_state(&mut tx, order, "returned").await?;
            found.state = State::Returned;
        }
        Ok(found)
    });
    restock.await
}
