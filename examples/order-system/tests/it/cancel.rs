//! Cancelling an order that was confirmed.

use std::time::Duration;

use axum::http::Method;
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::support::{Shop, eventually, is_problem};
use order_system::{Chaos, inventory, payments};

#[tokio::test]
async fn a_cancelled_order_is_refunded_and_its_goods_are_back() {
    let shop = Shop::open().await;
    let placed = shop.customer.order("ada", &[("gargoyle-1", 1)]).await;
    let id = placed.text("/id");
    let cancelled = shop.customer.cancel(id).await;
    assert_eq!((cancelled.status.as_u16(), cancelled.text("/state")), (200, "cancelled"));

    let view = shop.customer.get(&format!("/v2/orders/{id}")).await;
    assert_eq!(view.body["order"], cancelled.body);
    assert_eq!(view.text("/payment/state"), "refunded");
    assert_eq!(view.text("/reservation/state"), "returned");
    // The only one there is, is there for the next.
    assert_eq!(shop.customer.order("bruno", &[("gargoyle-1", 1)]).await.status, 201);
    shop.close().await;
}

#[tokio::test]
async fn many_who_cancel_at_once_are_refunded_once() {
    let shop = Shop::open().await;
    let placed = shop.customer.order("ada", &[("chisel-25", 2)]).await;
    let at_once = (0..8).map(|_| shop.customer.cancel(placed.text("/id")));
    for answer in futures_util::future::join_all(at_once).await {
        assert_eq!((answer.status.as_u16(), answer.text("/state")), (200, "cancelled"), "{}", answer.body);
    }
    let again = shop.customer.cancel(placed.text("/id")).await;
    assert_eq!((again.status.as_u16(), again.text("/state")), (200, "cancelled"));
    // That the money was given back once, the verdict says.
    shop.close().await;
}

#[tokio::test]
async fn what_cannot_be_cancelled_says_why() {
    let shop = Shop::open().await;
    is_problem(&shop.customer.cancel("no-such-order").await, 404, "unknown-order");
    let answer = shop.customer.cancel("%ff").await;
    is_problem(&answer, 400, "invalid-id");
    assert_eq!(answer.text("/field"), "id");
    let rejected = shop.customer.order("iris", &[("chisel-25", 1)]).await;
    let answer = shop.customer.cancel(rejected.text("/order_id")).await;
    is_problem(&answer, 409, "not-confirmed");
    assert_eq!(answer.text("/state"), "rejected");
    let path = format!("/v2/orders/{}/cancel", rejected.text("/order_id"));
    is_problem(&shop.customer.send(Method::GET, &path, &[], "").await, 405, "method-not-allowed");
    shop.close().await;
}

/// Nobody was refunded for certain, so the order stays as it is, and may be cancelled later.
#[tokio::test]
async fn an_order_that_cannot_be_refunded_stays_confirmed() {
    let mut shop = Shop::open().await;
    let placed = shop.customer.order("ada", &[("chisel-25", 1)]).await;
    let id = placed.text("/id");
    let gone = shop.payments.take().unwrap();
    let address = gone.address();
    gone.stop().await;
    is_problem(&shop.customer.cancel(id).await, 503, "payments-unavailable");
    let state = eventually(async || {
        let view = shop.customer.get(&format!("/v2/orders/{id}")).await;
        (view.text("/order/state") != "cancelling").then(|| view.text("/order/state").to_owned())
    });
    assert_eq!(state.await, "confirmed");

    let settings = payments::Settings {
        database: shop.data.database("payments"),
        faults: payments::Faults::none(),
        chaos: Chaos::default(),
    };
    shop.payments = Some(payments::start(TcpListener::bind(address).await.unwrap(), settings).await.unwrap());
    let cancelled = eventually(async || {
        let answer = shop.customer.cancel(id).await;
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(cancelled.await.text("/state"), "cancelled");
    shop.close().await;
}

/// After the refund there is no way back: the goods come back when inventory does.
#[tokio::test]
async fn a_cancellation_that_was_refunded_goes_on_until_it_is_through() {
    let mut shop = Shop::open().await;
    let placed = shop.customer.order("ada", &[("chisel-25", 1)]).await;
    let id = placed.text("/id").to_owned();
    let gone = shop.inventory.take().unwrap();
    let address = gone.address();
    gone.stop().await;
    let customer = shop.customer.clone();
    let cancelling = tokio::spawn(async move { customer.cancel(&id).await });
    let path = format!("/v2/orders/{}", placed.text("/id"));
    eventually(async || (shop.customer.get(&path).await.text("/payment/state") == "refunded").then_some(())).await;
    assert_eq!(shop.customer.get(&path).await.text("/order/state"), "cancelling");
    sleep(Duration::from_millis(100)).await;
    let settings = inventory::Settings { database: shop.data.database("inventory"), chaos: Chaos::default() };
    shop.inventory = Some(inventory::start(TcpListener::bind(address).await.unwrap(), settings).await.unwrap());

    let answer = cancelling.await.unwrap();
    assert!(matches!(answer.status.as_u16(), 200 | 202), "{}", answer.body);
    eventually(async || (shop.customer.get(&path).await.text("/order/state") == "cancelled").then_some(())).await;
    shop.close().await;
}
