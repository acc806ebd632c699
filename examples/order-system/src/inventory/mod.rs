//! Inventory: stock, and what is held of it. Speaks gRPC.

mod service;
mod shelf;
mod store;

use std::path::PathBuf;

use buttress::BarrierLayer;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;
use tower::Layer;

use crate::metrics;
use crate::running::{Running, StartError};
use crate::stack::{self, Watch};
use crate::wire::inventory::inventory_server::InventoryServer;

/// What inventory needs to run.
#[derive(Debug)]
pub struct Settings {
    /// Its own database file.
    pub database: PathBuf,
}

/// Starts it on `listener`.
///
/// # Errors
///
/// The database can't be opened, or the stock file can't be read.
pub async fn start(listener: TcpListener, settings: Settings) -> Result<Running, StartError> {
    let store = store::Store::open(&settings.database).await?;
    let service = InventoryServer::new(service::InventoryService::new(store.clone()));
    let mut watch = Watch::default();
    let barrier = BarrierLayer::grpc(store.pool().clone()).named("inventory");
    let guarded = stack::inbound_grpc("inventory", &mut watch).layer(barrier.layer(service));
    let mut routes = Routes::new(guarded);
    let with_page = std::mem::take(routes.axum_router_mut()).merge(metrics::page()?);
    *routes.axum_router_mut() = with_page;
    let address = listener.local_addr()?;
    Ok(Running::start("inventory", address, watch, |stopped| async move {
        // A scrape comes over HTTP/1.1.
        let served = tonic::transport::Server::builder()
            .accept_http1(true)
            .add_routes(routes)
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopped.wait())
            .await;
        if let Err(error) = served {
            tracing::error!(%error, "inventory ended");
        }
        store.close().await;
    }))
}
