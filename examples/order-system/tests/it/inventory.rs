use order_system::wire::inventory::inventory_client::InventoryClient;
use order_system::wire::inventory::*;
use order_system::{DataDir, Running, inventory};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::support::listener;

struct Shelf {
    client: InventoryClient<Channel>,
    service: Running,
    data: DataDir,
}

impl Shelf {
    async fn open() -> Self {
        let data = DataDir::temporary().unwrap();
        let settings = inventory::Settings { database: data.database("inventory") };
        let service = inventory::start(listener().await, settings).await.unwrap();
        let channel = Channel::from_shared(format!("http://{}", service.address())).unwrap().connect_lazy();
        Self { client: InventoryClient::new(channel), service, data }
    }

    async fn reserve(&mut self, order: &str, lines: &[(&str, i64)]) -> Result<State, Status> {
        let lines = lines.iter().map(|&(sku, quantity)| Line { sku: sku.to_owned(), quantity }).collect();
        let request = ReserveRequest { order_id: order.to_owned(), lines };
        self.client.reserve(request).await.map(|answer| answer.into_inner().state())
    }

    async fn commit(&mut self, order: &str) -> Result<State, Status> {
        let request = CommitRequest { order_id: order.to_owned() };
        self.client.commit(request).await.map(|answer| answer.into_inner().state())
    }

    async fn release(&mut self, order: &str) -> Result<State, Status> {
        let request = ReleaseRequest { order_id: order.to_owned() };
        self.client.release(request).await.map(|answer| answer.into_inner().state())
    }

    async fn close(self) {
        self.service.stop().await;
        self.data.remove().unwrap();
    }
}

fn code(answer: Result<State, Status>) -> Code {
    answer.unwrap_err().code()
}

#[tokio::test]
async fn a_reservation_takes_from_the_shelf_and_a_release_puts_back() {
    let mut shelf = Shelf::open().await;
    assert_eq!(shelf.reserve("a", &[("keystone-old", 2)]).await.unwrap(), State::Held);
    let short = shelf.reserve("b", &[("chisel-25", 1), ("keystone-old", 2)]).await.unwrap_err();
    assert_eq!(short.code(), Code::FailedPrecondition);
    assert_eq!(short.metadata().get("sku").unwrap(), "keystone-old");
    assert_eq!(short.metadata().get("available").unwrap(), "1");

    assert_eq!(shelf.release("a").await.unwrap(), State::Released);
    assert_eq!(shelf.release("a").await.unwrap(), State::Released);
    assert_eq!(shelf.reserve("b", &[("chisel-25", 1), ("keystone-old", 3)]).await.unwrap(), State::Held);
    shelf.close().await;
}

#[tokio::test]
async fn a_repeated_call_takes_nothing_more() {
    let mut shelf = Shelf::open().await;
    for _ in 0..3 {
        assert_eq!(shelf.reserve("a", &[("keystone-old", 2)]).await.unwrap(), State::Held);
    }
    assert_eq!(code(shelf.reserve("a", &[("keystone-old", 1)]).await), Code::AlreadyExists);
    for _ in 0..2 {
        assert_eq!(shelf.commit("a").await.unwrap(), State::Committed);
    }
    assert_eq!(shelf.reserve("b", &[("keystone-old", 1)]).await.unwrap(), State::Held);
    shelf.close().await;
}

#[tokio::test]
async fn what_was_released_is_never_held_again() {
    let mut shelf = Shelf::open().await;
    assert_eq!(shelf.release("late").await.unwrap(), State::Released);
    assert_eq!(code(shelf.reserve("late", &[("gargoyle-1", 1)]).await), Code::Aborted);
    assert_eq!(code(shelf.commit("late").await), Code::Aborted);
    assert_eq!(shelf.reserve("in-time", &[("gargoyle-1", 1)]).await.unwrap(), State::Held);
    shelf.close().await;
}

#[tokio::test]
async fn what_is_sold_is_not_released() {
    let mut shelf = Shelf::open().await;
    shelf.reserve("a", &[("gargoyle-1", 1)]).await.unwrap();
    shelf.commit("a").await.unwrap();
    assert_eq!(code(shelf.release("a").await), Code::FailedPrecondition);
    assert_eq!(code(shelf.commit("never-seen").await), Code::NotFound);
    shelf.close().await;
}

#[tokio::test]
async fn nonsense_is_refused() {
    let mut shelf = Shelf::open().await;
    for quantity in [0, -1, 1_000_000_000_000, i64::MIN, i64::MAX] {
        assert_eq!(code(shelf.reserve("a", &[("chisel-25", quantity)]).await), Code::InvalidArgument, "{quantity}");
    }
    assert_eq!(code(shelf.reserve("a", &[]).await), Code::InvalidArgument);
    assert_eq!(code(shelf.reserve("a", &[("chisel-25", 1), ("chisel-25", 1)]).await), Code::InvalidArgument);
    assert_eq!(code(shelf.reserve("", &[("chisel-25", 1)]).await), Code::InvalidArgument);
    let unknown = shelf.reserve("a", &[("flying-buttress", 1)]).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    assert_eq!(unknown.metadata().get("sku").unwrap(), "flying-buttress");
    assert_eq!(shelf.reserve("a", &[("chisel-25", 1)]).await.unwrap(), State::Held);
    shelf.close().await;
}
