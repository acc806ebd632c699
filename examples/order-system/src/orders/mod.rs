//! Orders: takes an order, has it reserved and paid, confirms it; or undoes what was done. Speaks REST.

mod api;
mod basket;
mod catalogue;
mod flow;
mod inventory;
mod owed;
mod payments;
mod store;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};

use crate::running::{Running, StartError, serve_http};
use crate::stack::{self, Patience, Watch};

/// What orders needs to run: it knows the others by their addresses alone.
#[derive(Debug)]
pub struct Settings {
    /// Its own database file.
    pub database: PathBuf,
    /// Where inventory listens.
    pub inventory: SocketAddr,
    /// Where payments listens.
    pub payments: SocketAddr,
}

/// What every request and the background task share.
#[derive(Debug)]
struct Orders {
    catalogue: catalogue::Catalogue,
    store: store::Store,
    inventory: inventory::Inventory,
    payments: payments::Payments,
    /// Told whenever an order has its answer.
    answered: Notify,
    /// Told whenever something is owed.
    owing: Notify,
}

/// Starts it on `listener`.
///
/// # Errors
///
/// The database can't be opened, or the files of products and customers can't be read.
pub async fn start(listener: TcpListener, settings: Settings) -> Result<Running, StartError> {
    let mut watch = Watch::default();
    let store = store::Store::open(&settings.database).await?;
    let catalogue = catalogue::Catalogue::load(store.pool()).await?;
    let interrupted = store.reject_interrupted().await?;
    if interrupted > 0 {
        tracing::warn!(interrupted, "orders were cut off by the last stop; undoing them");
    }
    let orders = Arc::new(Orders {
        catalogue,
        store,
        inventory: inventory::Inventory::new(stack::grpc("orders.inventory", settings.inventory, &mut watch)?),
        payments: payments::Payments::new(
            stack::http("orders.charges", Patience::Usual, &mut watch),
            stack::http("orders.refunds", Patience::Usual, &mut watch),
            settings.payments,
        ),
        answered: Notify::new(),
        owing: Notify::new(),
    });
    // Every order at work holds a clone; when the last is gone, nothing is under way.
    let (at_work, mut all_done) = mpsc::channel(1);
    let app = stack::inbound("orders", api::router(Arc::clone(&orders), at_work), &mut watch);
    let address = listener.local_addr()?;
    Ok(Running::start("orders", address, watch, |stopped| async move {
        let (stop_paying, stop) = watch::channel(());
        let debts = tokio::spawn(owed::work_off(Arc::clone(&orders), stop));
        serve_http(listener, app, stopped).await;
        let _ = all_done.recv().await;
        drop(stop_paying);
        let _ = debts.await;
        orders.store.close().await;
    }))
}
