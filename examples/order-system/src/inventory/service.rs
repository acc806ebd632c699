//! Inventory's contract, and which status each refusal is.

use std::collections::BTreeMap;

use buttress::barrier::Barrier;
use sqlx::Sqlite;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Request, Response, Status};

use super::store::{self, Refusal, Reservation, Reserved, State, Store};
use crate::web::is_id;
use crate::wire::inventory as wire;
use crate::wire::inventory::inventory_server::Inventory;

const MOST_LINES: usize = 100;
const MOST_OF_A_PRODUCT: i64 = 1_000_000;

#[derive(Debug)]
pub(super) struct InventoryService {
    store: Store,
}

impl InventoryService {
    pub(super) fn new(store: Store) -> Self {
        Self { store }
    }
}

#[tonic::async_trait]
impl Inventory for InventoryService {
    async fn reserve(&self, request: Request<wire::ReserveRequest>) -> Result<Response<wire::Reservation>, Status> {
        let barrier = barrier(&request)?;
        let wire::ReserveRequest { order_id, lines } = request.into_inner();
        let order = checked(order_id)?;
        match store::reserve(&barrier, &order, checked_lines(lines)?).await? {
            Reserved::Held(reservation) => Ok(answer(order, reservation)),
            Reserved::Refused(refusal) => Err(refusal.into()),
        }
    }

    async fn release(&self, request: Request<wire::ReleaseRequest>) -> Result<Response<wire::Reservation>, Status> {
        let barrier = barrier(&request)?;
        let order = checked(request.into_inner().order_id)?;
        let lines = store::release(&barrier, &order).await?;
        Ok(answer(order, Reservation { state: State::Released, lines }))
    }

    async fn commit(&self, request: Request<wire::CommitRequest>) -> Result<Response<wire::Reservation>, Status> {
        let barrier = barrier(&request)?;
        let order = checked(request.into_inner().order_id)?;
        let reservation = store::commit(&barrier, &order).await?;
        Ok(answer(order, reservation))
    }

    async fn restock(&self, request: Request<wire::RestockRequest>) -> Result<Response<wire::Reservation>, Status> {
        let barrier = barrier(&request)?;
        let order = checked(request.into_inner().order_id)?;
        let reservation = store::restock(&barrier, &order).await?;
        Ok(answer(order, reservation))
    }

    async fn get_reservation(
        &self,
        request: Request<wire::GetReservationRequest>,
    ) -> Result<Response<wire::Reservation>, Status> {
        let order = checked(request.into_inner().order_id)?;
        let found = self.store.find(&order).await.map_err(|error| {
            tracing::error!(%error, "inventory's database failed");
            Status::internal("inventory failed")
        })?;
        let reservation = found.ok_or_else(|| Status::not_found("nothing was ever held for this order"))?;
        Ok(answer(order, reservation))
    }
}

fn barrier<T>(request: &Request<T>) -> Result<Barrier<Sqlite>, Status> {
    Ok(Barrier::of(request.extensions())?)
}

fn checked(order: String) -> Result<String, Status> {
    if is_id(&order) {
        Ok(order)
    } else {
        Err(Status::invalid_argument("order_id: 1 to 64 letters, digits and dashes"))
    }
}

/// Sorted by product, so that two reservations can be compared.
fn checked_lines(lines: Vec<wire::Line>) -> Result<Vec<(String, i64)>, Status> {
    if !(1..=MOST_LINES).contains(&lines.len()) {
        return Err(Status::invalid_argument(format!("lines: 1 to {MOST_LINES}")));
    }
    let mut sorted = BTreeMap::new();
    for wire::Line { sku, quantity } in lines {
        if !(1..=MOST_OF_A_PRODUCT).contains(&quantity) {
            return Err(Status::invalid_argument(format!("quantity: 1 to {MOST_OF_A_PRODUCT}")));
        }
        if sorted.insert(sku, quantity).is_some() {
            return Err(Status::invalid_argument("lines: a product is named twice"));
        }
    }
    Ok(sorted.into_iter().collect())
}

fn answer(order_id: String, reservation: Reservation) -> Response<wire::Reservation> {
    let state = match reservation.state {
        State::Held => wire::State::Held,
        State::Committed => wire::State::Committed,
        State::Released => wire::State::Released,
        State::Returned => wire::State::Returned,
    };
    let lines = reservation.lines.into_iter().map(|(sku, quantity)| wire::Line { sku, quantity }).collect();
    Response::new(wire::Reservation { order_id, state: state.into(), lines })
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownProduct { sku } => about(Code::NotFound, "unknown product", &sku, None),
            Refusal::TooLittle { sku, available } => {
                about(Code::FailedPrecondition, "too little stock", &sku, Some(available))
            }
            Refusal::Taken => Status::already_exists("the order has a reservation by another step"),
        }
    }
}

fn about(code: Code, message: &str, sku: &str, available: Option<i64>) -> Status {
    let mut metadata = MetadataMap::new();
    // A name that can't be a header's value came from the caller, who knows it.
    if let Ok(sku) = MetadataValue::try_from(sku) {
        metadata.insert("sku", sku);
    }
    if let Some(available) = available {
        metadata.insert("available", MetadataValue::from(available));
    }
    Status::with_metadata(code, message, metadata)
}
