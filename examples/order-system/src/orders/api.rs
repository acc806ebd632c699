//! Orders' REST contract.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use buttress::SagaLayer;
use buttress::saga::Idempotency::Required;
use buttress::saga::Saga;

use super::basket::Basket;
use super::cancel::Cancelled;
use super::store::Order;
use super::{Orders, told};
use crate::web::{self, Json, LARGEST_BODY, Problem};

/// How long an order may take: a little less than the gateway waits for it.
const PLACED_WITHIN: Duration = Duration::from_secs(8);

pub(super) fn router(orders: Arc<Orders>) -> Router {
    let place_order = SagaLayer::http(&orders.coordinator, "place-order")
        .idempotency(Required)
        .body_limit(LARGEST_BODY)
        .undo_wait(told::REST_WITHIN)
        .deadline(PLACED_WITHIN);
    let place = post(place).layer(place_order).layer(from_fn_with_state(Arc::clone(&orders), told::tell));
    let routes = Router::new()
        .route("/v1/orders", place)
        .route("/v1/orders/{id}", get(show))
        .route("/v1/orders/{id}/cancel", post(cancel))
        .nest("/admin/sagas", orders.coordinator.admin());
    web::finish(routes).with_state(orders)
}

async fn place(
    saga: Saga,
    State(orders): State<Arc<Orders>>,
    Json(basket): Json<Basket>,
) -> Result<(StatusCode, axum::Json<Order>), Problem> {
    let order = basket.price(&orders.catalogue)?;
    match orders.services.place(&saga, &order).await {
        Ok(placed) => Ok((StatusCode::CREATED, axum::Json(placed))),
        Err(failure) => {
            let id = saga.id().to_string();
            if let Err(error) = orders.services.store.note_reason(&id, failure.name()).await {
                tracing::warn!(%error, order = id, "can't note why an order is rejected");
            }
            Err(failure.problem(&order).with("order_id", id))
        }
    }
}

async fn show(State(orders): State<Arc<Orders>>, Path(id): Path<String>) -> Result<Response, Problem> {
    match orders.services.store.find(&id).await? {
        Some(order) => Ok(axum::Json(order).into_response()),
        None => Err(unknown_order()),
    }
}

async fn cancel(State(orders): State<Arc<Orders>>, Path(id): Path<String>) -> Result<Response, Problem> {
    match orders.services.cancel(&orders.cancel, &id).await? {
        Cancelled::Yes(order) => Ok(axum::Json(order).into_response()),
        Cancelled::Soon(order) => Ok((StatusCode::ACCEPTED, axum::Json(order)).into_response()),
        Cancelled::No(order) => {
            let detail = format!("The order is {}; only one that is confirmed can be cancelled.", order.state);
            Err(Problem::new(StatusCode::CONFLICT, "not-confirmed", detail).with("state", order.state))
        }
        Cancelled::NotNow(Some(reason)) => {
            let detail = "The payment could not be given back now; the order stays as it is.";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "payments-unavailable", detail)
                .with("reason", reason.name()))
        }
        Cancelled::NotNow(None) => {
            let detail = "The order could not be cancelled now; it stays as it is.";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "orders-unavailable", detail))
        }
        Cancelled::Unknown => Err(unknown_order()),
    }
}

fn unknown_order() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown-order", "There is no such order.").field("id")
}
