//! The flow: create the order, reserve, charge, confirm; on failure undo in reverse.
//!
//! A step is done, refused, or unknown (timed out, connection lost, the other side broke). What is
//! unknown is undone like what is done: the participants take an undo of what never happened, and
//! refuse the step if it arrives after its undo. A call that one of our own layers refused was never
//! sent and needs no undo.
//!
//! The charge is the pivot: with the money there, the order is confirmed, and what follows (the goods
//! are sold) is owed and only goes forward.

use axum::http::StatusCode;
use serde_json::json;

use super::Orders;
use super::basket::Priced;
use super::owed::Duty;
use super::store::Answer;
use crate::call::NoAnswer;
use crate::stack::Due;
use crate::web::Problem;

/// Why a step did not happen, or may not have.
#[derive(Debug)]
pub(super) enum Failure {
    UnknownProduct { sku: String },
    TooLittleStock { sku: String, available: i64 },
    Declined,
    InventoryDown(NoAnswer),
    PaymentsDown(NoAnswer),
}

/// Takes the order `id`, which is stored as pending, to its end. The steps must be done when the customer's
/// answer is `due`; undoing them, and what follows the charge, takes the time it takes.
pub(super) async fn place(orders: &Orders, id: &str, order: &Priced, due: Due) -> sqlx::Result<Answer> {
    if let Err(failure) = due.limit(orders.inventory.reserve(id, &order.lines)).await {
        let undo: &[Duty] = if failure.maybe_done() { &[Duty::Release] } else { &[] };
        return reject(orders, id, order, failure, undo).await;
    }
    if let Err(failure) = due.limit(orders.payments.charge(id, &order.card, order.total_cents)).await {
        let undo: &[Duty] = if failure.maybe_done() { &[Duty::Refund, Duty::Release] } else { &[Duty::Release] };
        return reject(orders, id, order, failure, undo).await;
    }
    confirm(orders, id).await
}

async fn confirm(orders: &Orders, id: &str) -> sqlx::Result<Answer> {
    orders.store.confirm(id, &[Duty::Commit]).await?;
    // Not done now, it is done later; the customer needn't wait for it.
    orders.fulfil(id, &[Duty::Commit]).await?;
    let body = orders.store.find(id).await?.ok_or(sqlx::Error::RowNotFound)?;
    Ok(Answer { status: StatusCode::CREATED, body: json!(body).to_string() })
}

async fn reject(orders: &Orders, id: &str, order: &Priced, failure: Failure, undo: &[Duty]) -> sqlx::Result<Answer> {
    orders.store.reject(id, failure.name(), undo).await?;
    let undone = orders.fulfil(id, undo).await?;
    let (done, later): (Vec<Duty>, Vec<Duty>) = undo.iter().partition(|duty| undone.contains(duty));
    let problem = failure
        .problem(order)
        .with("order_id", id)
        .with("undone", done.into_iter().map(|duty| duty.undoes()).collect::<Vec<_>>())
        .with("being_undone", later.into_iter().map(|duty| duty.undoes()).collect::<Vec<_>>());
    Ok(Answer { status: problem.status(), body: problem.body().to_string() })
}

impl Failure {
    fn maybe_done(&self) -> bool {
        match self {
            Self::InventoryDown(call) | Self::PaymentsDown(call) => call.maybe_done,
            Self::UnknownProduct { .. } | Self::TooLittleStock { .. } | Self::Declined => false,
        }
    }

    /// What is stored as the reason.
    fn name(&self) -> &'static str {
        match self {
            Self::UnknownProduct { .. } => "unknown_product",
            Self::TooLittleStock { .. } => "too_little_stock",
            Self::Declined => "declined",
            Self::InventoryDown(_) => "inventory_unavailable",
            Self::PaymentsDown(_) => "payments_unavailable",
        }
    }

    fn problem(&self, order: &Priced) -> Problem {
        match self {
            Self::UnknownProduct { sku } => {
                Problem::new(StatusCode::NOT_FOUND, "unknown-product", "There is no such product in stock.")
                    .field(order.field_of(sku))
            }
            Self::TooLittleStock { sku, available } => {
                Problem::new(StatusCode::CONFLICT, "too-little-stock", format!("There are {available} left."))
                    .field(order.field_of(sku))
                    .with("available", *available)
            }
            Self::Declined => Problem::new(StatusCode::PAYMENT_REQUIRED, "declined", "The card was declined."),
            Self::InventoryDown(call) => unavailable("inventory-unavailable", "The goods could not be reserved.", call),
            Self::PaymentsDown(call) => unavailable("payments-unavailable", "The payment could not be made.", call),
        }
    }
}

/// No `Retry-After`: the order is decided, and asking again with its key gets this same answer.
fn unavailable(kind: &'static str, detail: &'static str, call: &NoAnswer) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, kind, detail).with("reason", call.reason.name())
}
