//! A verdict that can't fail is worth nothing: each test plants one thing that is wrong.

use order_system::{DataDir, audit};
use sqlx::{ConnectOptions, Connection};

use crate::support::Shop;

/// The books of a shop that sold two orders, rejected one and took one back, with one change made to them.
pub async fn books_with(books: &str, change: &'static str) -> DataDir {
    let shop = Shop::open().await;
    for (customer, product) in [("ada", "chisel-25"), ("bruno", "rope-hemp"), ("iris", "rope-hemp")] {
        shop.customer.order(customer, &[(product, 2)]).await;
    }
    let placed = shop.customer.order("chiyo", &[("chisel-25", 3)]).await;
    assert_eq!(shop.customer.cancel(placed.text("/id")).await.status, 200);
    let Shop { data, gateway, orders, inventory, payments, .. } = shop;
    gateway.stop().await;
    for running in [orders, inventory, payments].into_iter().flatten() {
        running.stop().await;
    }
    let file = if books == "sagas" { data.journal() } else { data.database(books) };
    let mut books = sqlx::sqlite::SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    let changed = sqlx::query(change).execute(&mut books).await.unwrap();
    assert!(changed.rows_affected() > 0, "{change}");
    books.close().await.unwrap();
    data
}

async fn verdict_on(books: &str, change: &'static str) -> audit::Verdict {
    let data = books_with(books, change).await;
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
        "VERDICT 4 orders: 2 confirmed, 1 rejected, 1 cancelled, 0 stuck, 0 double charges; \
         5 sagas: 4 committed, 1 undone, 0 parked, 0 unfinished; stock and money balance"
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
    let verdict =
        verdict_on("payments", "UPDATE entry SET amount_cents = amount_cents + 3 - 2 * id WHERE id < 3").await;
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
async fn a_double_refund_is_found() {
    let again = "INSERT INTO entry (order_id, kind, amount_cents)
                 SELECT order_id, kind, amount_cents FROM entry WHERE kind = 'refund'";
    let verdict = verdict_on("payments", again).await;
    assert!(!verdict.holds());
    assert_eq!((verdict.double_charges, verdict.money.len()), (1, 2), "{verdict}");
}

#[tokio::test]
async fn an_order_that_was_cancelled_and_not_refunded_is_found() {
    let verdict = verdict_on("payments", "DELETE FROM entry WHERE kind = 'refund'").await;
    assert!(!verdict.holds() && verdict.stock.is_empty());
    assert_eq!(verdict.money.len(), 2, "{verdict}");
}

#[tokio::test]
async fn goods_that_never_came_back_are_found() {
    let verdict = verdict_on("inventory", "UPDATE reservation SET state = 'committed' WHERE state = 'returned'").await;
    assert!(!verdict.holds() && !verdict.stock.is_empty(), "{verdict}");
}

#[tokio::test]
async fn a_saga_that_is_not_at_rest_is_found() {
    let changes = [
        ("UPDATE saga SET state = 2 WHERE state = 4", (1, 0)),
        ("UPDATE saga SET state = 1 WHERE name = 'cancel-order'", (1, 0)),
        ("UPDATE saga SET state = 6 WHERE state = 4", (1, 0)),
        ("UPDATE saga SET state = 5 WHERE state = 4", (0, 1)),
    ];
    for (change, (unfinished, parked)) in changes {
        let verdict = verdict_on("sagas", change).await;
        assert!(!verdict.holds(), "{change}");
        assert_eq!((verdict.sagas.unfinished, verdict.sagas.parked), (unfinished, parked), "{change}");
    }
}

#[tokio::test]
async fn a_journal_that_does_not_agree_with_itself_or_with_the_orders_is_found() {
    let changes = [
        ("sagas", "UPDATE saga SET owner = 'a zombie' WHERE state = 4", "somebody holds it"),
        ("sagas", "DELETE FROM journal WHERE kind = 4", "has gaps"),
        ("sagas", "UPDATE saga SET lsn = (SELECT MIN(lsn) FROM journal) WHERE state = 4", "goes on"),
        ("sagas", "UPDATE journal SET epoch = 2 WHERE lsn = 1", "had lost it"),
        ("sagas", "UPDATE saga SET state = 4 WHERE name = 'place-order'", "isn't committed"),
        ("sagas", "DELETE FROM saga WHERE name = 'place-order'", "isn't committed"),
        ("orders", "UPDATE purchase SET state = 'rejected' WHERE state = 'confirmed'", "isn't confirmed"),
        (
            "orders",
            "UPDATE purchase SET state = 'confirmed' WHERE state = 'cancelled'",
            "cancelled otherwise than once",
        ),
    ];
    for (books, change, finding) in changes {
        let verdict = verdict_on(books, change).await;
        assert!(!verdict.holds(), "{change}");
        let found = verdict.sagas.findings.iter().any(|found| found.contains(finding));
        assert!(found, "{change}: {verdict}");
    }
}

#[tokio::test]
async fn stuck_orders_are_found() {
    let changes = [
        ("orders", "UPDATE purchase SET state = 'pending' WHERE state = 'rejected'"),
        ("orders", "UPDATE purchase SET state = 'cancelling' WHERE state = 'cancelled'"),
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
