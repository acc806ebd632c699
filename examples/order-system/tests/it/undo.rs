//! Undoing when it isn't easy: the other side is gone, silent, or fails at that too.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::routing::{delete, post};
use order_system::payments::Faults;
use order_system::{Chaos, inventory, payments};
use serde_json::json;
use sqlx::ConnectOptions;
use tokio::sync::Notify;

use crate::support::{Customer, Shop, basket, eventually, is_problem, listener, nobody, start_orders};

/// A stand-in for payments that keeps no books and counts.
#[derive(Default)]
struct Bank {
    charges: AtomicUsize,
    charged: Mutex<HashSet<String>>,
    refunds: Mutex<Vec<String>>,
    refunds_that_fail: AtomicUsize,
    charge_status: Option<StatusCode>,
    unavailable_at_first: AtomicUsize,
    /// A charge says that it is there, and waits until it may go on.
    arrived: Notify,
    go_on: Notify,
}

impl Bank {
    async fn serve(self) -> (Arc<Self>, std::net::SocketAddr) {
        let bank = Arc::new(self);
        let app = Router::new()
            .route("/v1/charges", post(charge))
            .route("/v1/charges/{order}", delete(refund))
            .with_state(Arc::clone(&bank));
        let listener = listener().await;
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        (bank, address)
    }
}

async fn charge(State(bank): State<Arc<Bank>>, headers: HeaderMap) -> StatusCode {
    bank.charges.fetch_add(1, Ordering::SeqCst);
    bank.charged.lock().unwrap().insert(headers["saga-id"].to_str().unwrap().to_owned());
    if take_one(&bank.unavailable_at_first) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    match bank.charge_status {
        Some(status) => status,
        None => {
            bank.arrived.notify_one();
            bank.go_on.notified().await;
            StatusCode::CREATED
        }
    }
}

fn take_one(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

async fn refund(State(bank): State<Arc<Bank>>, Path(order): Path<String>) -> StatusCode {
    if take_one(&bank.refunds_that_fail) {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    bank.refunds.lock().unwrap().push(order);
    StatusCode::OK
}

/// How many sagas aren't at rest, as orders tells its operators.
async fn unfinished(shop: &Shop) -> usize {
    let operator = Customer::at(shop.orders.as_ref().unwrap().address());
    let mut unfinished = 0;
    for state in ["running", "committed", "undoing", "parked"] {
        let page = operator.get(&format!("/admin/sagas?state={state}")).await;
        unfinished += page.body["sagas"].as_array().unwrap_or_else(|| panic!("{}", page.body)).len();
    }
    unfinished
}

#[tokio::test]
async fn a_refund_that_fails_is_said_so_and_tried_until_it_is_done() {
    let bank = Bank {
        charge_status: Some(StatusCode::INTERNAL_SERVER_ERROR),
        refunds_that_fail: AtomicUsize::new(usize::MAX),
        ..Bank::default()
    };
    let (bank, address) = bank.serve().await;
    let shop = Shop::with_payments_at(address).await;
    let refused = shop.customer.order("ada", &[("chisel-25", 1)]).await;
    is_problem(&refused, 503, "payments-unavailable");
    // In reverse: the goods are put back when the money is.
    assert_eq!(refused.body["undone"], json!([]));
    assert_eq!(refused.body["being_undone"], json!(["payment", "reservation"]));
    assert_eq!(unfinished(&shop).await, 1);

    bank.refunds_that_fail.store(0, Ordering::SeqCst);
    eventually(async || (unfinished(&shop).await == 0).then_some(())).await;
    let view = shop.customer.get(&format!("/v2/orders/{}", refused.text("/order_id"))).await;
    assert_eq!((view.text("/order/state"), view.text("/reservation/state")), ("rejected", "released"));
    assert_eq!(*bank.refunds.lock().unwrap(), [refused.text("/order_id")]);
    shop.close().await;
}

#[tokio::test]
async fn what_was_never_sent_needs_no_refund() {
    let shop = Shop::with_payments_at(nobody().await).await;
    let refused = shop.customer.order("ada", &[("chisel-25", 1)]).await;
    is_problem(&refused, 503, "payments-unavailable");
    assert_eq!(refused.text("/reason"), "unreachable");
    assert_eq!(refused.header("idempotency-replayed"), None, "the gateway asked again for an order that is decided");
    assert_eq!(refused.body["undone"], json!(["reservation"]));
    assert_eq!(refused.body["being_undone"], json!([]));
    assert_eq!(unfinished(&shop).await, 0);
    shop.close().await;
}

/// A bank that takes the charge and says nothing: whether it acted isn't known, so it is undone.
#[tokio::test]
async fn what_timed_out_is_undone() {
    let (bank, address) = Bank::default().serve().await;
    let shop = Shop::with_payments_at(address).await;
    let refused = shop.customer.order("ada", &[("chisel-25", 1)]).await;
    is_problem(&refused, 503, "payments-unavailable");
    assert_eq!(refused.text("/reason"), "timed_out");
    assert_eq!(refused.body["undone"], json!(["payment", "reservation"]));
    assert_eq!(*bank.refunds.lock().unwrap(), [refused.text("/order_id")]);
    shop.close().await;
}

/// The customer's deadline is the steps' too, through gateway and orders: what isn't done by then is undone.
#[tokio::test]
async fn a_customer_who_was_told_that_it_took_too_long_is_not_charged_later() {
    let (bank, address) = Bank::default().serve().await;
    let shop = Shop::with_payments_at(address).await;
    let headers = [("content-type", "application/json"), ("x-request-timeout-ms", "1000")];
    let body = basket("ada", &[("chisel-25", 1)]).to_string();
    let answer = shop.customer.send(Method::POST, "/v2/orders", &headers, body).await;
    assert_eq!(answer.status, 504, "{}", answer.body);
    let refunded = eventually(async || bank.refunds.lock().unwrap().first().cloned()).await;
    let reason = eventually(async || {
        let view = shop.customer.get(&format!("/v2/orders/{refunded}")).await;
        (view.text("/order/state") == "rejected").then(|| view.text("/order/reason").to_owned())
    });
    // The charge and the whole saga have the same deadline; either may notice first.
    let reason = reason.await;
    assert!(matches!(reason.as_str(), "payments_unavailable" | "interrupted"), "{reason}");
    shop.close().await;
}

/// A refusal of the last attempt says nothing of the attempts before it.
#[tokio::test]
async fn who_was_charged_is_refunded_though_the_next_attempt_was_refused() {
    let bank = Bank { charge_status: Some(StatusCode::SERVICE_UNAVAILABLE), ..Bank::default() };
    let (bank, address) = bank.serve().await;
    let shop = Shop::with_payments_at(address).await;
    let customer = Customer::at(shop.orders.as_ref().unwrap().address());
    let order = basket("ada", &[("chisel-25", 1)]);
    // The breaker opens at the 20th failure, which is in the midst of the attempts for the seventh order.
    let refused = eventually(async || {
        let refused = customer.order_behind_the_gateway(&order).await;
        (refused.text("/reason") == "circuit_open").then_some(refused)
    });
    let refused = refused.await;
    assert!(!bank.charged.lock().unwrap().contains(refused.text("/order_id")), "nothing was sent for this one");
    let refunded: HashSet<_> = bank.refunds.lock().unwrap().iter().cloned().collect();
    assert_eq!(bank.charged.lock().unwrap().len(), 7);
    assert_eq!(refunded, *bank.charged.lock().unwrap());
    shop.close().await;
}

#[tokio::test]
async fn a_bank_that_is_unavailable_for_a_moment_is_asked_again() {
    let bank =
        Bank { charge_status: Some(StatusCode::CREATED), unavailable_at_first: AtomicUsize::new(2), ..Bank::default() };
    let (bank, address) = bank.serve().await;
    let shop = Shop::with_payments_at(address).await;
    let placed = shop.customer.order("ada", &[("chisel-25", 1)]).await;
    assert_eq!((placed.status.as_u16(), placed.text("/state")), (201, "confirmed"));
    assert_eq!(bank.charges.load(Ordering::SeqCst), 3);
    shop.close().await;
}

#[tokio::test]
async fn without_inventory_nothing_is_held_nor_charged() {
    let mut shop = Shop::open().await;
    shop.inventory.take().unwrap().stop().await;
    let refused = shop.customer.order("ada", &[("chisel-25", 1)]).await;
    is_problem(&refused, 503, "inventory-unavailable");
    assert_eq!(refused.text("/reason"), "unreachable");
    assert_eq!(refused.body["undone"], json!([]));
    assert_eq!(refused.body["being_undone"], json!([]));
    assert_eq!(unfinished(&shop).await, 0);
    shop.close().await;
}

/// Behind an open circuit nothing is sent, so there is nothing to refund.
#[tokio::test]
async fn what_the_breaker_refused_needs_no_refund() {
    let bank = Bank { charge_status: Some(StatusCode::INTERNAL_SERVER_ERROR), ..Bank::default() };
    let (bank, address) = bank.serve().await;
    let shop = Shop::with_payments_at(address).await;
    // Straight to orders: the gateway would not let so many through.
    let customer = Customer::at(shop.orders.as_ref().unwrap().address());
    let order = basket("ada", &[("chisel-25", 1)]);
    let refused = eventually(async || {
        let refused = customer.order_behind_the_gateway(&order).await;
        (refused.text("/reason") == "circuit_open").then_some(refused)
    });
    let refused = refused.await;
    assert!(!bank.charged.lock().unwrap().contains(refused.text("/order_id")));
    let sent = bank.charges.load(Ordering::SeqCst);
    is_problem(&refused, 503, "payments-unavailable");
    assert_eq!(refused.body["undone"], json!(["reservation"]));
    assert_eq!(refused.body["being_undone"], json!([]));

    let again = customer.order_behind_the_gateway(&order).await;
    assert_eq!(again.text("/reason"), "circuit_open");
    assert_eq!(bank.charges.load(Ordering::SeqCst), sent);
    shop.close().await;
}

#[tokio::test]
async fn an_order_comes_to_its_end_though_the_customer_hangs_up() {
    let (bank, address) = Bank::default().serve().await;
    let shop = Shop::with_payments_at(address).await;
    let customer = shop.customer.clone();
    let hung_up = tokio::spawn(async move { customer.order("ada", &[("chisel-25", 1)]).await });
    bank.arrived.notified().await;
    hung_up.abort();
    assert!(hung_up.await.unwrap_err().is_cancelled());
    bank.go_on.notify_one();

    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(shop.data.database("orders")).read_only(true);
    let mut books = options.connect().await.unwrap();
    let state = eventually(async || {
        let (state,): (String,) = sqlx::query_as("SELECT state FROM purchase").fetch_one(&mut books).await.unwrap();
        (state != "pending").then_some(state)
    });
    assert_eq!(state.await, "confirmed");
    assert_eq!(bank.charges.load(Ordering::SeqCst), 1);
    shop.close().await;
}

/// The sale of the goods is owed, not lost, when inventory is gone after the payment.
#[tokio::test]
async fn goods_are_sold_when_inventory_is_back() {
    let (bank, address) = Bank::default().serve().await;
    let mut shop = Shop::with_payments_at(address).await;
    let customer = shop.customer.clone();
    let placing = tokio::spawn(async move { customer.order("ada", &[("chisel-25", 1)]).await });
    bank.arrived.notified().await;
    let gone = shop.inventory.take().unwrap();
    let address = gone.address();
    gone.stop().await;
    bank.go_on.notify_one();
    let placed = placing.await.unwrap();
    assert_eq!(placed.status, 201, "{}", placed.body);
    assert_eq!(unfinished(&shop).await, 1);

    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let settings = inventory::Settings { database: shop.data.database("inventory"), chaos: Chaos::default() };
    shop.inventory = Some(inventory::start(listener, settings).await.unwrap());
    eventually(async || (unfinished(&shop).await == 0).then_some(())).await;
    shop.close().await;
}

/// What undoes a step is in the journal, so whoever opens that next goes on with it.
#[tokio::test]
async fn what_was_left_is_undone_after_the_next_start() {
    let bank = Bank {
        charge_status: Some(StatusCode::INTERNAL_SERVER_ERROR),
        refunds_that_fail: AtomicUsize::new(usize::MAX),
        ..Bank::default()
    };
    let (bank, address) = bank.serve().await;
    let mut shop = Shop::with_payments_at(address).await;
    let refused = shop.customer.order("ada", &[("gargoyle-1", 1)]).await;
    assert_eq!(refused.body["being_undone"], json!(["payment", "reservation"]), "{}", refused.body);
    shop.orders.take().unwrap().stop().await;

    bank.refunds_that_fail.store(0, Ordering::SeqCst);
    let inventory = shop.inventory.as_ref().unwrap().address();
    shop.orders = Some(start_orders(&shop.data, inventory, address).await);
    eventually(async || (unfinished(&shop).await == 0).then_some(())).await;
    assert_eq!(*bank.refunds.lock().unwrap(), [refused.text("/order_id")]);
    let orders = Customer::at(shop.orders.as_ref().unwrap().address());
    let order = orders.get(&format!("/v1/orders/{}", refused.text("/order_id"))).await;
    assert_eq!((order.text("/state"), order.text("/reason")), ("rejected", "payments_unavailable"));
    shop.close().await;
}

#[tokio::test]
async fn a_second_start_over_the_same_data_changes_nothing() {
    let mut shop = Shop::open().await;
    assert_eq!(shop.customer.order("ada", &[("gargoyle-1", 1)]).await.status, 201);
    shop.payments.take().unwrap().stop().await;
    let settings = payments::Settings {
        database: shop.data.database("payments"),
        faults: Faults::none(),
        chaos: Chaos::default(),
    };
    shop.payments = Some(payments::start(listener().await, settings).await.unwrap());
    shop.close().await;
}
