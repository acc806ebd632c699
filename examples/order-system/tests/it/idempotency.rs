use crate::support::{Shop, basket, is_problem};

#[tokio::test]
async fn a_repeated_key_gets_the_same_answer() {
    let shop = Shop::open().await;
    let body = basket("ada", &[("gargoyle-1", 1)]);
    let first = shop.customer.order_with_key("mine", &body).await;
    assert_eq!(first.status, 201, "{}", first.body);
    let again = shop.customer.order_with_key("mine", &body).await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    shop.close().await;
}

#[tokio::test]
async fn a_refusal_that_stands_is_repeated_too() {
    let shop = Shop::open().await;
    let body = basket("iris", &[("chisel-25", 1)]);
    let first = shop.customer.order_with_key("mine", &body).await;
    let again = shop.customer.order_with_key("mine", &body).await;
    assert_eq!(first.status, 402);
    assert_eq!((again.status, again.body), (first.status, first.body));
    assert_eq!(again.headers.get("idempotency-replayed").unwrap(), "true");
    shop.close().await;
}

/// Too little stock today says nothing of tomorrow: everything was undone, and the key may be used again.
#[tokio::test]
async fn what_was_undone_for_now_may_be_tried_again_with_its_key() {
    let shop = Shop::open().await;
    let placed = shop.customer.order("ada", &[("gargoyle-1", 1)]).await;
    let body = basket("bruno", &[("gargoyle-1", 1)]);
    let first = shop.customer.order_with_key("mine", &body).await;
    is_problem(&first, 409, "too-little-stock");
    assert_eq!(shop.customer.cancel(placed.text("/id")).await.status, 200);
    let again = shop.customer.order_with_key("mine", &body).await;
    assert_eq!((again.status.as_u16(), again.text("/state")), (201, "confirmed"));
    assert_ne!(again.text("/id"), first.text("/order_id"));
    shop.close().await;
}

#[tokio::test]
async fn a_key_stands_for_one_order() {
    let shop = Shop::open().await;
    shop.customer.order_with_key("mine", &basket("ada", &[("chisel-25", 1)])).await;
    let other = shop.customer.order_with_key("mine", &basket("ada", &[("chisel-25", 2)])).await;
    is_problem(&other, 422, "key-taken");
    assert_eq!(other.text("/field"), "Idempotency-Key");
    shop.close().await;
}

#[tokio::test]
async fn requests_that_race_with_one_key_are_one_order() {
    let shop = Shop::open().await;
    let body = basket("ada", &[("gargoyle-1", 1)]);
    let racing = (0..8).map(|_| shop.customer.order_with_key("mine", &body));
    let answers = futures_util::future::join_all(racing).await;
    for answer in &answers {
        assert_eq!((answer.status.as_u16(), &answer.body), (201, &answers[0].body));
    }
    shop.close().await;
}
