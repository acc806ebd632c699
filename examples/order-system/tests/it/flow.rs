use order_system::payments::Faults;
use serde_json::json;

use crate::support::{Shop, basket, is_problem};

#[tokio::test]
async fn an_order_is_reserved_paid_and_confirmed() {
    let shop = Shop::open().await;
    let placed = shop.customer.order("ada", &[("chisel-25", 2), ("mortar-lime", 10)]).await;
    assert_eq!(placed.status, 201, "{}", placed.body);
    assert_eq!(placed.text("/state"), "confirmed");
    assert_eq!(placed.body["total_cents"], 2 * 3450 + 10 * 1149);

    let view = shop.customer.get(placed.header("location").unwrap()).await;
    assert_eq!(view.status, 200);
    assert_eq!(view.body["order"], placed.body);
    assert_eq!(view.text("/payment/state"), "charged");
    assert_eq!(view.body["payment"]["amount_cents"], placed.body["total_cents"]);
    assert_eq!(view.text("/reservation/state"), "committed");
    assert_eq!(view.body.get("_partial"), None);
    shop.close().await;
}

#[tokio::test]
async fn too_little_stock_is_a_conflict_and_nothing_is_charged() {
    let shop = Shop::open().await;
    let refused = shop.customer.order("ada", &[("chisel-25", 1), ("keystone-old", 4)]).await;
    is_problem(&refused, 409, "too-little-stock");
    assert_eq!(refused.text("/field"), "lines[1].sku");
    assert_eq!(refused.body["available"], 3);
    assert_eq!(refused.body["undone"], json!([]));

    let view = shop.customer.get(&format!("/v2/orders/{}", refused.text("/order_id"))).await;
    assert_eq!((view.text("/order/state"), view.text("/order/reason")), ("rejected", "too_little_stock"));
    // Neither is missing: nothing was ever reserved or charged.
    assert_eq!(view.body["payment"], json!(null));
    assert_eq!(view.body["reservation"], json!(null));
    assert_eq!(view.body.get("_partial"), None);
    shop.close().await;
}

#[tokio::test]
async fn a_declined_card_gives_the_goods_back() {
    let shop = Shop::open().await;
    for customer in ["iris", "jonas"] {
        let refused = shop.customer.order(customer, &[("gargoyle-1", 1)]).await;
        is_problem(&refused, 402, "declined");
        assert_eq!(refused.body["undone"], json!(["reservation"]));
        assert_eq!(refused.body["being_undone"], json!([]));
        let view = shop.customer.get(&format!("/v2/orders/{}", refused.text("/order_id"))).await;
        assert_eq!(view.text("/order/reason"), "declined");
        assert_eq!(view.text("/payment/state"), "declined");
        assert_eq!(view.text("/reservation/state"), "released");
    }
    // The only one there is, is there for the third.
    assert_eq!(shop.customer.order("ada", &[("gargoyle-1", 1)]).await.status, 201);
    shop.close().await;
}

/// With every charge failing in one of four ways, nobody is charged in the end.
#[tokio::test]
async fn a_broken_payment_is_undone_in_reverse_and_said_so() {
    let shop = Shop::with_faults(Faults::new(1.0, 11).unwrap()).await;
    let mut broken = 0;
    // So few that the breakers stay closed.
    for _ in 0..6 {
        let refused = shop.customer.order("bruno", &[("sand-washed", 3)]).await;
        if refused.status == 402 {
            assert_eq!(refused.body["undone"], json!(["reservation"]));
        } else if refused.status != 201 {
            is_problem(&refused, 503, "payments-unavailable");
            assert_eq!(refused.body["undone"], json!(["payment", "reservation"]));
            broken += 1;
        }
    }
    assert!(broken > 0);
    shop.close().await;
}

#[tokio::test]
async fn many_customers_at_once_share_what_there_is() {
    let shop = Shop::open().await;
    let body = basket("chiyo", &[("keystone-old", 1), ("rope-hemp", 2)]);
    let orders = (0..12).map(|_| shop.customer.post("/v2/orders", &body));
    let answers = futures_util::future::join_all(orders).await;
    let with = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((with(201), with(409)), (3, 9));
    shop.close().await;
}
