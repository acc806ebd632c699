//! What sagas of orders name in their journal: what undoes a step, and what follows a commit.

use std::path::Path;

use buttress::saga::{Call, Coordinator, CoordinatorBuilder};
use serde::{Deserialize, Serialize};
use tower::{Service, service_fn};

use super::Services;

/// The order that it is about; there is nothing in it that an operator must not see.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct OfOrder {
    pub(super) order: String,
}

impl OfOrder {
    pub(super) fn new(order: &str) -> Self {
        Self { order: order.to_owned() }
    }
}

/// Undoes create-order.
pub(super) const REJECT: Call<OfOrder> = Call::new("orders.reject").shown();
/// Undoes reserve-inventory.
pub(super) const RELEASE: Call<OfOrder> = Call::new("inventory.release").shown();
/// Undoes charge-payment.
pub(super) const GIVE_BACK: Call<OfOrder> = Call::new("payments.give-back").shown();
/// Follows the commit: the order is confirmed.
pub(super) const CONFIRM: Call<OfOrder> = Call::new("orders.confirm").shown();
/// Follows the commit: the goods are sold.
pub(super) const SELL: Call<OfOrder> = Call::new("inventory.commit").shown();

impl Services {
    /// A coordinator that knows whom each call goes to.
    pub(super) fn coordinator(&self, journal: &Path) -> CoordinatorBuilder {
        let Self { store, inventory, payments } = self;
        Coordinator::sqlite(journal)
            .named("orders")
            .on(REJECT, of_order(store, |store, order| async move { store.reject(&order).await }))
            .on(RELEASE, of_order(inventory, |inventory, order| async move { inventory.release(order).await }))
            .on(GIVE_BACK, of_order(payments, |payments, order| async move { payments.give_back(order).await }))
            .on(CONFIRM, of_order(store, |store, order| async move { store.confirm(&order).await }))
            .on(SELL, of_order(inventory, |inventory, order| async move { inventory.commit(order).await }))
    }
}

/// A service that has `participant` do something about an order.
pub(super) fn of_order<P, A, F, E>(
    participant: &P,
    act: A,
) -> impl Service<OfOrder, Response = (), Error = E, Future = F> + Clone + Send + use<P, A, F, E>
where
    P: Clone + Send + 'static,
    A: Fn(P, String) -> F + Clone + Send + 'static,
    F: Future<Output = Result<(), E>> + Send,
{
    let participant = participant.clone();
    service_fn(move |of: OfOrder| act(participant.clone(), of.order))
}
