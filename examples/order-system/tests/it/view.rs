use serde_json::json;

use crate::support::{Shop, eventually, is_problem};

#[tokio::test]
async fn a_missing_part_is_null_and_named() {
    let mut shop = Shop::open().await;
    let path = shop.customer.order("ada", &[("chisel-25", 1)]).await.header("location").unwrap().to_owned();

    shop.payments.take().unwrap().stop().await;
    let view = shop.customer.get(&path).await;
    assert_eq!(view.status, 200);
    assert_eq!(view.body["payment"], json!(null));
    assert_eq!(view.text("/reservation/state"), "committed");
    assert_eq!(view.text("/_partial/0/section"), "payment");
    assert_eq!(view.text("/_partial/0/reason"), "unreachable");
    assert_eq!(view.header("x-partial"), Some("payment"));
    assert_eq!(view.header("cache-control"), Some("no-store"));

    shop.inventory.take().unwrap().stop().await;
    let view = shop.customer.get(&path).await;
    assert_eq!(view.status, 200);
    assert_eq!(view.body["reservation"], json!(null));
    assert_eq!(view.header("x-partial"), Some("payment, reservation"));
    assert_eq!(view.text("/order/state"), "confirmed");
    assert_eq!(view.text("/_partial/1/reason"), "unreachable");
    shop.close().await;
}

#[tokio::test]
async fn without_the_order_there_is_no_view() {
    let mut shop = Shop::open().await;
    let path = shop.customer.order("ada", &[("chisel-25", 1)]).await.header("location").unwrap().to_owned();
    is_problem(&shop.customer.get("/v2/orders/no-such-order").await, 404, "unknown-order");

    shop.orders.take().unwrap().stop().await;
    let view = shop.customer.get(&path).await;
    is_problem(&view, 503, "section-unavailable");
    assert_eq!((view.text("/section"), view.text("/reason")), ("order", "unreachable"));
    let placed = shop.customer.order("ada", &[("chisel-25", 1)]).await;
    is_problem(&placed, 503, "section-unavailable");
    shop.close().await;
}

/// Once it is clear that payments is gone, nobody waits for it any more.
#[tokio::test]
async fn a_part_behind_an_open_circuit_is_named_with_when_to_ask_again() {
    let mut shop = Shop::open().await;
    let path = shop.customer.order("ada", &[("chisel-25", 1)]).await.header("location").unwrap().to_owned();
    shop.payments.take().unwrap().stop().await;

    let view = eventually(async || {
        let view = shop.customer.get(&path).await;
        assert_eq!((view.status.as_u16(), view.header("x-partial")), (200, Some("payment")));
        (view.text("/_partial/0/reason") == "circuit_open").then_some(view)
    });
    let view = view.await;
    let missing = &view.body["_partial"][0];
    assert!((1..=10_000).contains(&missing["retry_after_ms"].as_u64().unwrap()), "{missing}");
    assert_eq!(missing.as_object().unwrap().len(), 3, "nothing else leaks: {missing}");
    shop.close().await;
}
