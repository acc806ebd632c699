//! The gateway: the one address a customer knows. Has no database; speaks REST to the outside.

mod api;
mod cancel;
mod place;
mod section;
mod view;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::metrics;
use crate::running::{Running, StartError, serve_http};
use crate::stack::{self, GrpcClient, HttpClient, Patience, Watch};
use crate::wire::inventory::inventory_client::InventoryClient;

/// What the gateway needs to run: it knows the others by their addresses alone.
#[derive(Debug)]
pub struct Settings {
    /// Where orders listens.
    pub orders: SocketAddr,
    /// Where payments listens.
    pub payments: SocketAddr,
    /// Where inventory listens.
    pub inventory: SocketAddr,
}

#[derive(Debug)]
struct Gateway {
    /// Placing an order fails when payments fails, and that must not stop anyone from reading one:
    /// the two have policies of their own.
    placing: HttpClient,
    orders: HttpClient,
    payments: HttpClient,
    inventory: InventoryClient<GrpcClient>,
    addresses: Settings,
}

/// Starts it on `listener`.
///
/// # Errors
///
/// The listener has no address.
pub async fn start(listener: TcpListener, settings: Settings) -> Result<Running, StartError> {
    let mut watch = Watch::default();
    let gateway = Arc::new(Gateway {
        placing: stack::http("gateway.placing", Patience::WholeOrder, &mut watch),
        orders: stack::http("gateway.orders", Patience::Usual, &mut watch),
        payments: stack::http("gateway.payments", Patience::Usual, &mut watch),
        inventory: InventoryClient::new(stack::grpc("gateway.inventory", settings.inventory, &mut watch)?),
        addresses: settings,
    });
    let app = stack::inbound("gateway", api::router(gateway), &mut watch).merge(metrics::page()?);
    let address = listener.local_addr()?;
    Ok(Running::start("gateway", address, watch, |stopped| serve_http(listener, app, stopped)))
}
