use std::future::Future;

use buttress::StepLayer;
use buttress::step::Op::{self, Act, Undo};
use buttress::step::StepService;
use order_system::wire::inventory::inventory_client::InventoryClient;
use order_system::wire::inventory::*;
use order_system::{Chaos, DataDir, Running, inventory};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};
use tower::Layer;

use crate::support::{ByHand, listener};

type Client = InventoryClient<StepService<Channel, buttress::protocol::Grpc>>;

struct Shelf {
    client: Client,
    service: Running,
    data: DataDir,
}

impl Shelf {
    async fn open() -> Self {
        let data = DataDir::temporary().unwrap();
        let settings = inventory::Settings { database: data.database("inventory"), chaos: Chaos::default() };
        let service = inventory::start(listener().await, settings).await.unwrap();
        let channel = Channel::from_shared(format!("http://{}", service.address())).unwrap().connect_lazy();
        Self { client: InventoryClient::new(StepLayer::grpc().layer(channel)), service, data }
    }

    async fn reserve(&self, saga: &ByHand, order: &str, lines: &[(&str, i64)]) -> Result<State, Status> {
        let lines = lines.iter().map(|&(sku, quantity)| Line { sku: sku.to_owned(), quantity }).collect();
        let request = ReserveRequest { order_id: order.to_owned(), lines };
        in_step(saga, "reserve", Act, self.client.clone().reserve(request)).await
    }

    async fn release(&self, saga: &ByHand, order: &str) -> Result<State, Status> {
        let request = ReleaseRequest { order_id: order.to_owned() };
        in_step(saga, "reserve", Undo, self.client.clone().release(request)).await
    }

    async fn commit(&self, saga: &ByHand, order: &str) -> Result<State, Status> {
        let request = CommitRequest { order_id: order.to_owned() };
        in_step(saga, "commit", Act, self.client.clone().commit(request)).await
    }

    async fn restock(&self, saga: &ByHand, order: &str) -> Result<State, Status> {
        let request = RestockRequest { order_id: order.to_owned() };
        in_step(saga, "restock", Act, self.client.clone().restock(request)).await
    }

    async fn state(&self, order: &str) -> Result<State, Status> {
        let request = GetReservationRequest { order_id: order.to_owned() };
        self.client.clone().get_reservation(request).await.map(|answer| answer.into_inner().state())
    }

    async fn close(self) {
        self.service.stop().await;
        self.data.remove().unwrap();
    }
}

fn code(answer: Result<State, Status>) -> Code {
    answer.unwrap_err().code()
}

async fn in_step(
    saga: &ByHand,
    step: &'static str,
    op: Op,
    call: impl Future<Output = Result<Response<Reservation>, Status>>,
) -> Result<State, Status> {
    saga.step(step, op).scope(call).await.map(|answer| answer.into_inner().state())
}

#[tokio::test]
async fn a_reservation_takes_from_the_shelf_and_a_release_puts_back() {
    let shelf = Shelf::open().await;
    let (first, second) = (ByHand::saga(), ByHand::saga());
    assert_eq!(shelf.reserve(&first, "a", &[("keystone-old", 2)]).await.unwrap(), State::Held);
    let short = shelf.reserve(&second, "b", &[("chisel-25", 1), ("keystone-old", 2)]).await.unwrap_err();
    assert_eq!(short.code(), Code::FailedPrecondition);
    assert_eq!(short.metadata().get("sku").unwrap(), "keystone-old");
    assert_eq!(short.metadata().get("available").unwrap(), "1");
    assert_eq!(code(shelf.state("b").await), Code::NotFound);

    for _ in 0..2 {
        assert_eq!(shelf.release(&first, "a").await.unwrap(), State::Released);
    }
    let third = ByHand::saga();
    assert_eq!(shelf.reserve(&third, "c", &[("chisel-25", 1), ("keystone-old", 3)]).await.unwrap(), State::Held);
    shelf.close().await;
}

#[tokio::test]
async fn a_repeated_step_takes_nothing_more_and_hears_the_same() {
    let shelf = Shelf::open().await;
    let saga = ByHand::saga();
    for _ in 0..3 {
        assert_eq!(shelf.reserve(&saga, "a", &[("keystone-old", 2)]).await.unwrap(), State::Held);
    }
    assert_eq!(code(shelf.reserve(&ByHand::saga(), "a", &[("chisel-25", 1)]).await), Code::AlreadyExists);
    let refused = ByHand::saga();
    for _ in 0..2 {
        let short = shelf.reserve(&refused, "b", &[("keystone-old", 3)]).await.unwrap_err();
        assert_eq!(short.metadata().get("available").unwrap(), "1");
        // The goods come in, and the answer stays: the coordinator has concluded that nothing was reserved.
        shelf.release(&saga, "a").await.unwrap();
    }
    assert_eq!(shelf.reserve(&ByHand::saga(), "b", &[("keystone-old", 3)]).await.unwrap(), State::Held);
    shelf.close().await;
}

#[tokio::test]
async fn what_was_released_is_never_held_again() {
    let shelf = Shelf::open().await;
    let late = ByHand::saga();
    assert_eq!(shelf.release(&late, "late").await.unwrap(), State::Released);
    assert_eq!(code(shelf.reserve(&late, "late", &[("gargoyle-1", 1)]).await), Code::FailedPrecondition);
    assert_eq!(code(shelf.commit(&late, "late").await), Code::NotFound);
    assert_eq!(shelf.reserve(&ByHand::saga(), "in-time", &[("gargoyle-1", 1)]).await.unwrap(), State::Held);
    shelf.close().await;
}

#[tokio::test]
async fn a_coordinator_that_lost_its_saga_changes_nothing() {
    let shelf = Shelf::open().await;
    let paused = ByHand::saga();
    let next = paused.taken_over();
    shelf.reserve(&paused, "a", &[("gargoyle-1", 1)]).await.unwrap();
    assert_eq!(shelf.release(&next, "a").await.unwrap(), State::Released);
    assert_eq!(code(shelf.commit(&paused, "a").await), Code::Aborted);
    assert_eq!(code(shelf.reserve(&paused, "a", &[("gargoyle-1", 1)]).await), Code::Aborted);
    assert_eq!(shelf.state("a").await.unwrap(), State::Released);
    shelf.close().await;
}

#[tokio::test]
async fn what_is_sold_is_not_released_but_taken_back() {
    let shelf = Shelf::open().await;
    let (sale, cancellation) = (ByHand::saga(), ByHand::saga());
    shelf.reserve(&sale, "a", &[("gargoyle-1", 1)]).await.unwrap();
    for _ in 0..2 {
        assert_eq!(shelf.commit(&sale, "a").await.unwrap(), State::Committed);
    }
    assert_eq!(code(shelf.release(&sale, "a").await), Code::FailedPrecondition);
    assert_eq!(code(shelf.commit(&ByHand::saga(), "never-seen").await), Code::NotFound);
    for _ in 0..2 {
        assert_eq!(shelf.restock(&cancellation, "a").await.unwrap(), State::Returned);
    }
    assert_eq!(shelf.restock(&ByHand::saga(), "a").await.unwrap(), State::Returned);
    assert_eq!(shelf.reserve(&ByHand::saga(), "b", &[("gargoyle-1", 1)]).await.unwrap(), State::Held);
    shelf.close().await;
}

/// The news of a sale can be late: inventory was down, and the order was cancelled meanwhile.
#[tokio::test]
async fn goods_that_are_back_before_they_are_sold_stay_back() {
    let shelf = Shelf::open().await;
    let (sale, cancellation) = (ByHand::saga(), ByHand::saga());
    shelf.reserve(&sale, "a", &[("gargoyle-1", 1)]).await.unwrap();
    assert_eq!(shelf.restock(&cancellation, "a").await.unwrap(), State::Returned);
    assert_eq!(shelf.commit(&sale, "a").await.unwrap(), State::Returned);
    assert_eq!(shelf.reserve(&ByHand::saga(), "b", &[("gargoyle-1", 1)]).await.unwrap(), State::Held);
    shelf.close().await;
}

#[tokio::test]
async fn nonsense_is_refused() {
    let shelf = Shelf::open().await;
    let saga = ByHand::saga();
    for quantity in [0, -1, 1_000_000_000_000, i64::MIN, i64::MAX] {
        let answer = shelf.reserve(&saga, "a", &[("chisel-25", quantity)]).await;
        assert_eq!(code(answer), Code::InvalidArgument, "{quantity}");
    }
    assert_eq!(code(shelf.reserve(&saga, "a", &[]).await), Code::InvalidArgument);
    assert_eq!(code(shelf.reserve(&saga, "a", &[("chisel-25", 1), ("chisel-25", 1)]).await), Code::InvalidArgument);
    assert_eq!(code(shelf.reserve(&saga, "", &[("chisel-25", 1)]).await), Code::InvalidArgument);
    let unknown = shelf.reserve(&saga, "a", &[("flying-buttress", 1)]).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    assert_eq!(unknown.metadata().get("sku").unwrap(), "flying-buttress");

    let no_step = shelf.client.clone().commit(CommitRequest { order_id: "a".to_owned() }).await.unwrap_err();
    assert_eq!(no_step.code(), Code::InvalidArgument);
    assert!(no_step.message().contains("idempotency-key"), "{no_step}");
    shelf.close().await;
}
