//! Sagas that are data.

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use buttress::{
    BoxError,
    saga::{BeforePivot, Coordinator, Kind, SagaDefinition, StartError, journal::MemoryJournal},
    step::{StepContext, StepOutcome},
};
use serde::{Deserialize, Serialize};
use tower::{Service, ServiceExt, service_fn};

const REST: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Trip {
    to: String,
    seat: Option<u32>,
    room: Option<u32>,
}

/// What the services saw, and how they are to behave.
#[derive(Clone, Default)]
struct Seen {
    log: Arc<Mutex<Vec<String>>>,
    /// How often `confirm` fails before it works.
    confirm_fails: Arc<AtomicU32>,
    /// Whether `room` hangs.
    room_hangs: Arc<AtomicU32>,
}

impl Seen {
    fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    fn note(&self, what: &str) {
        let step = StepContext::current().expect("inside a step");
        self.log.lock().unwrap().push(format!("{what} {} {}", step.key().op(), step.key().number()));
    }

    fn service<T: Clone + Send + 'static>(
        &self,
        what: &'static str,
        gives: T,
    ) -> impl Service<String, Response = T, Error = BoxError, Future: Send> + Clone + Send + 'static {
        let seen = self.clone();
        service_fn(move |to: String| {
            let (seen, gives) = (seen.clone(), gives.clone());
            async move {
                if what == "room" && seen.room_hangs.load(Ordering::Relaxed) > 0 {
                    std::future::pending::<()>().await;
                }
                seen.note(&format!("{what} {to}"));
                Ok(gives)
            }
        })
    }

    fn confirm(&self) -> impl Service<(), Response = (), Error = BoxError, Future: Send> + Clone + Send + 'static {
        let seen = self.clone();
        service_fn(move |()| {
            let seen = seen.clone();
            async move {
                let left = seen.confirm_fails.load(Ordering::Relaxed);
                if left > 0 {
                    seen.confirm_fails.store(left - 1, Ordering::Relaxed);
                    return Err("not now".into());
                }
                seen.note("confirm");
                Ok(())
            }
        })
    }

    /// Book a seat, book a room, confirm, which decides, and tell.
    fn trip(&self) -> SagaDefinition<Trip, String> {
        SagaDefinition::new("book-trip", 1)
            .step("seat", self.service("seat", 4), |trip: &Trip| trip.to.clone(), |trip, seat| trip.seat = Some(seat))
            .undo(self.service("unseat", ()))
            .step("room", self.service("room", 7), |trip: &Trip| trip.to.clone(), |trip, room| trip.room = Some(room))
            .undo(self.service("unroom", ()))
            .step("confirm", self.confirm(), |_| (), |_, ()| {})
            .pivot()
            .step("tell", self.service("tell", ()), |trip: &Trip| trip.to.clone(), |_, ()| {})
    }
}

fn graz() -> Trip {
    Trip { to: "Graz".to_owned(), ..Trip::default() }
}

/// Runs `life` for `within` as a process of its own would, and then that process dies: all its tasks are gone.
fn one_life<F: Future<Output = ()>>(within: Duration, life: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async move {
        let _ = tokio::time::timeout(within, life()).await;
    });
}

#[tokio::test(start_paused = true)]
async fn its_steps_are_carried_out_in_order_and_it_gives_the_state_at_the_end() {
    let seen = Seen::default();
    let trip = seen.trip();
    let coordinator = Coordinator::in_memory().define(&trip).start().await.unwrap();
    let booked = coordinator.serve(&trip).oneshot(graz()).await.unwrap();
    assert_eq!(booked, Trip { seat: Some(4), room: Some(7), ..graz() });
    assert_eq!(seen.log(), ["seat Graz act 0", "room Graz act 1", "confirm act 2", "tell Graz act 3"]);
    assert!(coordinator.drain(REST).await.unwrap().in_time);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_fails_before_the_pivot_undoes_those_before_it_in_reverse() {
    let seen = Seen::default();
    let trip = SagaDefinition::new("book-trip", 1)
        .step("seat", seen.service("seat", 4), |trip: &Trip| trip.to.clone(), |trip, seat| trip.seat = Some(seat))
        .undo(seen.service("unseat", ()))
        .step("room", seen.service("room", 7), |trip: &Trip| trip.to.clone(), |trip, room| trip.room = Some(room))
        .undo_with(seen.service("unroom", ()), |trip, key| format!("{} {}", trip.to, key.number()))
        .step("pay", service_fn(async |()| Err::<(), _>(BoxError::from("no money"))), |_| (), |_, ()| {});
    let coordinator = Coordinator::in_memory().define(&trip).start().await.unwrap();
    let error = coordinator.serve(&trip).oneshot(graz()).await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Step { step, .. } if step.as_str() == "pay"), "{error:?}");
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    assert_eq!(seen.log(), ["seat Graz act 0", "room Graz act 1", "unroom Graz 1 undo 1", "unseat Graz undo 0"]);
}

#[tokio::test(start_paused = true)]
async fn the_pivot_and_what_follows_it_are_tried_until_they_work() {
    let seen = Seen::default();
    seen.confirm_fails.store(7, Ordering::Relaxed);
    let trip = seen.trip();
    let coordinator = Coordinator::in_memory().define(&trip).start().await.unwrap();
    coordinator.serve(&trip).oneshot(graz()).await.unwrap();
    assert_eq!(seen.log(), ["seat Graz act 0", "room Graz act 1", "confirm act 2", "tell Graz act 3"]);
}

#[tokio::test(start_paused = true)]
async fn a_pivot_that_never_answers_is_parked_and_nothing_is_undone() {
    let seen = Seen::default();
    seen.confirm_fails.store(u32::MAX, Ordering::Relaxed);
    let trip = seen.trip();
    let coordinator = Coordinator::in_memory().define(&trip).start().await.unwrap();
    let error = coordinator.serve(&trip).oneshot(graz()).await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Parked { step } if step.as_str() == "confirm"), "{error:?}");
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    assert_eq!(seen.log(), ["seat Graz act 0", "room Graz act 1"]);
}

/// A trip whose pivot's attempts come to this, one after the other, and from then on to the last of it.
fn decided_by(seen: &Seen, attempts: &'static [StepOutcome]) -> SagaDefinition<Trip, String> {
    let made = Arc::new(AtomicU32::new(0));
    let confirm = service_fn(move |()| {
        let nth = made.fetch_add(1, Ordering::Relaxed) as usize;
        let outcome = attempts.get(nth).or(attempts.last()).copied();
        async move {
            match outcome {
                Some(StepOutcome::Done) => Ok(()),
                Some(outcome) => {
                    StepContext::current().expect("inside a step").note(outcome);
                    Err(BoxError::from("it didn't work"))
                }
                None => Err("never asked".into()),
            }
        }
    });
    SagaDefinition::new("book-trip", 1)
        .step("seat", seen.service("seat", 4), |trip: &Trip| trip.to.clone(), |trip, seat| trip.seat = Some(seat))
        .undo(seen.service("unseat", ()))
        .step("confirm", confirm, |_| (), |_, ()| {})
        .pivot()
        .step("tell", seen.service("tell", ()), |trip: &Trip| trip.to.clone(), |_, ()| {})
}

#[tokio::test(start_paused = true)]
async fn a_pivot_is_refused_only_if_no_attempt_may_have_happened() {
    use StepOutcome::{Done, Refused, Unknown};
    async fn outcome_of(attempts: &'static [StepOutcome]) -> (Result<(), Kind>, Vec<String>) {
        let seen = Seen::default();
        let trip = decided_by(&seen, attempts);
        let coordinator = Coordinator::in_memory().define(&trip).start().await.unwrap();
        let ended = coordinator.serve(&trip).oneshot(graz()).await;
        assert!(coordinator.drain(REST).await.unwrap().in_time);
        (ended.map(drop).map_err(|error| error.kind().clone()), seen.log())
    }
    let (ended, log) = outcome_of(&[Refused]).await;
    assert!(matches!(ended, Err(Kind::Step { outcome: Refused, .. })), "{ended:?}");
    assert_eq!(log, ["seat Graz act 0", "unseat Graz undo 0"]);

    let (ended, log) = outcome_of(&[Unknown, Refused]).await;
    assert!(matches!(ended, Err(Kind::Parked { .. })), "{ended:?}");
    assert_eq!(log, ["seat Graz act 0"], "whether it happened is for somebody to find out");

    let (ended, log) = outcome_of(&[Unknown, Refused, Done]).await;
    assert_eq!(ended, Ok(()));
    assert_eq!(log, ["seat Graz act 0", "tell Graz act 2"]);
}

#[tokio::test(start_paused = true)]
async fn steps_together_run_side_by_side_and_are_all_undone_if_one_fails() {
    let seen = Seen::default();
    let both = Arc::new(tokio::sync::Barrier::new(2));
    let meet = {
        let both = Arc::clone(&both);
        service_fn(move |to: String| {
            let both = Arc::clone(&both);
            async move {
                both.wait().await;
                if to == "nowhere" { Err(BoxError::from("unknown")) } else { Ok(1) }
            }
        })
    };
    let trip = SagaDefinition::new("book-trip", 1).together(|steps| {
        steps
            .step("seat", meet.clone(), |trip: &Trip| trip.to.clone(), |trip, seat| trip.seat = Some(seat))
            .undo(seen.service("unseat", ()))
            .step("room", meet, |_: &Trip| "Graz".to_owned(), |trip, room| trip.room = Some(room))
            .undo(seen.service("unroom", ()))
    });
    let coordinator = Coordinator::in_memory().define(&trip).start().await.unwrap();
    let booked = coordinator.serve(&trip).oneshot(graz()).await.unwrap();
    assert_eq!((booked.seat, booked.room), (Some(1), Some(1)));
    let nowhere = Trip { to: "nowhere".to_owned(), ..Trip::default() };
    coordinator.serve(&trip).oneshot(nowhere).await.unwrap_err();
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    let mut undone = seen.log();
    undone.sort();
    assert_eq!(undone, ["unroom Graz undo 1", "unseat nowhere undo 0"]);
}

#[test]
fn before_the_pivot_a_crash_undoes_or_resumes_as_the_definition_says() {
    for (policy, log) in [
        (BeforePivot::Undo, ["seat Graz act 0", "unroom Graz undo 1", "unseat Graz undo 0"].as_slice()),
        (BeforePivot::Resume, &["seat Graz act 0", "room Graz act 1", "confirm act 2", "tell Graz act 3"]),
    ] {
        let (seen, journal) = (Seen::default(), MemoryJournal::new());
        let trip = seen.trip().before_pivot(policy);
        seen.room_hangs.store(1, Ordering::Relaxed);
        one_life(Duration::from_secs(1), async || {
            let builder = Coordinator::with_inline_journal(journal.clone()).define(&trip);
            let coordinator = builder.start().await.unwrap();
            let _ = coordinator.serve(&trip).oneshot(graz()).await;
        });
        seen.room_hangs.store(0, Ordering::Relaxed);
        one_life(REST, async || {
            let builder = Coordinator::with_inline_journal(journal.clone()).define(&trip);
            let _coordinator = builder.start().await.unwrap();
            std::future::pending().await
        });
        assert_eq!(seen.log(), log, "{policy:?}");
    }
}

#[test]
fn a_saga_that_was_being_undone_goes_on_with_that_whatever_its_definition_says_of_resuming() {
    let (seen, journal) = (Seen::default(), MemoryJournal::new());
    let full = service_fn(async |_: String| Err::<(), _>(BoxError::from("full")));
    let slowly = {
        let seen = seen.clone();
        service_fn(move |to: String| {
            let seen = seen.clone();
            async move {
                tokio::time::sleep(Duration::from_secs(2)).await;
                seen.note(&format!("unseat {to}"));
                Ok::<_, BoxError>(())
            }
        })
    };
    let trip = SagaDefinition::new("book-trip", 1)
        .before_pivot(BeforePivot::Resume)
        .step("seat", seen.service("seat", 4), |trip: &Trip| trip.to.clone(), |trip, seat| trip.seat = Some(seat))
        .undo(slowly)
        .step("full", full, |trip: &Trip| trip.to.clone(), |_, ()| {});
    one_life(Duration::from_secs(1), async || {
        let coordinator = Coordinator::with_inline_journal(journal.clone()).define(&trip).start().await.unwrap();
        let _ = coordinator.serve(&trip).oneshot(graz()).await;
        std::future::pending().await
    });
    one_life(REST, async || {
        let _coordinator = Coordinator::with_inline_journal(journal.clone()).define(&trip).start().await.unwrap();
        std::future::pending().await
    });
    assert_eq!(seen.log(), ["seat Graz act 0", "unseat Graz undo 0"]);
}

#[test]
fn after_the_pivot_a_crash_goes_on_where_it_was() {
    let (seen, journal) = (Seen::default(), MemoryJournal::new());
    let trip = seen.trip();
    // The pivot may have happened, for it failed and nobody knows how: it can only be asked again.
    seen.confirm_fails.store(u32::MAX, Ordering::Relaxed);
    one_life(Duration::from_secs(5), async || {
        let coordinator = Coordinator::with_inline_journal(journal.clone()).define(&trip).start().await.unwrap();
        let _ = coordinator.serve(&trip).oneshot(graz()).await;
    });
    seen.confirm_fails.store(0, Ordering::Relaxed);
    one_life(REST, async || {
        let _coordinator = Coordinator::with_inline_journal(journal.clone()).define(&trip).start().await.unwrap();
        std::future::pending().await
    });
    assert_eq!(seen.log(), ["seat Graz act 0", "room Graz act 1", "confirm act 2", "tell Graz act 3"]);
}

#[test]
fn h9_a_definition_that_is_missing_at_the_start_is_named() {
    let (seen, journal) = (Seen::default(), MemoryJournal::new());
    let trip = seen.trip();
    seen.room_hangs.store(1, Ordering::Relaxed);
    one_life(Duration::from_secs(1), async || {
        let coordinator = Coordinator::with_inline_journal(journal.clone()).define(&trip).start().await.unwrap();
        let _ = coordinator.serve(&trip).oneshot(graz()).await;
    });
    one_life(REST, async || {
        let error = Coordinator::with_inline_journal(journal.clone()).start().await.unwrap_err();
        assert!(matches!(&error, StartError::Unregistered { .. }));
        let said = error.to_string();
        assert!(said.contains("call book-trip@1:seat") && said.contains("definition book-trip version 1"), "{said}");
    });
}

#[tokio::test]
async fn a_definition_that_makes_no_sense_is_refused_at_the_start() {
    let unit = service_fn(async |()| Ok::<_, BoxError>(()));
    let step = |definition: SagaDefinition<Trip, ()>| definition.step("one", unit, |_| (), |_, ()| {});
    for (definition, problem) in [
        (SagaDefinition::<Trip>::new("trip", 1), "has no step"),
        (step(SagaDefinition::new("a trip", 1)), "is no name"),
        (step(SagaDefinition::new("trip", 0)), "counted from 1"),
        (step(step(SagaDefinition::new("trip", 1))), "two steps called one"),
        (step(SagaDefinition::new("trip", 1).pivot()), "pivot comes after"),
        (step(SagaDefinition::new("trip", 1)).pivot().pivot(), "one pivot"),
    ] {
        let error = Coordinator::in_memory().define(&definition).start().await.unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

impl Seen {
    /// A part of a trip: seat and room, without anything that decides.
    fn stay(&self) -> SagaDefinition<Trip, String> {
        SagaDefinition::new("stay", 1)
            .step("seat", self.service("seat", 4), |trip: &Trip| trip.to.clone(), |trip, seat| trip.seat = Some(seat))
            .undo(self.service("unseat", ()))
            .step("room", self.service("room", 7), |trip: &Trip| trip.to.clone(), |trip, room| trip.room = Some(room))
            .undo(self.service("unroom", ()))
    }

    /// Go to Graz, and on to Wien.
    fn tour(&self) -> SagaDefinition<Vec<Trip>, ()> {
        let wien = |_: &Vec<Trip>| Trip { to: "Wien".to_owned(), ..Trip::default() };
        SagaDefinition::new("tour", 1)
            .nest("first", &self.stay(), |_| graz(), |tour: &mut Vec<Trip>, trip| tour.push(trip))
            .nest("second", &self.stay(), wien, |tour, trip| tour.push(trip))
            .step("confirm", self.confirm(), |_| (), |_, ()| {})
    }
}

#[tokio::test(start_paused = true)]
async fn a_saga_nested_in_another_is_done_and_undone_with_it() {
    let seen = Seen::default();
    let tour = seen.tour();
    let coordinator = Coordinator::in_memory().define(&tour).start().await.unwrap();
    let toured = coordinator.serve(&tour).oneshot(Vec::new()).await.unwrap();
    assert_eq!(toured.iter().map(|trip| trip.seat).collect::<Vec<_>>(), [Some(4), Some(4)]);
    let done = ["seat Graz act 0", "room Graz act 1", "seat Wien act 2", "room Wien act 3"];
    assert_eq!(seen.log()[..4], done);

    seen.log.lock().unwrap().clear();
    seen.confirm_fails.store(1, Ordering::Relaxed);
    coordinator.serve(&tour).oneshot(Vec::new()).await.unwrap_err();
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    let undone = ["unroom Wien undo 3", "unseat Wien undo 2", "unroom Graz undo 1", "unseat Graz undo 0"];
    assert_eq!(seen.log(), [done, undone].concat());
}

#[test]
fn a_nested_saga_goes_on_after_a_crash_where_it_was() {
    let (seen, journal) = (Seen::default(), MemoryJournal::new());
    let tour = seen.tour().before_pivot(BeforePivot::Resume);
    seen.room_hangs.store(1, Ordering::Relaxed);
    for within in [Duration::from_secs(1), REST] {
        one_life(within, async || {
            let coordinator = Coordinator::with_inline_journal(journal.clone()).define(&tour).start().await.unwrap();
            if within < REST {
                let _ = coordinator.serve(&tour).oneshot(Vec::new()).await;
            }
            std::future::pending().await
        });
        seen.room_hangs.store(0, Ordering::Relaxed);
    }
    let done = ["seat Graz act 0", "room Graz act 1", "seat Wien act 2", "room Wien act 3", "confirm act 4"];
    assert_eq!(seen.log(), done);
}

#[tokio::test(start_paused = true)]
async fn a_handler_nests_a_definition_beside_steps_of_its_own() {
    let seen = Seen::default();
    let (stay, trip) = (seen.stay(), seen.trip());
    let coordinator = Coordinator::in_memory().define(&stay).define(&trip).start().await.unwrap();
    let inner = seen.clone();
    let failed: Result<(), buttress::saga::SagaError> = coordinator
        .scope("holiday", async move |saga: buttress::saga::Saga| {
            let pack = async |_| {
                inner.note("pack");
                Ok::<_, BoxError>(())
            };
            saga.step("pack").run(pack).await?;
            let error = saga.nest(&trip, graz()).await.unwrap_err();
            assert!(error.to_string().contains("can't be journaled"), "{error}");
            assert_eq!(saga.nest(&stay, graz()).await?.room, Some(7));
            saga.step("go").run(async |_| Err::<(), BoxError>("rain".into())).await
        })
        .await;
    failed.unwrap_err();
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    let log = ["pack act 0", "seat Graz act 1", "room Graz act 2", "unroom Graz undo 2", "unseat Graz undo 1"];
    assert_eq!(seen.log(), log);
}

#[tokio::test(start_paused = true)]
async fn its_deadline_cuts_a_step_off_before_the_pivot_and_has_it_undone() {
    let seen = Seen::default();
    seen.room_hangs.store(1, Ordering::Relaxed);
    let trip = seen.trip().deadline(Duration::from_secs(2));
    let coordinator = Coordinator::in_memory().define(&trip).start().await.unwrap();
    let begun = tokio::time::Instant::now();
    let error = coordinator.serve(&trip).oneshot(graz()).await.unwrap_err();
    assert_eq!(error.kind(), &Kind::DeadlinePassed);
    assert_eq!(begun.elapsed().as_secs(), 2);
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    // Nothing hangs in an undo, though the room's own would have been.
    assert_eq!(seen.log(), ["seat Graz act 0", "unroom Graz undo 1", "unseat Graz undo 0"]);
}

#[tokio::test(start_paused = true)]
async fn its_deadline_neither_cuts_off_nor_undoes_what_comes_after_the_pivot() {
    let seen = Seen::default();
    seen.confirm_fails.store(6, Ordering::Relaxed);
    let trip = seen.trip().deadline(Duration::from_millis(1));
    let coordinator = Coordinator::in_memory().define(&trip).start().await.unwrap();
    coordinator.serve(&trip).oneshot(graz()).await.unwrap();
    assert_eq!(seen.log().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn h15_two_sagas_that_want_the_same_for_themselves_follow_one_another() {
    let at_work = Arc::new(AtomicU32::new(0));
    let one_at_a_time = {
        let at_work = Arc::clone(&at_work);
        service_fn(move |to: String| {
            let at_work = Arc::clone(&at_work);
            async move {
                assert_eq!(at_work.fetch_add(1, Ordering::SeqCst), 0, "{to}");
                tokio::time::sleep(Duration::from_secs(1)).await;
                at_work.fetch_sub(1, Ordering::SeqCst);
                Ok::<_, BoxError>(())
            }
        })
    };
    let trip = SagaDefinition::new("book-trip", 1)
        .step("go", one_at_a_time, |trip: &Trip| trip.to.clone(), |_, ()| {})
        .exclusive_by(|trip| Some(trip.to.clone()));
    let coordinator = Coordinator::in_memory().define(&trip).start().await.unwrap();
    let begun = tokio::time::Instant::now();
    let trips = (0..3).map(|_| coordinator.serve(&trip).oneshot(graz()));
    for done in futures_util::future::join_all(trips).await {
        done.unwrap();
    }
    assert_eq!(begun.elapsed().as_secs(), 3);

    let trips = (0..12).map(|_| coordinator.serve(&trip).oneshot(graz()));
    let done = futures_util::future::join_all(trips).await;
    let refused = done.iter().filter(|done| matches!(done, Err(error) if error.kind() == &Kind::Exclusive)).count();
    assert_eq!(refused, 2, "who waited for longer than ten seconds");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_panics_failed_and_is_undone() {
    let seen = Seen::default();
    let broken = service_fn(async |()| -> Result<(), BoxError> { panic!("of the service") });
    let trip = SagaDefinition::new("book-trip", 1)
        .step("seat", seen.service("seat", 4), |trip: &Trip| trip.to.clone(), |trip, seat| trip.seat = Some(seat))
        .undo(seen.service("unseat", ()))
        .step("pay", broken, |_| (), |_, ()| {});
    let coordinator = Coordinator::in_memory().define(&trip).start().await.unwrap();
    let error = coordinator.serve(&trip).oneshot(graz()).await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Step { step, .. } if step.as_str() == "pay"), "{error:?}");
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    assert_eq!(seen.log(), ["seat Graz act 0", "unseat Graz undo 0"]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_between_the_steps_goes_on_and_what_was_done_is_undone() {
    let seen = Seen::default();
    let trip = SagaDefinition::new("book-trip", 1)
        .step("seat", seen.service("seat", 4), |trip: &Trip| trip.to.clone(), |_, _| panic!("of the merge"))
        .undo(seen.service("unseat", ()));
    let coordinator = Coordinator::in_memory().define(&trip).start().await.unwrap();
    let served = tokio::spawn(coordinator.serve(&trip).oneshot(graz()));
    assert!(served.await.unwrap_err().is_panic());
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    assert_eq!(seen.log(), ["seat Graz act 0", "unseat Graz undo 0"]);
}
