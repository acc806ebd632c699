//! What is on the shelf and what is held of it, statement by statement; the transaction is the caller's.

use buttress::barrier::Stop;
use sqlx::SqliteConnection;
use tonic::Status;

use super::store::{Refusal, Reservation, State};

pub(super) async fn find(connection: &mut SqliteConnection, order: &str) -> sqlx::Result<Option<Reservation>> {
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
        "released" => State::Released,
        // The schema allows no fifth.
        _ => State::Returned,
    };
    let lines = sqlx::query_as("SELECT sku, quantity FROM reservation_line WHERE order_id = ? ORDER BY sku")
        .bind(order)
        .fetch_all(connection)
        .await?;
    Ok(Some(Reservation { state, lines }))
}

/// A reservation that wasn't released.
pub(super) async fn held_once(connection: &mut SqliteConnection, order: &str) -> Result<Reservation, Stop> {
    match find(connection, order).await? {
        Some(released) if released.state == State::Released => {
            Err(Status::failed_precondition("the order was released").into())
        }
        Some(reservation) => Ok(reservation),
        None => Err(Status::not_found("nothing is held for this order").into()),
    }
}

/// Why so much of a product can't be taken, if that is so.
pub(super) async fn missing(
    connection: &mut SqliteConnection,
    sku: &str,
    quantity: i64,
) -> sqlx::Result<Option<Refusal>> {
    let on_hand: Option<(i64,)> =
        sqlx::query_as("SELECT on_hand FROM product WHERE sku = ?").bind(sku).fetch_optional(connection).await?;
    let sku = sku.to_owned();
    Ok(match on_hand {
        None => Some(Refusal::UnknownProduct { sku }),
        Some((available,)) if available < quantity => Some(Refusal::TooLittle { sku, available }),
        Some(_) => None,
    })
}

/// Takes the goods off the shelf and holds them for the order.
pub(super) async fn hold(connection: &mut SqliteConnection, order: &str, lines: &[(String, i64)]) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO reservation (order_id, state) VALUES (?, 'held')")
        .bind(order)
        .execute(&mut *connection)
        .await?;
    for (sku, quantity) in lines {
        sqlx::query("UPDATE product SET on_hand = on_hand - ? WHERE sku = ?")
            .bind(quantity)
            .bind(sku)
            .execute(&mut *connection)
            .await?;
        sqlx::query("INSERT INTO reservation_line (order_id, sku, quantity) VALUES (?, ?, ?)")
            .bind(order)
            .bind(sku)
            .bind(quantity)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

pub(super) async fn put_back(connection: &mut SqliteConnection, lines: &[(String, i64)]) -> sqlx::Result<()> {
    for (sku, quantity) in lines {
        sqlx::query("UPDATE product SET on_hand = on_hand + ? WHERE sku = ?")
            .bind(quantity)
            .bind(sku)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

pub(super) async fn set_state(connection: &mut SqliteConnection, order: &str, state: &str) -> sqlx::Result<()> {
    sqlx::query("UPDATE reservation SET state = ? WHERE order_id = ?")
        .bind(state)
        .bind(order)
        .execute(connection)
        .await?;
    Ok(())
}
