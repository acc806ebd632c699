//! Payments' REST contract.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use buttress::barrier::{Barrier, Stop};
use serde::Deserialize;
use serde_json::json;
use sqlx::Sqlite;

use super::faults::{Fault, Faults};
use super::store::{self, Charged, Store};
use crate::web::{self, Json, Problem, is_id};

/// The largest sum a card is ever asked for.
const MOST_CENTS: i64 = 1_000_000_000;

#[derive(Debug)]
pub(super) struct Payments {
    pub(super) store: Store,
    pub(super) faults: Faults,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCharge {
    order_id: String,
    card: String,
    amount_cents: i64,
}

pub(super) fn router(payments: Arc<Payments>) -> Router {
    let routes = Router::new()
        .route("/v1/charges", post(charge))
        .route("/v1/charges/{order_id}", get(show).delete(give_back))
        .route("/v1/charges/{order_id}/refund", post(refund));
    web::finish(routes).with_state(payments)
}

/// A call that isn't made in a step is refused, but only after what else is wrong with it.
async fn charge(
    State(payments): State<Arc<Payments>>,
    barrier: Result<Barrier<Sqlite>, Stop>,
    Json(new): Json<NewCharge>,
) -> Result<Response, Problem> {
    if !is_id(&new.order_id) {
        return Err(bad_order_id());
    }
    if !(1..=MOST_CENTS).contains(&new.amount_cents) {
        let detail = format!("The amount must be from 1 to {MOST_CENTS} cents.");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-field", detail).field("amount_cents"));
    }
    let barrier = barrier?;
    let fault = payments.faults.draw();
    if fault == Some(Fault::FailBefore) {
        return Err(broken());
    }
    let decline = fault == Some(Fault::Decline);
    let charged = store::charge(&barrier, &new.order_id, &new.card, new.amount_cents, decline).await?;
    match fault {
        Some(Fault::FailAfter) => Err(broken()),
        Some(Fault::UnavailableAfter) => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Payments can't say what became of the charge; ask again.",
        )),
        _ => answer(charged),
    }
}

fn answer(charged: Charged) -> Result<Response, Problem> {
    let refused = |status, kind, detail| Err(Problem::new(status, kind, detail));
    match charged {
        Charged::Booked(charge) => Ok((StatusCode::CREATED, axum::Json(charge)).into_response()),
        Charged::Declined => refused(StatusCode::PAYMENT_REQUIRED, "declined", "The card was declined."),
        Charged::Before => refused(StatusCode::CONFLICT, "charged-before", "The order was charged by another step."),
        Charged::UnknownCard => {
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown-card", "There is no such card.").field("card"))
        }
    }
}

/// Undoes a charge.
async fn give_back(barrier: Result<Barrier<Sqlite>, Stop>, Path(order): Path<String>) -> Result<Response, Problem> {
    if !is_id(&order) {
        return Err(bad_order_id());
    }
    let given_back = store::give_back(&barrier?, &order).await?;
    // Nothing was ever taken, and now never will be.
    let nothing = || json!({ "order_id": order, "amount_cents": 0, "state": "void" });
    Ok(axum::Json(given_back.map_or_else(nothing, |charge| json!(charge))).into_response())
}

async fn refund(barrier: Result<Barrier<Sqlite>, Stop>, Path(order): Path<String>) -> Result<Response, Problem> {
    if !is_id(&order) {
        return Err(bad_order_id());
    }
    Ok(axum::Json(store::refund(&barrier?, &order).await?).into_response())
}

async fn show(State(payments): State<Arc<Payments>>, Path(order): Path<String>) -> Result<Response, Problem> {
    match payments.store.find(&order).await? {
        Some(charge) => Ok(axum::Json(charge).into_response()),
        None => Err(Problem::new(StatusCode::NOT_FOUND, "unknown-charge", "This order was never charged.")),
    }
}

fn bad_order_id() -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "invalid-field",
        "The order's id must have 1 to 64 letters, digits and dashes.",
    )
    .field("order_id")
}

fn broken() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Payments failed.")
}
