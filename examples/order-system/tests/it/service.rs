//! Single services as processes of their own.

use futures_util::future::join_all;

use order_system::DataDir;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::processes::{Fleet, Process, audited, order_system};
use crate::support::{Customer, basket, eventually, is_problem};

#[tokio::test]
async fn four_processes_are_a_system_and_end_when_they_are_told_to() {
    let fleet = Fleet::start(&[]).await;
    let [orders, payments, inventory] = [&fleet.orders, &fleet.payments, &fleet.inventory].map(Process::url);
    let callees = ["--orders", &orders, "--payments", &payments, "--inventory", &inventory];
    let gateway = Process::start("gateway", &fleet.data, &callees).await;
    let customer = Customer::at(gateway.address());
    let placed = customer.order("ada", &[("chisel-25", 2)]).await;
    assert_eq!(placed.status, 201, "{}", placed.body);
    is_problem(&customer.order("iris", &[("chisel-25", 2)]).await, 402, "declined");
    assert_eq!(customer.cancel(placed.text("/id")).await.text("/state"), "cancelled");
    // Behind the gateway only, where operators are.
    is_problem(&customer.get("/admin/sagas").await, 404, "no-such-path");
    let operator = Customer::at(fleet.orders.address());
    let shown = operator.get(&format!("/admin/sagas/{}", placed.text("/id"))).await;
    assert_eq!((shown.text("/name"), shown.text("/state")), ("place-order", "done"));

    assert_eq!(gateway.stop().await.code(), Some(0));
    let data = fleet.stop().await;
    let (code, verdict) = audited(&data).await;
    assert_eq!(code, Some(0), "{verdict}");
    assert!(verdict.starts_with("VERDICT 2 orders: 0 confirmed, 1 rejected, 1 cancelled, 0 stuck"), "{verdict}");
    data.remove().unwrap();
}

#[tokio::test]
async fn a_service_that_is_told_to_stop_finishes_what_it_has_begun() {
    let Fleet { data, inventory, payments, orders } = Fleet::start(&[]).await;
    let customer = Customer::at(orders.address());
    let placing: Vec<_> = (0..20)
        .map(|number| {
            let customer = customer.clone();
            let order = basket("ada", &[("chisel-25", 1)]).to_string();
            tokio::spawn(async move { customer.try_post("/v1/orders", Some(&format!("key-{number}")), order).await })
        })
        .collect();
    let operator = Customer::at(orders.address());
    eventually(async || {
        let running = operator.get("/admin/sagas?state=running").await;
        (!running.body["sagas"].as_array().unwrap().is_empty()).then_some(())
    })
    .await;
    assert_eq!(orders.stop().await.code(), Some(0));
    let answers: Vec<_> = join_all(placing).await.into_iter().filter_map(Result::unwrap).collect();
    assert!(answers.iter().all(|answer| answer.status == 201), "{answers:?}");
    for process in [inventory, payments] {
        assert_eq!(process.stop().await.code(), Some(0));
    }
    let (code, verdict) = audited(&data).await;
    assert_eq!(code, Some(0), "{verdict}");
    let told = format!("VERDICT {0} orders: {0} confirmed", answers.len());
    assert!(verdict.starts_with(&told) && !answers.is_empty(), "{verdict}");
    data.remove().unwrap();
}

#[tokio::test]
async fn what_a_service_lacks_is_named() {
    for (arguments, lacks) in [
        (&["service", "orders", "--data", "/tmp"][..], "--inventory"),
        (&["service", "inventory"], "--data"),
        (&["service", "shipping"], "invalid value 'shipping'"),
        (&["service", "inventory", "--data", "/tmp", "--listen", "here"], "--listen"),
        (&["service", "gateway", "--orders", "http://orders/"], "must be like http://127.0.0.1:4711"),
    ] {
        let output = order_system().args(arguments).output().await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(lacks), "{arguments:?}: {said}");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

/// Two that write one journal would take each other's sagas away.
#[tokio::test]
async fn a_second_orders_over_the_same_journal_is_refused() {
    let fleet = Fleet::start(&[]).await;
    let (inventory, payments) = (fleet.inventory.url(), fleet.payments.url());
    let data = fleet.data.path().to_str().unwrap();
    let second = ["service", "orders", "--data", data, "--inventory", &inventory, "--payments", &payments];
    let output = order_system().args(second).output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("orders.saga.db"), "{said}");
    fleet.stop().await.remove().unwrap();
}

#[tokio::test]
async fn books_of_an_earlier_version_are_refused_untouched() {
    let data = DataDir::temporary().unwrap();
    let options = SqliteConnectOptions::new().filename(data.database("inventory")).create_if_missing(true);
    let mut old = options.connect().await.unwrap();
    sqlx::query("CREATE TABLE product (sku TEXT PRIMARY KEY)").execute(&mut old).await.unwrap();
    old.close().await.unwrap();
    let arguments = ["service", "inventory", "--data", data.path().to_str().unwrap()];
    let output = order_system().args(arguments).output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("inventory.db was made by another version"), "{said}");
    data.remove().unwrap();
}
