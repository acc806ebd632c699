//! Payments: charges and refunds. Speaks REST.

mod api;
mod faults;
mod store;

use std::path::PathBuf;
use std::sync::Arc;

use buttress::BarrierLayer;
use tokio::net::TcpListener;

pub use faults::{Faults, InvalidShare};

use crate::metrics;
use crate::running::{Running, StartError, serve_http};
use crate::stack::{self, Watch};

/// What payments needs to run.
#[derive(Debug)]
pub struct Settings {
    /// Its own database file.
    pub database: PathBuf,
    /// Which charges fail on purpose.
    pub faults: Faults,
}

/// Starts it on `listener`.
///
/// # Errors
///
/// The database can't be opened, or the file of cards can't be read.
pub async fn start(listener: TcpListener, settings: Settings) -> Result<Running, StartError> {
    let store = store::Store::open(&settings.database).await?;
    let mut watch = Watch::default();
    let routes = api::router(Arc::new(api::Payments { store: store.clone(), faults: settings.faults }))
        .layer(BarrierLayer::http(store.pool().clone()).named("payments"));
    let app = stack::inbound("payments", routes, &mut watch).merge(metrics::page()?);
    let address = listener.local_addr()?;
    Ok(Running::start("payments", address, watch, |stopped| async move {
        serve_http(listener, app, stopped).await;
        store.close().await;
    }))
}
