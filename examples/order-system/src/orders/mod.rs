//! Orders: takes an order, has it reserved and paid, confirms it; or has all of it undone. Speaks REST.

mod api;
mod basket;
mod calls;
mod cancel;
mod catalogue;
mod flow;
mod inventory;
mod payments;
mod store;
mod told;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use buttress::saga::{Coordinator, ServeSaga};
use tokio::net::TcpListener;

use crate::metrics;
use crate::running::{Running, StartError, serve_http};
use crate::stack::{self, Patience, Watch};

/// How long a stop waits for sagas; what is left goes on at the next start.
const DRAINED_WITHIN: Duration = Duration::from_secs(8);

/// What orders needs to run: it knows the others by their addresses alone.
#[derive(Debug)]
pub struct Settings {
    /// Its own database file.
    pub database: PathBuf,
    /// The journal of its sagas.
    pub journal: PathBuf,
    /// Where inventory listens.
    pub inventory: SocketAddr,
    /// Where payments listens.
    pub payments: SocketAddr,
}

/// Those who take part in the sagas of orders, itself among them.
#[derive(Clone, Debug)]
struct Services {
    store: store::Store,
    inventory: inventory::Inventory,
    payments: payments::Payments,
}

/// What every request shares.
#[derive(Debug)]
struct Orders {
    catalogue: catalogue::Catalogue,
    services: Services,
    coordinator: Coordinator,
    cancel: ServeSaga<calls::OfOrder>,
}

/// Starts it on `listener`, and goes on with the sagas that its last stop left.
///
/// # Errors
///
/// The database or the journal can't be opened, or the files of products and customers can't be read.
pub async fn start(listener: TcpListener, settings: Settings) -> Result<Running, StartError> {
    let mut watch = Watch::default();
    let store = store::Store::open(&settings.database).await?;
    let catalogue = catalogue::Catalogue::load(store.pool()).await?;
    let services = Services {
        store,
        inventory: inventory::Inventory::new(stack::grpc("orders.inventory", settings.inventory, &mut watch)?),
        payments: payments::Payments::new(
            stack::http("orders.charges", Patience::Usual, &mut watch),
            stack::http("orders.refunds", Patience::Usual, &mut watch),
            settings.payments,
        ),
    };
    let cancel_order = services.cancel_order();
    let coordinator = services.coordinator(&settings.journal).define(&cancel_order).start().await?;
    let cancel = coordinator.serve(&cancel_order);
    watch.sagas = Some(coordinator.clone());
    let orders = Arc::new(Orders { catalogue, services, coordinator, cancel });
    let app = stack::inbound("orders", api::router(Arc::clone(&orders)), &mut watch).merge(metrics::page()?);
    let address = listener.local_addr()?;
    Ok(Running::start("orders", address, watch, |stopped| async move {
        serve_http(listener, app, stopped).await;
        match orders.coordinator.drain(DRAINED_WITHIN).await {
            Ok(drained) if drained.in_time => {}
            Ok(_) => tracing::warn!("sagas are left for the next start"),
            Err(error) => tracing::error!(%error, "sagas could not be let go of"),
        }
        orders.services.store.close().await;
    }))
}
