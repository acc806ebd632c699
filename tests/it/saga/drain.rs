//! A coordinator that ends in good order, and what it won't begin.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use buttress::{
    BoxError,
    saga::{
        Call, Coordinator, CoordinatorBuilder, CoordinatorConfig, Kind, Saga, SagaError,
        journal::{Entry, Filter, Lookup, MemoryJournal, Record, SagaRow, State},
    },
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tower::service_fn;

use super::{
    cancel::drop_after,
    course::step,
    journal::Folder,
    world::{TAKE_BACK, TELL, TakeBack, World},
};

const REST: Duration = Duration::from_secs(3600);

fn sagas(journal: &MemoryJournal) -> Vec<SagaRow> {
    journal.clone().list(&Filter { state: None, name: None, before: None, limit: 100 }).unwrap()
}

fn records(journal: &MemoryJournal) -> Vec<Record> {
    let id = sagas(journal)[0].id;
    journal.clone().records(id).unwrap()
}

/// A saga that failed, and whose undos don't work.
async fn stuck(coordinator: &Coordinator, world: &World) {
    world.fail_undos(u32::MAX);
    let inner = world.clone();
    let ended: Result<(), SagaError> = coordinator
        .scope("place-order", async move |saga: Saga| {
            step(&saga, &inner, "reserve").await?;
            step(&saga, &inner, "no name").await
        })
        .await;
    ended.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn what_a_drained_coordinator_left_is_taken_over_within_100_ms_of_the_next_look() {
    let (journal, world) = (MemoryJournal::new(), World::default());
    let coordinator = world.register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
    stuck(&coordinator, &world).await;
    sleep(Duration::from_secs(30)).await;
    let began = Instant::now();
    assert!(coordinator.drain(REST).await.unwrap().in_time, "an undo that waits isn't waited for");
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
    world.fail_undos(0);
    let _next = world.register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(world.log(), ["do reserve", "undo reserve"]);
}

/// How long after a drain the first undo was begun by a coordinator that was there all the time.
async fn taken_over_after(make: fn(MemoryJournal) -> CoordinatorBuilder) -> Duration {
    let (journal, world, other) = (MemoryJournal::new(), World::default(), World::default());
    let coordinator = world.register(make(journal.clone())).start().await.unwrap();
    stuck(&coordinator, &world).await;
    let _other = other.register(make(journal.clone())).start().await.unwrap();
    // Its undo was tried, and waits.
    while sagas(&journal)[0].wake_at.is_none() {
        sleep(Duration::from_millis(1)).await;
    }
    coordinator.drain(REST).await.unwrap();
    let began = Instant::now();
    while other.log().is_empty() {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(other.log(), ["undo reserve"]);
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn what_a_drained_coordinator_left_is_taken_over_within_100_ms_by_one_that_is_running() {
    for _ in 0..20 {
        let after = taken_over_after(Coordinator::with_inline_journal).await;
        assert!(after <= Duration::from_millis(100), "{after:?}");
        // At another moment of its rounds.
        sleep(Duration::from_millis(fastrand::u64(..1000))).await;
    }
}

/// Measured, for threads don't go by paused time; the median, for the machine may be busy.
async fn median(mut measure: impl AsyncFnMut() -> Duration) -> Duration {
    let mut took = Vec::new();
    for _ in 0..9 {
        took.push(measure().await);
    }
    took.sort();
    println!("{took:?}");
    took[4]
}

#[tokio::test]
async fn what_a_drained_coordinator_left_is_taken_over_as_soon_from_a_journal_on_threads() {
    let after = median(async || taken_over_after(Coordinator::with_journal).await).await;
    assert!(after <= Duration::from_millis(100), "{after:?}");
}

#[tokio::test]
async fn what_a_drained_coordinator_left_in_a_file_is_undone_within_100_ms_by_the_next_one() {
    let after = median(async || {
        let (folder, world, other) = (Folder::new(), World::default(), World::default());
        let coordinator = world.register(Coordinator::sqlite(folder.file())).start().await.unwrap();
        stuck(&coordinator, &world).await;
        coordinator.drain(REST).await.unwrap();
        let began = Instant::now();
        let _next = other.register(Coordinator::sqlite(folder.file())).start().await.unwrap();
        while other.log().is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
        began.elapsed()
    });
    let after = after.await;
    assert!(after <= Duration::from_millis(100), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_waits_while_coordinators_are_replaced_in_good_order_is_not_parked_for_it() {
    let (journal, world) = (MemoryJournal::new(), World::default());
    let first = world.register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
    stuck(&first, &world).await;
    first.drain(REST).await.unwrap();
    for _ in 0..6 {
        let next = world.register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
        sleep(Duration::from_secs(5)).await;
        next.drain(REST).await.unwrap();
    }
    world.fail_undos(0);
    let _last = world.register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.log(), ["do reserve", "undo reserve"]);
}

#[tokio::test]
async fn an_operator_who_hangs_up_at_any_moment_leaves_no_saga_that_nobody_works_on() {
    for polls in 0..40 {
        let (journal, world) = (MemoryJournal::new(), World::default());
        let mut config = CoordinatorConfig::default();
        config.undo_attempts = 1;
        let builder = world.register(Coordinator::with_journal(journal.clone())).config(config);
        let coordinator = builder.start().await.unwrap();
        stuck(&coordinator, &world).await;
        while sagas(&journal)[0].state != State::Parked {
            tokio::task::yield_now().await;
        }
        world.fail_undos(0);
        let id = sagas(&journal)[0].id;
        drop_after(polls, coordinator.retry(id, None)).await;
        if polls > 0 {
            while sagas(&journal)[0].state != State::Undone {
                tokio::task::yield_now().await;
            }
            assert_eq!(world.log(), ["do reserve", "undo reserve"]);
        }
        coordinator.drain(REST).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn thousands_of_sagas_that_were_left_are_undone_a_few_at_a_time() {
    let (journal, world) = (MemoryJournal::new(), World::default());
    let first = world.register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
    for _ in 0..3000 {
        stuck(&first, &world).await;
    }
    first.drain(REST).await.unwrap();
    let at_once = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let counts = Arc::clone(&at_once);
    let undoer = service_fn(move |_: TakeBack| {
        let counts = Arc::clone(&counts);
        async move {
            let now = counts.0.fetch_add(1, SeqCst) + 1;
            counts.1.fetch_max(now, SeqCst);
            sleep(Duration::from_millis(10)).await;
            counts.0.fetch_sub(1, SeqCst);
            Ok::<_, BoxError>(())
        }
    });
    let began = Instant::now();
    let _next = Coordinator::with_inline_journal(journal.clone()).on(TAKE_BACK, undoer).start().await.unwrap();
    sleep(Duration::from_secs(10)).await;
    assert!(began.elapsed() < Duration::from_secs(11));
    let all = Filter { state: Some(State::Undone), name: None, before: None, limit: 10_000 };
    assert_eq!(journal.clone().list(&all).unwrap().len(), 3000);
    assert_eq!(at_once.1.load(SeqCst), 64);
}

#[tokio::test(start_paused = true)]
async fn a_drained_coordinator_begins_nothing_even_if_it_ran_out_of_time() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    let (inner, busy) = (world.clone(), coordinator.clone());
    tokio::spawn(async move {
        let handler = async move |saga: Saga| {
            step(&saga, &inner, "reserve").await?;
            pending().await
        };
        busy.scope::<(), SagaError, _>("place-order", handler).await
    });
    sleep(Duration::from_secs(1)).await;
    assert!(!coordinator.drain(Duration::from_secs(1)).await.unwrap().in_time);
    let inner = world.clone();
    let another: Result<(), SagaError> =
        coordinator.scope("place-order", async move |saga: Saga| step(&saga, &inner, "charge").await).await;
    assert_eq!(another.unwrap_err().kind(), &Kind::Draining);
    assert_eq!(world.log(), ["do reserve"]);
}

#[tokio::test(start_paused = true)]
async fn draining_twice_is_as_good_as_once() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    for _ in 0..2 {
        let began = Instant::now();
        // The second may find the journal closed already.
        if let Ok(drained) = coordinator.drain(REST).await {
            assert!(drained.in_time);
        }
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn h7_an_undo_that_never_works_is_parked_and_the_others_go_on() {
    let (journal, world) = (MemoryJournal::new(), World::default());
    let mut config = CoordinatorConfig::default();
    config.undo_attempts = 3;
    let inner = world.clone();
    let undoer = service_fn(move |undo: TakeBack| {
        let world = inner.clone();
        async move {
            if undo.of.step().as_str() == "charge" {
                return Err::<(), BoxError>("never".into());
            }
            world.note(format!("undo {}", undo.of.step()));
            Ok(())
        }
    });
    let builder = Coordinator::with_inline_journal(journal.clone()).on(TAKE_BACK, undoer).config(config);
    let coordinator = builder.start().await.unwrap();
    let inner = world.clone();
    let ended: Result<(), SagaError> = coordinator
        .scope("place-order", async move |saga: Saga| {
            step(&saga, &inner, "reserve").await?;
            step(&saga, &inner, "charge").await?;
            step(&saga, &inner, "no name").await
        })
        .await;
    ended.unwrap_err();
    sleep(REST).await;
    assert_eq!(world.log(), ["do reserve", "do charge", "undo reserve"]);
    let row = &sagas(&journal)[0];
    assert_eq!((row.state.as_str(), &row.owner), ("parked", &None));
    let failed = records(&journal).iter().filter(|record| matches!(record.entry, Entry::Failed { .. })).count();
    assert_eq!(failed, 3);
    assert!(coordinator.drain(REST).await.unwrap().in_time);
}

#[derive(Serialize)]
struct Large(String);

#[tokio::test(start_paused = true)]
async fn h10_what_cannot_be_journaled_is_said_before_the_action_is_called() {
    const LARGE: Call<Large> = Call::new("world.take-back");
    const UNKNOWN: Call<()> = Call::new("world.unknown");
    let world = World::default();
    let mut config = CoordinatorConfig::default();
    config.step_limit = 3;
    let coordinator = world.coordinator().config(config).start().await.unwrap();
    let inner = world.clone();
    let ended: Result<(), SagaError> = coordinator
        .scope("place-order", async move |saga: Saga| {
            let large = saga.step("large").undo(LARGE, |_| Large("x".repeat(64 << 10)));
            let error = large.run(|key| inner.act(key)).await.unwrap_err();
            assert_eq!(error.kind(), &Kind::Invalid);
            let unknown = saga.step("unknown").undo(UNKNOWN, |_| ());
            assert_eq!(unknown.run(|key| inner.act(key)).await.unwrap_err().kind(), &Kind::Invalid);
            step(&saga, &inner, "third").await?;
            assert_eq!(step(&saga, &inner, "fourth").await.unwrap_err().kind(), &Kind::TooManySteps);
            Ok(())
        })
        .await;
    ended.unwrap();
    assert_eq!(world.log(), ["do third"]);
}

#[tokio::test(start_paused = true)]
async fn a_promise_that_cannot_be_made_makes_the_saga_fail() {
    const UNKNOWN: Call<()> = Call::new("world.unknown");
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    let inner = world.clone();
    let ended: Result<(), SagaError> = coordinator
        .scope("place-order", async move |saga: Saga| {
            saga.then(UNKNOWN, ());
            saga.then(TELL, "never".to_owned());
            step(&saga, &inner, "reserve").await
        })
        .await;
    assert_eq!(ended.unwrap_err().kind(), &Kind::Invalid);
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    assert_eq!(world.log(), ["do reserve", "undo reserve"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_failed_with_is_journaled_in_part_if_it_is_long() {
    let (journal, world) = (MemoryJournal::new(), World::default());
    let coordinator = world.register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
    let inner = world.clone();
    #[derive(Debug)]
    struct Long;
    impl std::fmt::Display for Long {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(&"ä".repeat(1 << 20))
        }
    }
    impl From<SagaError> for Long {
        fn from(_: SagaError) -> Self {
            Self
        }
    }
    let ended: Result<(), Long> = coordinator
        .scope("place-order", async move |saga: Saga| {
            step(&saga, &inner, "reserve").await?;
            Err(Long)
        })
        .await;
    ended.unwrap_err();
    let reasons = records(&journal).into_iter().filter_map(|record| match record.entry {
        Entry::Undo { reason } => Some(reason.len()),
        _ => None,
    });
    assert!(reasons.max().unwrap() <= 500);
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_panics_even_while_its_arguments_are_read_is_tried_again() {
    #[derive(Clone)]
    struct Explosive;
    impl<'de> Deserialize<'de> for Explosive {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            panic!("while the arguments are read")
        }
    }
    const EXPLOSIVE: Call<Explosive> = Call::new("world.take-back");
    const AS_WRITTEN: Call<u32> = Call::new("world.take-back");
    let journal = MemoryJournal::new();
    let undo = service_fn(async |_: Explosive| Ok::<_, BoxError>(()));
    let mut config = CoordinatorConfig::default();
    config.undo_attempts = 2;
    let builder = Coordinator::with_inline_journal(journal.clone()).on(EXPLOSIVE, undo).config(config);
    let coordinator = builder.start().await.unwrap();
    let ended: Result<(), SagaError> = coordinator
        .scope("place-order", async move |saga: Saga| {
            let step = saga.step("reserve").undo(AS_WRITTEN, |_| 7);
            step.run(async |_| Err::<(), BoxError>("no".into())).await
        })
        .await;
    ended.unwrap_err();
    sleep(REST).await;
    assert_eq!(sagas(&journal)[0].state.as_str(), "parked");
    assert!(coordinator.drain(REST).await.unwrap().in_time);
}
