//! H8: a saga that kills its coordinators is parked, and only that one.

use std::{future::pending, sync::Arc, time::Duration};

use buttress::{
    BoxError,
    saga::{
        Coordinator, CoordinatorBuilder, OperatorError, Saga, SagaError,
        journal::{
            ClaimScope, Entry, Filter, Journal, JournalError, Lookup, MemoryJournal, Needs, Record, SagaRow, State,
            Write, Written,
        },
    },
    step::SagaId,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use tower::service_fn;

use super::{
    recovery::{LEASE, process},
    world::{TAKE_BACK, TakeBack, World},
};

/// A journal that one coordinator has to itself, as a file is: what is in it is taken over at once.
#[derive(Clone, Default)]
pub(super) struct Alone(pub(super) MemoryJournal);

impl Journal for Alone {
    fn write(&mut self, batch: &[Write]) -> Result<Vec<Written>, JournalError> {
        self.0.write(batch)
    }

    fn reader(&self) -> Result<Box<dyn Lookup + Send>, JournalError> {
        self.0.reader()
    }

    fn is_exclusive(&self) -> bool {
        true
    }
}

impl Lookup for Alone {
    fn saga(&mut self, id: SagaId) -> Result<Option<SagaRow>, JournalError> {
        self.0.saga(id)
    }

    fn by_key(&mut self, scope_key: &str) -> Result<Option<SagaRow>, JournalError> {
        self.0.by_key(scope_key)
    }

    fn records(&mut self, id: SagaId) -> Result<Vec<Record>, JournalError> {
        self.0.records(id)
    }

    fn list(&mut self, filter: &Filter) -> Result<Vec<SagaRow>, JournalError> {
        self.0.list(filter)
    }

    fn needs(&mut self) -> Result<Needs, JournalError> {
        self.0.needs()
    }
}

impl Alone {
    fn rows(&self) -> Vec<SagaRow> {
        self.0.clone().list(&Filter { state: None, name: None, before: None, limit: 1000 }).unwrap()
    }

    pub(super) fn coordinator(&self) -> CoordinatorBuilder {
        Coordinator::with_inline_journal(self.clone())
    }

    fn are_at_rest(&self) -> bool {
        self.rows().iter().all(|row| row.state.is_final() || row.state == State::Parked)
    }

    async fn rest(&self) {
        let rest = async {
            while !self.are_at_rest() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(3600), rest).await.unwrap_or_else(|_| panic!("never at rest: {:?}", self.rows()));
    }

    /// What a process that died left: a saga for each name, which is that of its only step.
    fn leave(&self, steps: &[&'static str]) {
        self.leave_settling(steps, Duration::ZERO);
    }

    /// As that; what the steps do may arrive late by so much.
    fn leave_settling(&self, steps: &[&'static str], settle: Duration) {
        let world = World::default();
        process().block_on(async {
            let coordinator = world.register(self.coordinator()).start().await.unwrap();
            for name in steps {
                let (inner, coordinator, name) = (world.clone(), coordinator.clone(), *name);
                tokio::spawn(async move {
                    let handler = async move |saga: Saga| {
                        let step = saga.step(name).settle(settle).undo(TAKE_BACK, |key| TakeBack { of: key.clone() });
                        step.run(|key| inner.act(key)).await?;
                        pending().await
                    };
                    coordinator.scope::<(), SagaError, _>(name, handler).await
                });
                // One after the other, so that their ids are in this order.
                sleep(Duration::from_millis(5)).await;
            }
        });
        assert_eq!(self.rows().len(), steps.len());
    }

    /// As if so many coordinators had died of each.
    pub(super) fn accuse(&self, times: u32) {
        let claim = |row: &SagaRow| Write::Claim {
            owner: "dead".to_owned(),
            now: u64::MAX,
            lease_until: 0,
            scope: ClaimScope::One(row.id),
            limit: 1,
            most_takeovers: u32::MAX,
        };
        for _ in 0..times {
            self.0.clone().write(&self.rows().iter().map(claim).collect::<Vec<_>>()).unwrap();
        }
    }

    fn takeovers(&self) -> Vec<u32> {
        self.rows().iter().map(|row| row.takeovers).collect()
    }
}

/// Undoes with what `undo` says of the step's name.
fn undoer<F>(builder: CoordinatorBuilder, undo: impl Fn(String) -> F + Clone + Send + 'static) -> CoordinatorBuilder
where
    F: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    builder.on(TAKE_BACK, service_fn(move |args: TakeBack| undo(args.of.step().to_string())))
}

fn hangs(_: String) -> std::future::Pending<Result<(), BoxError>> {
    pending()
}

#[test]
fn h8_a_saga_whose_process_is_killed_again_and_again_for_another_reason_is_undone_and_not_parked() {
    let (journal, world) = (Alone::default(), World::default());
    journal.leave(&["reserve"]);
    for _ in 0..20 {
        process().block_on(async {
            let _next = undoer(journal.coordinator(), hangs).start().await.unwrap();
            sleep(Duration::from_millis(500)).await;
        });
    }
    process().block_on(async {
        let began = Instant::now();
        let _last = world.register(journal.coordinator()).start().await.unwrap();
        journal.rest().await;
        let took = began.elapsed();
        assert!(took >= LEASE && took <= LEASE + LEASE / 3, "it is tried when it was quiet for a lease, not {took:?}");
    });
    assert_eq!((journal.rows()[0].state, world.log()), (State::Undone, vec!["undo reserve".to_owned()]));
}

#[test]
fn h8_of_twenty_one_sagas_only_the_one_that_kills_its_coordinators_is_parked() {
    let journal = Alone::default();
    let mut names = vec!["reserve"; 21];
    names[9] = "poison";
    journal.leave(&names);
    let deaths = Arc::new(Notify::new());
    let mut died = 0;
    while !journal.are_at_rest() {
        assert!(died < 20, "{:?}", journal.takeovers());
        let kills = Arc::clone(&deaths);
        let undo = move |step: String| {
            let kills = Arc::clone(&kills);
            async move {
                if step == "poison" {
                    kills.notify_one();
                    pending::<()>().await;
                }
                // All of them are under way when it happens.
                sleep(Duration::from_millis(50)).await;
                Ok(())
            }
        };
        process().block_on(async {
            let _next = undoer(journal.coordinator(), undo).start().await.unwrap();
            tokio::select! {
                () = deaths.notified() => died += 1,
                () = journal.rest() => {}
            }
        });
    }
    let parked: Vec<SagaRow> = journal.rows().into_iter().filter(|row| row.state == State::Parked).collect();
    assert_eq!(parked.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["poison"]);
    assert_eq!(died, 3 + 2, "three times among the others, and twice alone");
    let undone = journal.rows().iter().filter(|row| row.state == State::Undone).count();
    assert_eq!(undone, 20);
    let records = journal.clone().records(parked[0].id).unwrap();
    let reason = records.iter().find_map(|record| match &record.entry {
        Entry::Parked { reason, .. } => Some(reason.as_str()),
        _ => None,
    });
    assert!(reason.unwrap().contains("alone"), "{reason:?}");
}

#[test]
fn h8_a_coordinator_that_ends_in_good_order_in_the_middle_of_a_trial_says_nothing_against_the_saga() {
    let (journal, world) = (Alone::default(), World::default());
    journal.leave(&["reserve"]);
    journal.accuse(4);
    for _ in 0..5 {
        process().block_on(async {
            let tried = Arc::new(Notify::new());
            let trying = Arc::clone(&tried);
            let undo = move |_| {
                trying.notify_one();
                pending()
            };
            let next = undoer(journal.coordinator(), undo).start().await.unwrap();
            timeout(LEASE * 3, tried.notified()).await.expect("it is tried again");
            next.drain(Duration::from_secs(1)).await.unwrap();
        });
        assert_eq!(journal.takeovers(), [5], "it is on trial");
    }
    process().block_on(async {
        let _last = world.register(journal.coordinator()).start().await.unwrap();
        journal.rest().await;
    });
    assert_eq!(world.log(), ["undo reserve"]);
}

#[test]
fn h8_whoever_hangs_for_a_lease_is_acquitted_and_the_next_one_is_tried() {
    let journal = Alone::default();
    journal.leave(&["reserve", "charge"]);
    journal.accuse(4);
    process().block_on(async {
        let _next = undoer(journal.coordinator(), hangs).start().await.unwrap();
        sleep(LEASE + LEASE / 2).await;
        assert_eq!(journal.takeovers(), [4, 5], "one at a time");
        sleep(LEASE).await;
        assert_eq!(journal.takeovers(), [5, 0]);
        sleep(LEASE).await;
        assert_eq!(journal.takeovers(), [0, 0]);
    });
}

#[test]
fn h8_suspects_whose_undos_fail_wait_without_holding_up_the_others() {
    let journal = Alone::default();
    journal.leave(&["reserve"; 50]);
    journal.accuse(4);
    process().block_on(async {
        let undo = |_| async { Err("not now".into()) };
        let _next = undoer(journal.coordinator(), undo).start().await.unwrap();
        sleep(LEASE + LEASE / 2).await;
        assert_eq!(journal.takeovers(), [0; 50]);
        assert!(journal.rows().iter().all(|row| row.wake_at.is_some()), "they wait, and it can be seen");
    });
}

#[test]
fn h8_suspects_that_settle_first_do_so_all_at_once_and_none_is_acquitted_before_it_was_tried() {
    let (journal, world) = (Alone::default(), World::default());
    journal.leave_settling(&["reserve"; 10], LEASE * 4);
    journal.accuse(4);
    process().block_on(async {
        let _next = world.register(journal.coordinator()).start().await.unwrap();
        sleep(LEASE * 4 - Duration::from_millis(100)).await;
        let (takeovers, mut expected) = (journal.takeovers(), vec![4; 10]);
        expected[9] = 5;
        assert_eq!((takeovers, world.log().len()), (expected, 0), "the oldest is on trial, and nothing was tried");
        sleep(LEASE / 5).await;
        assert!(journal.are_at_rest(), "{:?}", journal.takeovers());
    });
    assert_eq!(world.log().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn h8_a_suspect_that_waits_for_its_trial_is_nobody_elses() {
    let (journal, world) = (Alone::default(), World::default());
    std::thread::scope(|scope| drop(scope.spawn(|| journal.leave(&["reserve"]))));
    journal.accuse(4);
    let began = Instant::now();
    // Neither has the journal to itself.
    let shared = || world.register(Coordinator::with_inline_journal(journal.0.clone())).start();
    let one = shared().await.unwrap();
    let _other = shared().await.unwrap();
    sleep(LEASE - Duration::from_secs(1)).await;
    let row = journal.rows().remove(0);
    assert_eq!((row.takeovers, row.epoch), (4, 6), "one has it, and waits");
    let refused = one.retry(row.id, None).await.unwrap_err();
    assert!(matches!(refused, OperatorError::NotParked(_)), "{refused}");
    journal.rest().await;
    assert!(began.elapsed() <= LEASE + LEASE / 3, "{:?}", began.elapsed());
    assert_eq!(world.log(), ["undo reserve"]);
}
