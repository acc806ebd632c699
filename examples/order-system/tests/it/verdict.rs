//! A verdict that can't fail is worth nothing: each test plants one thing that is wrong.

use order_system::{DataDir, audit};
use sqlx::{ConnectOptions, Connection};

use crate::support::Shop;

/// The books of a shop that sold two orders and rejected one, with one change made to them.
pub async fn books_with(service: &str, change: &'static str) -> DataDir {
    let shop = Shop::open().await;
    for (customer, product) in [("ada", "chisel-25"), ("bruno", "rope-hemp"), ("iris", "rope-hemp")] {
        shop.customer.order(customer, &[(product, 2)]).await;
    }
    let Shop { data, gateway, orders, inventory, payments, .. } = shop;
    gateway.stop().await;
    for running in [orders, inventory, payments].into_iter().flatten() {
        running.stop().await;
    }
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(data.database(service));
    let mut books = options.connect().await.unwrap();
    sqlx::query(change).execute(&mut books).await.unwrap();
    books.close().await.unwrap();
    data
}

async fn verdict_on(service: &str, change: &'static str) -> audit::Verdict {
    let data = books_with(service, change).await;
    let verdict = audit::audit(&data).await.unwrap();
    data.remove().unwrap();
    verdict
}

#[tokio::test]
async fn books_that_are_right_are_found_right() {
    let verdict = verdict_on("orders", "UPDATE product SET name = name").await;
    assert!(verdict.holds(), "{verdict}");
    assert_eq!(
        verdict.to_string(),
        "VERDICT 3 orders: 2 confirmed, 1 rejected, 0 stuck, 0 double charges; stock and money balance"
    );
}

#[tokio::test]
async fn goods_that_vanish_are_found() {
    let verdict = verdict_on("inventory", "UPDATE product SET on_hand = on_hand - 1 WHERE sku = 'level-spirit'").await;
    assert!(!verdict.holds() && verdict.money.is_empty());
    assert_eq!(verdict.stock, ["level-spirit: 1 are gone from the shelf, 0 were sold or are held"]);
}

#[tokio::test]
async fn money_that_vanishes_is_found() {
    let verdict = verdict_on("payments", "DELETE FROM entry WHERE id = 1").await;
    assert!(!verdict.holds() && verdict.stock.is_empty());
    assert_eq!(verdict.money.len(), 2, "{verdict}");
}

#[tokio::test]
async fn two_mistakes_that_cancel_out_are_found() {
    let verdict = verdict_on("payments", "UPDATE entry SET amount_cents = amount_cents + 3 - 2 * id").await;
    assert!(!verdict.holds(), "{verdict}");
}

#[tokio::test]
async fn a_double_charge_is_found() {
    let again =
        "INSERT INTO entry (order_id, kind, amount_cents) SELECT order_id, kind, amount_cents FROM entry WHERE id = 1";
    let verdict = verdict_on("payments", again).await;
    assert!(!verdict.holds());
    assert_eq!(verdict.double_charges, 1);
}

#[tokio::test]
async fn stuck_orders_are_found() {
    let changes = [
        ("orders", "UPDATE purchase SET state = 'pending' WHERE state = 'rejected'"),
        ("orders", "INSERT INTO owed (order_id, duty, due_at_ms) SELECT id, 'refund', 0 FROM purchase LIMIT 1"),
        ("inventory", "UPDATE reservation SET state = 'held' WHERE rowid = 1"),
    ];
    for (service, change) in changes {
        let verdict = verdict_on(service, change).await;
        assert!(!verdict.holds(), "{change}");
        assert_eq!(verdict.stuck, 1, "{change}");
    }
}

#[tokio::test]
async fn an_order_that_is_confirmed_but_was_not_sold_is_found() {
    let verdict = verdict_on("orders", "UPDATE purchase SET state = 'confirmed' WHERE state = 'rejected'").await;
    assert!(!verdict.money.is_empty() && !verdict.stock.is_empty(), "{verdict}");
}
