//! A coordinator dies, or loses its sagas: another one finishes what it began.

use std::{
    future::pending,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use buttress::{
    BoxError,
    saga::{
        Coordinator, CoordinatorConfig, Kind, Saga, SagaError, StartError,
        journal::{Filter, Lookup, MemoryJournal, SagaRow, State},
    },
};
use tokio::time::{Instant, sleep};
use tower::service_fn;

use super::{
    controlled::{Controlled, Order},
    course::step,
    world::{TAKE_BACK, TELL, TakeBack, World},
};

pub(super) const LEASE: Duration = Duration::from_secs(5);

/// A process of its own, as far as tasks go: all of them end with it.
pub(super) fn process() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

fn sagas(journal: &MemoryJournal) -> Vec<SagaRow> {
    journal.clone().list(&Filter { state: None, name: None, before: None, limit: 100 }).unwrap()
}

async fn at_rest(journal: &MemoryJournal) -> State {
    for _ in 0..10_000 {
        if let [row] = &sagas(journal)[..]
            && (row.state.is_final() || row.state == State::Parked)
        {
            assert_eq!((&row.owner, row.lease_until), (&None, None), "at rest nobody holds it");
            return row.state;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("it never comes to rest: {:?}", sagas(journal));
}

#[test]
fn a_saga_whose_process_died_is_undone_by_the_next_one() {
    let (journal, world) = (MemoryJournal::new(), World::default());
    let first = process();
    first.block_on(async {
        let coordinator = world.register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
        let inner = world.clone();
        tokio::spawn(async move {
            coordinator
                .scope::<(), SagaError, _>("place-order", async move |saga: Saga| {
                    step(&saga, &inner, "reserve").await?;
                    step(&saga, &inner, "charge").await?;
                    pending().await
                })
                .await
        });
        sleep(LEASE * 4).await;
    });
    assert_eq!(world.log(), ["do reserve", "do charge"], "a living coordinator keeps its sagas");
    drop(first);
    process().block_on(async {
        let _second = world.register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
        assert_eq!(at_rest(&journal).await, State::Undone);
    });
    assert_eq!(world.log(), ["do reserve", "do charge", "undo charge", "undo reserve"]);
}

#[test]
fn calls_promised_by_a_saga_whose_process_died_are_made_by_the_next_one() {
    let (journal, world) = (MemoryJournal::new(), World::default());
    let first = process();
    first.block_on(async {
        let hangs = service_fn(async |_: String| pending::<Result<(), BoxError>>().await);
        let builder = Coordinator::with_inline_journal(journal.clone()).on(TELL, hangs);
        let coordinator = builder.start().await.unwrap();
        let inner = world.clone();
        let committed: Result<(), SagaError> = coordinator
            .scope("place-order", async move |saga: Saga| {
                saga.then(TELL, "receipt".to_owned());
                saga.step("charge").run(|key| async move { inner.act(key).await }).await
            })
            .await;
        committed.unwrap();
    });
    drop(first);
    process().block_on(async {
        let _second = world.register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
        assert_eq!(at_rest(&journal).await, State::Done);
    });
    assert_eq!(world.log(), ["do charge", "tell receipt"]);
}

#[tokio::test(start_paused = true)]
async fn h1_a_coordinator_that_lost_its_lease_acts_no_more_and_its_saga_is_undone_in_time() {
    let (journal, world) = (MemoryJournal::new(), World::default());
    let paused = Controlled::over(&journal);
    let zombie = world.register(Coordinator::with_inline_journal(paused.clone())).start().await.unwrap();
    let _other = world.register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
    let (inner, stood_still) = (world.clone(), LEASE * 3);
    let began = Instant::now();
    let ended = tokio::spawn(async move {
        zombie
            .scope::<(), SagaError, _>("place-order", async move |saga: Saga| {
                step(&saga, &inner, "reserve").await?;
                paused.lose_renewals();
                sleep(stood_still).await;
                step(&saga, &inner, "charge").await
            })
            .await
    });
    while !world.log().contains(&"undo reserve".to_owned()) {
        sleep(Duration::from_millis(10)).await;
    }
    let took = began.elapsed();
    println!("first undo {took:?} after the lease was last renewed");
    assert!(took <= LEASE + Duration::from_secs(1), "{took:?}");
    let error = ended.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), &Kind::TakenOver);
    assert_eq!(at_rest(&journal).await, State::Undone);
    assert_eq!(world.log(), ["do reserve", "undo reserve"]);
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_thinks_for_longer_than_a_lease_before_its_first_step_is_its_coordinators() {
    let (journal, world) = (MemoryJournal::new(), World::default());
    let coordinator = world.register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
    sleep(Duration::from_millis(700)).await;
    let _other = world.register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
    for thinks in (0..20).map(|n| LEASE * 2 + Duration::from_millis(100) * n) {
        let inner = world.clone();
        let ended: Result<(), SagaError> = coordinator
            .scope("place-order", async move |saga: Saga| {
                sleep(thinks).await;
                step(&saga, &inner, "reserve").await?;
                sleep(LEASE).await;
                step(&saga, &inner, "charge").await
            })
            .await;
        ended.unwrap();
    }
    assert!(!world.log().iter().any(|line| line.starts_with("undo")), "{:?}", world.log());
}

#[test]
fn h8_a_saga_that_takes_its_process_down_each_time_is_parked_for_somebody_to_look_at() {
    let (journal, world) = (MemoryJournal::new(), World::default());
    let first = process();
    first.block_on(async {
        let coordinator = world.register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
        let inner = world.clone();
        tokio::spawn(async move {
            coordinator
                .scope::<(), SagaError, _>("place-order", async move |saga: Saga| {
                    step(&saga, &inner, "reserve").await?;
                    pending().await
                })
                .await
        });
        sleep(LEASE).await;
    });
    drop(first);
    let (tried, mut tries) = tokio::sync::mpsc::unbounded_channel();
    // Three times among others, as it were, and twice alone.
    for _ in 0..5 {
        let tried = tried.clone();
        let deadly = service_fn(move |_: TakeBack| {
            tried.send(()).unwrap();
            pending::<Result<(), BoxError>>()
        });
        process().block_on(async {
            let _next = Coordinator::with_inline_journal(journal.clone()).on(TAKE_BACK, deadly).start().await.unwrap();
            tries.recv().await.unwrap();
        });
    }
    process().block_on(async {
        let sixth = world.register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
        assert_eq!(at_rest(&journal).await, State::Parked);
        let id = sagas(&journal)[0].id;
        sixth.retry(id, None).await.unwrap();
        assert_eq!(at_rest(&journal).await, State::Undone);
    });
    assert_eq!(world.log(), ["do reserve", "undo reserve"]);
}

#[test]
fn h9_a_coordinator_that_lacks_a_call_of_an_unfinished_saga_says_which_and_does_not_start() {
    let (journal, world) = (MemoryJournal::new(), World::default());
    process().block_on(async {
        let coordinator = world.register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
        let inner = world.clone();
        tokio::spawn(async move {
            let handler = async move |saga: Saga| {
                saga.then(TELL, "receipt".to_owned());
                step(&saga, &inner, "reserve").await?;
                pending().await
            };
            coordinator.scope::<(), SagaError, _>("place-order", handler).await
        });
        sleep(LEASE).await;
    });
    process().block_on(async {
        let error = Coordinator::with_inline_journal(journal.clone()).start().await.unwrap_err();
        let StartError::Unregistered { calls, .. } = &error else { panic!("{error}") };
        assert_eq!(calls, &["world.take-back", "world.tell"]);
        assert!(error.to_string().contains("world.take-back"), "{error}");
    });
}

#[tokio::test(start_paused = true)]
async fn h12_finished_sagas_are_forgotten_and_unfinished_ones_never() {
    let (journal, world) = (MemoryJournal::new(), World::default());
    let mut config = CoordinatorConfig::default();
    config.retention = Duration::from_secs(600);
    let coordinator =
        world.register(Coordinator::with_inline_journal(journal.clone())).config(config).start().await.unwrap();
    for _ in 0..1200 {
        let inner = world.clone();
        let ended: Result<(), SagaError> =
            coordinator.scope("place-order", async move |saga: Saga| step(&saga, &inner, "reserve").await).await;
        ended.unwrap();
    }
    let (inner, unfinished) = (world.clone(), coordinator.clone());
    tokio::spawn(async move {
        let handler = async move |saga: Saga| {
            step(&saga, &inner, "reserve").await?;
            pending().await
        };
        unfinished.scope::<(), SagaError, _>("place-order", handler).await
    });
    sleep(Duration::from_secs(300)).await;
    assert_eq!(sagas(&journal).len(), 100);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(sagas(&journal).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn h20_a_lease_that_ends_in_an_hour_by_somebody_elses_clock_is_waited_for() {
    let (journal, world) = (MemoryJournal::new(), World::default());
    let hour = Duration::from_secs(3600);
    let first = process();
    // On another thread, for a runtime can't be entered from within another.
    std::thread::scope(|scope| {
        let (journal, world) = (journal.clone(), world.clone());
        scope.spawn(move || {
            first.block_on(async {
                // An hour ahead of the wall.
                let coordinator = world.register(Coordinator::with_inline_journal(journal)).start().await.unwrap();
                sleep(hour).await;
                let ended = coordinator.scope::<(), SagaError, _>("place-order", async move |saga: Saga| {
                    step(&saga, &world, "reserve").await?;
                    pending().await
                });
                let _ = tokio::time::timeout(LEASE, ended).await;
            });
        });
    });
    let until = sagas(&journal)[0].lease_until.unwrap();
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    assert!(Duration::from_millis(until) > wall + hour - LEASE);
    let _second = world.register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
    sleep(hour / 2).await;
    assert_eq!(world.log(), ["do reserve"], "its owner may live");
    sleep(hour).await;
    assert_eq!(world.log(), ["do reserve", "undo reserve"]);
}

#[tokio::test(start_paused = true)]
async fn h13_a_journal_that_fails_is_told_to_those_who_wait_and_nothing_is_begun_any_more() {
    let (journal, world) = (MemoryJournal::new(), World::default());
    let control = Controlled::over(&journal);
    let coordinator = world.register(Coordinator::with_inline_journal(control.clone())).start().await.unwrap();
    let (inner, breaks) = (world.clone(), control.clone());
    let ended: Result<(), SagaError> = coordinator
        .scope("place-order", async move |saga: Saga| {
            step(&saga, &inner, "reserve").await?;
            breaks.henceforth(Order::Fail);
            step(&saga, &inner, "charge").await
        })
        .await;
    assert_eq!(ended.unwrap_err().kind(), &Kind::Journal);
    control.henceforth(Order::Write);
    sleep(LEASE * 3).await;
    let before = control.batches();
    let inner = world.clone();
    let another: Result<(), SagaError> =
        coordinator.scope("place-order", async move |saga: Saga| step(&saga, &inner, "reserve").await).await;
    assert_eq!(another.unwrap_err().kind(), &Kind::Journal);
    assert_eq!(control.batches(), before, "after a failure nothing is written");
    assert_eq!(world.log(), ["do reserve"]);
    let _other = world.register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
    assert_eq!(at_rest(&journal).await, State::Undone);
}
