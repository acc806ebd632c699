//! Whatever goes wrong between the services, and what becomes of it.

use futures_util::future::join_all;

use crate::metrics::Page;
use crate::processes::{Fleet, audited};
use crate::support::{Customer, basket, eventually};

const KINDS: [&str; 6] = ["delay", "fail", "fail_after", "hang", "drop_reply", "break_body"];

/// Of three requests to inventory or payments one goes wrong, undos included.
#[tokio::test]
async fn the_books_balance_whatever_goes_wrong_between_the_services() {
    let seed = fastrand::u64(..).to_string();
    println!("seed {seed}");
    let chaos = ["--chaos", "0.3", "--seed", &seed];
    let fleet = Fleet::start_with(&chaos, &chaos).await;
    let customer = Customer::at(fleet.orders.address());
    let orders = (0..60).map(|number| {
        let customer = customer.clone();
        tokio::spawn(async move {
            let answer = customer.order_behind_the_gateway(&basket("ada", &[("chisel-25", 1 + number % 3)])).await;
            answer.status.as_u16()
        })
    });
    let answers: Vec<u16> = join_all(orders).await.into_iter().map(Result::unwrap).collect();
    assert!(answers.contains(&201), "{answers:?}");
    eventually(async || {
        let page = Page::of(&fleet.orders).await;
        (page.sum("saga_in_flight", &[("policy", "saga")]) == 0).then_some(())
    })
    .await;
    for (process, name) in [(&fleet.inventory, "inventory"), (&fleet.payments, "payments")] {
        let page = Page::of(process).await;
        let happened = KINDS.map(|kind| page.sum("fault_injected_total", &[("name", name), ("fault", kind)]));
        let requests = page.sum("fault_calls_total", &[("name", name)]);
        println!("{name}: of {requests} requests {happened:?} of {KINDS:?}");
        assert!(happened.iter().filter(|count| **count > 0).count() >= 4, "{happened:?} of {requests}");
    }
    let data = fleet.stop().await;
    let (code, verdict) = audited(&data).await;
    assert_eq!(code, Some(0), "{verdict}");
    data.remove().unwrap();
}
