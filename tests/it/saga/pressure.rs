//! A journal that doesn't keep up is seen by the layers above.

use std::time::Duration;

use buttress::{
    BoxError, SagaLayer,
    saga::{Coordinator, Saga, SagaError},
};
use tokio::{task::JoinSet, time::timeout};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, load_shed::error::Overloaded, service_fn};

use super::controlled::{Controlled, Order};

#[tokio::test]
async fn a_full_journal_queue_is_not_ready_and_is_again_when_it_is_written() {
    let journal = Controlled::default();
    let coordinator = Coordinator::with_journal(journal.clone()).start().await.unwrap();
    let layer = SagaLayer::new(&coordinator, "place-order");
    let step = |_: ()| async {
        let saga = Saga::current().unwrap();
        saga.step("reserve").run(async |_| Ok::<_, BoxError>(())).await
    };
    let shedding = ServiceBuilder::new().load_shed().layer(layer.clone()).service(service_fn(step));
    let mut waiting = layer.layer(service_fn(step));
    waiting.ready().await.unwrap();

    journal.henceforth(Order::Hold);
    let mut calls = JoinSet::new();
    // More than may wait.
    for _ in 0..5000 {
        calls.spawn(layer.layer(service_fn(step)).oneshot(()));
    }
    while timeout(Duration::from_millis(50), waiting.ready()).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let shed = shedding.clone().oneshot(()).await.unwrap_err();
    assert!(shed.is::<Overloaded>(), "{shed}");
    let mut ready = tokio_test::task::spawn(waiting.ready());
    assert!(ready.poll().is_pending());
    // A clone waits for itself.
    drop(ready);
    let mut clone = waiting.clone();

    journal.henceforth(Order::Write);
    waiting.ready().await.unwrap().call(()).await.unwrap();
    clone.ready().await.unwrap().call(()).await.unwrap();
    let ended: Vec<Result<(), BoxError>> = calls.join_all().await;
    assert!(ended.iter().all(|ended| ended.is_ok()), "whoever was let in is carried out");
    shedding.oneshot(()).await.unwrap();
}

// Whoever wants the error by its own type finds it.
#[tokio::test(start_paused = true)]
async fn the_error_of_a_plain_service_is_the_sagas_where_the_saga_failed() {
    let coordinator = Coordinator::in_memory().start().await.unwrap();
    let service = SagaLayer::new(&coordinator, "place-order").layer(service_fn(|_: ()| async {
        Saga::current().unwrap().step("no name!").run(async |_| Ok::<_, BoxError>(())).await
    }));
    let error = service.oneshot(()).await.unwrap_err();
    assert!(error.is::<SagaError>(), "{error}");
}
