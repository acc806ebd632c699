//! Placing an order: create it, reserve the goods, charge the card. A saga: whatever fails, and wherever it is cut off, what
//! was done or may have been done is undone in reverse.
//!
//! The commit is the pivot. With it the order is confirmed and the goods are sold, by calls that were promised before: a
//! confirmed order is never taken back, and until the commit nobody sees a confirmed one.

use std::error::Error;
use std::fmt;

use axum::http::StatusCode;
use buttress::saga::{Kind, Saga, SagaError};

use super::Services;
use super::basket::Priced;
use super::calls::{CONFIRM, GIVE_BACK, OfOrder, REJECT, RELEASE, SELL};
use super::store::Order;
use crate::call::NoAnswer;
use crate::web::Problem;

/// Why there will be no such order.
#[derive(Debug)]
pub(super) enum Failure {
    UnknownProduct {
        sku: String,
    },
    TooLittleStock {
        sku: String,
        available: i64,
    },
    Declined,
    InventoryDown(NoAnswer),
    PaymentsDown(NoAnswer),
    /// Orders itself can't go on.
    Broken(SagaError),
}

impl Services {
    /// Places the order. Its id is the saga's: whoever knows the one finds the other.
    pub(super) async fn place(&self, saga: &Saga, order: &Priced) -> Result<Order, Failure> {
        let id = &saga.id().to_string();
        let of_order = |_: &_| OfOrder::new(id);

        let created_at_ms =
            saga.step("create-order").undo(REJECT, of_order).run(async |_| self.store.create(id, order).await).await?;
        let reserve = saga.step("reserve-inventory").undo(RELEASE, of_order);
        reserve.run(async |_| self.inventory.reserve(id, &order.lines).await).await?;
        let charge = saga.step("charge-payment").undo(GIVE_BACK, of_order);
        charge.run(async |_| self.payments.charge(id, &order.card, order.total_cents).await).await?;

        saga.then(CONFIRM, OfOrder::new(id));
        saga.then(SELL, OfOrder::new(id));
        Ok(Order {
            id: id.clone(),
            state: "confirmed".to_owned(),
            reason: None,
            customer: order.customer.clone(),
            total_cents: order.total_cents,
            lines: order.lines.clone(),
            created_at_ms,
        })
    }
}

impl Failure {
    /// What is stored as the reason.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::UnknownProduct { .. } => "unknown_product",
            Self::TooLittleStock { .. } => "too_little_stock",
            Self::Declined => "declined",
            Self::InventoryDown(_) => "inventory_unavailable",
            Self::PaymentsDown(_) => "payments_unavailable",
            Self::Broken(_) => "failed",
        }
    }

    pub(super) fn problem(&self, order: &Priced) -> Problem {
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
            Self::Broken(error) => match error.kind() {
                Kind::Step { .. } | Kind::Draining | Kind::TakenOver | Kind::Journal => {
                    tracing::warn!(error = error as &dyn Error, "an order can't be taken");
                    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "orders-unavailable", "No order can be taken now.")
                }
                _ => Problem::internal(error),
            },
        }
    }
}

/// No `Retry-After`: nobody knows when the other service will be back.
fn unavailable(kind: &'static str, detail: &'static str, call: &NoAnswer) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, kind, detail).with("reason", call.reason.name())
}

/// What a step failed with, as it was before it went through the saga.
impl From<SagaError> for Failure {
    fn from(error: SagaError) -> Self {
        error.downcast::<Self>().unwrap_or_else(Self::Broken)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::InventoryDown(call) | Self::PaymentsDown(call) => Some(call),
            Self::Broken(error) => Some(error),
            Self::UnknownProduct { .. } | Self::TooLittleStock { .. } | Self::Declined => None,
        }
    }
}
