//! Inventory as orders sees it: three calls, and what became of each.

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

    pub(super) async fn commit(&self, order: &str) -> Result<(), Status> {
        let request = wire::CommitRequest { order_id: order.to_owned() };
        self.client.clone().commit(request).await.map(drop)
    }

    pub(super) async fn release(&self, order: &str) -> Result<(), Status> {
        let request = wire::ReleaseRequest { order_id: order.to_owned() };
        self.client.clone().release(request).await.map(drop)
    }
}

fn not_reserved(status: &Status) -> Failure {
    let named = |name| status.metadata().get(name).and_then(|value| value.to_str().ok());
    let sku = named("sku").unwrap_or_default().to_owned();
    match status.code() {
        Code::NotFound => Failure::UnknownProduct { sku },
        Code::FailedPrecondition => {
            let available = named("available").and_then(|text| text.parse().ok()).unwrap_or(0);
            Failure::TooLittleStock { sku, available }
        }
        _ => Failure::InventoryDown(call::grpc(status)),
    }
}
