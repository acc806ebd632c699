//! Cancelling a confirmed order: a saga that is data, so after a crash it goes on where it was.
//!
//! The refund is the pivot. Before it the order can stay as it is; with it the goods come back and the order is cancelled,
//! however long that takes. That no two sagas cancel one order is the first step's doing: one of them finds it confirmed.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use buttress::saga::{SagaDefinition, SagaError, ServeSaga};
use tokio::time::{Instant, sleep, timeout_at};
use tower::ServiceExt;

use super::Services;
use super::calls::{OfOrder, of_order};
use super::store::{Order, Store};
use crate::call::{NoAnswer, Reason};

/// How long whoever cancels waits for the end of it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often whoever finds another at it looks whether it is through.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What came of the wish to cancel.
#[derive(Debug)]
pub(super) enum Cancelled {
    Yes(Order),
    /// It will be: only how soon isn't known.
    Soon(Order),
    /// It is neither confirmed nor cancelled.
    No(Order),
    /// It could not be done, and stays as it is. The reason is why payments gave no answer, if that is why.
    NotNow(Option<Reason>),
    Unknown,
}

/// The order isn't confirmed, or another saga is cancelling it.
#[derive(Debug)]
struct NotConfirmed;

pub(super) type Definition = SagaDefinition<OfOrder, OfOrder>;

impl Services {
    pub(super) fn cancel_order(&self) -> Definition {
        let Self { store, inventory, payments } = self;
        let refund = of_order(payments, |payments, order| async move { payments.refund(order).await });
        let restock = of_order(inventory, |inventory, order| async move { inventory.restock(order).await });
        SagaDefinition::new("cancel-order", 1)
            .step("begin", of_order(store, begin), OfOrder::clone, |_, ()| {})
            .undo(of_order(store, |store, order| async move { store.keep(&order).await }))
            .step("refund-payment", refund, OfOrder::clone, |_, ()| {})
            .pivot()
            .step("restock", restock, OfOrder::clone, |_, ()| {})
            .step(
                "end",
                of_order(store, |store, order| async move { store.cancelled(&order).await }),
                OfOrder::clone,
                |_, ()| {},
            )
    }

    /// Cancels the order, once, however many ask for it and however often.
    pub(super) async fn cancel(&self, saga: &ServeSaga<OfOrder>, id: &str) -> sqlx::Result<Cancelled> {
        let until = Instant::now() + PATIENCE;
        let mut failed = None;
        loop {
            let Some(order) = self.store.find(id).await? else { return Ok(Cancelled::Unknown) };
            match (order.state.as_str(), &mut failed) {
                ("cancelled", _) => return Ok(Cancelled::Yes(order)),
                ("cancelling", _) if Instant::now() < until => sleep(LOOK_EVERY).await,
                ("cancelling", _) => return Ok(Cancelled::Soon(order)),
                ("confirmed", Some(error)) => return Ok(Cancelled::NotNow(reason(error))),
                ("confirmed", failed) => match timeout_at(until, saga.clone().oneshot(OfOrder::new(id))).await {
                    Ok(Ok(_)) => {}
                    // Whoever lost to another waits for that one.
                    Ok(Err(error)) if error.downcast_ref::<NotConfirmed>().is_some() => {}
                    Ok(Err(error)) => *failed = Some(error),
                    Err(_elapsed) => return Ok(Cancelled::Soon(order)),
                },
                _ => return Ok(Cancelled::No(order)),
            }
        }
    }
}

/// Why there was no refund, if that is why.
fn reason(error: &SagaError) -> Option<Reason> {
    error.downcast_ref::<NoAnswer>().map(|no_answer| no_answer.reason)
}

async fn begin(store: Store, order: String) -> Result<(), Box<dyn Error + Send + Sync>> {
    if store.begin_cancelling(&order).await? { Ok(()) } else { Err(NotConfirmed.into()) }
}

impl fmt::Display for NotConfirmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the order isn't confirmed")
    }
}

impl Error for NotConfirmed {}
