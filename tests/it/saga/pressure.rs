//! A journal that doesn't keep up is seen by the layers above.

use std::{
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use buttress::{
    BoxError, SagaLayer,
    saga::{
        Coordinator, Saga, SagaError,
        journal::{Filter, Journal, JournalError, Lookup, MemoryJournal, Needs, Record, SagaRow, Write, Written},
    },
    step::SagaId,
};
use tokio::{task::JoinSet, time::timeout};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, load_shed::error::Overloaded, service_fn};

/// Writes when it is let.
#[derive(Debug, Clone, Default)]
struct Stuck {
    inner: MemoryJournal,
    stuck: Arc<(Mutex<bool>, Condvar)>,
}

impl Stuck {
    fn set(&self, stuck: bool) {
        *self.stuck.0.lock().unwrap() = stuck;
        self.stuck.1.notify_all();
    }
}

impl Journal for Stuck {
    fn write(&mut self, batch: &[Write]) -> Result<Vec<Written>, JournalError> {
        let stuck = self.stuck.0.lock().unwrap();
        drop(self.stuck.1.wait_while(stuck, |stuck| *stuck).unwrap());
        self.inner.write(batch)
    }

    fn reader(&self) -> Result<Box<dyn Lookup + Send>, JournalError> {
        self.inner.reader()
    }
}

impl Lookup for Stuck {
    fn saga(&mut self, id: SagaId) -> Result<Option<SagaRow>, JournalError> {
        self.inner.saga(id)
    }

    fn by_key(&mut self, scope_key: &str) -> Result<Option<SagaRow>, JournalError> {
        self.inner.by_key(scope_key)
    }

    fn records(&mut self, id: SagaId) -> Result<Vec<Record>, JournalError> {
        self.inner.records(id)
    }

    fn list(&mut self, filter: &Filter) -> Result<Vec<SagaRow>, JournalError> {
        self.inner.list(filter)
    }

    fn needs(&mut self) -> Result<Needs, JournalError> {
        self.inner.needs()
    }
}

#[tokio::test]
async fn a_full_journal_queue_is_not_ready_and_is_again_when_it_is_written() {
    let journal = Stuck::default();
    let coordinator = Coordinator::with_journal(journal.clone()).start().await.unwrap();
    let layer = SagaLayer::new(&coordinator, "place-order");
    let step = |_: ()| async {
        let saga = Saga::current().unwrap();
        saga.step("reserve").run(async |_| Ok::<_, BoxError>(())).await
    };
    let shedding = ServiceBuilder::new().load_shed().layer(layer.clone()).service(service_fn(step));
    let mut waiting = layer.layer(service_fn(step));
    waiting.ready().await.unwrap();

    journal.set(true);
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

    journal.set(false);
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
