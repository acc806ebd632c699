//! Inventory as orders sees it: four calls, and what became of each.

use tonic::{Code, Status};

use super::basket::PricedLine;
use super::flow::Failure;
use crate::call;
use crate::stack::GrpcClient;
use crate::wire::inventory as wire;
use crate::wire::inventory::inventory_client::InventoryClient;

#[derive(Clone, Debug)]
pub(super) struct Inventory {
    client: InventoryClient<GrpcClient>,
}

impl Inventory {
    pub(super) fn new(client: GrpcClient) -> Self {
        Self { client: InventoryClient::new(client) }
    }

    pub(super) async fn reserve(&self, order: &str, lines: &[PricedLine]) -> Result<(), Failure> {
        let lines = lines.iter().map(|line| wire::Line { sku: line.sku.clone(), quantity: line.quantity }).collect();
        let request = wire::ReserveRequest { order_id: order.to_owned(), lines };
        match self.client.clone().reserve(request).await {
            Ok(_) => Ok(()),
            Err(status) => Err(not_reserved(&status)),
        }
    }

    /// Undoes [`reserve`](Self::reserve).
    pub(super) async fn release(&self, order_id: String) -> Result<(), Status> {
        self.client.clone().release(wire::ReleaseRequest { order_id }).await.map(drop)
    }

    pub(super) async fn commit(&self, order_id: String) -> Result<(), Status> {
        self.client.clone().commit(wire::CommitRequest { order_id }).await.map(drop)
    }

    pub(super) async fn restock(&self, order_id: String) -> Result<(), Status> {
        self.client.clone().restock(wire::RestockRequest { order_id }).await.map(drop)
    }
}

fn not_reserved(status: &Status) -> Failure {
    let named = |name| status.metadata().get(name).and_then(|value| value.to_str().ok());
    // Only what is about a product is the customer's business.
    match (status.code(), named("sku")) {
        (Code::NotFound, Some(sku)) => Failure::UnknownProduct { sku: sku.to_owned() },
        (Code::FailedPrecondition, Some(sku)) => {
            let available = named("available").and_then(|text| text.parse().ok()).unwrap_or(0);
            Failure::TooLittleStock { sku: sku.to_owned(), available }
        }
        _ => Failure::InventoryDown(call::grpc(status)),
    }
}
