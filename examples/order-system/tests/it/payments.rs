use axum::http::Method;
use buttress::step::Op::{Act, Undo};
use order_system::payments::{self, Faults};
use order_system::{Chaos, DataDir, Running};
use serde_json::{Value, json};

use crate::support::{Answer, ByHand, Customer, is_problem, listener};

struct Bank {
    caller: Customer,
    service: Running,
    data: DataDir,
}

impl Bank {
    async fn open() -> Self {
        Self::with_faults(Faults::none()).await
    }

    async fn with_faults(faults: Faults) -> Self {
        let data = DataDir::temporary().unwrap();
        let settings = payments::Settings { database: data.database("payments"), faults, chaos: Chaos::default() };
        let service = payments::start(listener().await, settings).await.unwrap();
        Self { caller: Customer::at(service.address()), service, data }
    }

    async fn charge(&self, saga: &ByHand, order: &str, card: &str, cents: impl Into<Value>) -> Answer {
        let charge = json!({ "order_id": order, "card": card, "amount_cents": cents.into() });
        self.caller.send_in(saga.headers("charge", Act), Method::POST, "/v1/charges", charge.to_string()).await
    }

    async fn give_back(&self, saga: &ByHand, order: &str) -> Answer {
        let path = format!("/v1/charges/{order}");
        self.caller.send_in(saga.headers("charge", Undo), Method::DELETE, &path, "").await
    }

    async fn refund(&self, saga: &ByHand, order: &str) -> Answer {
        let path = format!("/v1/charges/{order}/refund");
        self.caller.send_in(saga.headers("refund", Act), Method::POST, &path, "").await
    }

    async fn close(self) {
        self.service.stop().await;
        self.data.remove().unwrap();
    }
}

#[tokio::test]
async fn a_repeated_charge_is_the_first() {
    let bank = Bank::open().await;
    let saga = ByHand::saga();
    let first = bank.charge(&saga, "a", "card-ada", 700).await;
    assert_eq!(first.status, 201);
    assert_eq!(bank.charge(&saga, "a", "card-ada", 700).await.body, first.body);
    is_problem(&bank.charge(&ByHand::saga(), "a", "card-ada", 700).await, 409, "charged-before");
    bank.close().await;
}

#[tokio::test]
async fn an_undone_charge_is_given_back_once_and_a_late_one_refused() {
    let bank = Bank::open().await;
    let saga = ByHand::saga();
    bank.charge(&saga, "a", "card-ada", 700).await;
    for _ in 0..2 {
        let given_back = bank.give_back(&saga, "a").await;
        assert_eq!((given_back.status.as_u16(), given_back.text("/state")), (200, "refunded"));
    }
    assert_eq!(bank.caller.get("/v1/charges/a").await.text("/state"), "refunded");

    let late = ByHand::saga();
    assert_eq!(bank.give_back(&late, "never-charged").await.text("/state"), "void");
    is_problem(&bank.charge(&late, "never-charged", "card-ada", 700).await, 410, "undone");
    is_problem(&bank.caller.get("/v1/charges/never-charged").await, 404, "unknown-charge");
    bank.close().await;
}

#[tokio::test]
async fn a_charge_is_refunded_once_whoever_asks() {
    let bank = Bank::open().await;
    let saga = ByHand::saga();
    bank.charge(&ByHand::saga(), "a", "card-ada", 700).await;
    for _ in 0..2 {
        let refund = bank.refund(&saga, "a").await;
        assert_eq!((refund.status.as_u16(), refund.text("/state")), (200, "refunded"));
    }
    is_problem(&bank.refund(&ByHand::saga(), "a").await, 422, "refused");
    is_problem(&bank.refund(&ByHand::saga(), "never-charged").await, 422, "refused");
    bank.close().await;
}

#[tokio::test]
async fn a_coordinator_that_lost_its_saga_takes_no_money() {
    let bank = Bank::open().await;
    let paused = ByHand::saga();
    bank.give_back(&paused.taken_over(), "a").await;
    is_problem(&bank.charge(&paused, "a", "card-ada", 700).await, 409, "fenced");
    bank.close().await;
}

#[tokio::test]
async fn a_bad_card_is_declined_and_stays_declined() {
    let bank = Bank::open().await;
    let saga = ByHand::saga();
    for _ in 0..2 {
        is_problem(&bank.charge(&saga, "a", "card-iris-blocked", 1).await, 402, "declined");
    }
    assert_eq!(bank.caller.get("/v1/charges/a").await.text("/state"), "declined");
    assert_eq!(bank.give_back(&saga, "a").await.body["amount_cents"], 0);
    assert_eq!(bank.caller.get("/v1/charges/a").await.text("/state"), "declined");
    is_problem(&bank.caller.get("/v1/charges/never-seen").await, 404, "unknown-charge");
    bank.close().await;
}

#[tokio::test]
async fn nonsense_is_refused_by_field() {
    let bank = Bank::open().await;
    let saga = ByHand::saga();
    for cents in [json!(0), json!(-1), json!(1_000_000_000_000_i64), json!(1.5), json!("7")] {
        let answer = bank.charge(&saga, "a", "card-ada", cents.clone()).await;
        is_problem(&answer, 422, "invalid-field");
        assert_eq!(answer.text("/field"), "amount_cents", "{cents}");
    }
    assert_eq!(bank.charge(&saga, "../a", "card-ada", 700).await.text("/field"), "order_id");
    let unknown = bank.charge(&saga, "a", "card-nobody", 700).await;
    is_problem(&unknown, 422, "unknown-card");
    assert_eq!(unknown.text("/field"), "card");
    let charge = json!({ "order_id": "a", "card": "card-ada", "amount_cents": 700 });
    is_problem(&bank.caller.post("/v1/charges", &charge).await, 400, "not-a-step");
    bank.close().await;
}

/// The nasty kind of failure: the caller is told that it failed, and the money is gone.
#[tokio::test]
async fn a_failure_can_come_after_the_booking() {
    let bank = Bank::with_faults(Faults::new(1.0, 3).unwrap()).await;
    let mut booked = 0;
    for order in 0..40 {
        let id = format!("order-{order}");
        let answer = bank.charge(&ByHand::saga(), &id, "card-ada", 700).await;
        assert!(!answer.status.is_success());
        let charge = bank.caller.get(&format!("/v1/charges/{id}")).await;
        if answer.status.is_server_error() && charge.status == 200 {
            booked += 1;
            assert_eq!(charge.text("/state"), "charged");
        }
    }
    assert!((5..35).contains(&booked), "{booked}");
    bank.close().await;
}
