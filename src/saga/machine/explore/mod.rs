//! Every crash at every point, tried: a small world, and depth first through whatever could happen in it.
//!
//! What is chosen: which step fails and how, whether its action still arrives after that, where the coordinator dies and
//! what of its last writes came to the disk, where it dies again while it recovers, where it stands still and another takes
//! over, which undo doesn't work and for how long, what an operator does about it, and in which order what is under way
//! arrives. After each run nothing moves any more, and [what must be so](check) is checked.

mod check;
mod chooser;
mod participant;
mod script;
mod store;
mod world;

use std::{cell::Cell, panic::AssertUnwindSafe, time::Duration};

use self::{
    chooser::Chooser,
    participant::Barrier,
    world::{Left, World},
};
use super::Rules;
use crate::{
    backoff::{Backoff, Jitter},
    failpoint::Planted,
};

/// A saga, and what may happen to it.
#[derive(Debug, Clone)]
struct Scenario {
    /// How many steps run side by side, stage by stage.
    stages: Vec<usize>,
    /// Calls promised after the first stage.
    promised: usize,
    /// The handler may go on without a step that failed.
    goes_on_without: bool,
    definition: bool,
    pivot: Option<usize>,
    /// A definition goes on after a crash before its pivot.
    goes_on: bool,
    barrier: Barrier,
    /// A mistake: every epoch is sent as the first.
    epochless: bool,
    /// A mistake: the journal writes whoever holds the saga.
    unfenced: bool,
    takeovers: u32,
    left: Left,
}

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault(String);

fn wrong(what: impl Into<String>) -> Fault {
    Fault(what.into())
}

impl Scenario {
    fn of(stages: &[usize]) -> Self {
        Self {
            stages: stages.to_vec(),
            promised: 0,
            goes_on_without: false,
            definition: false,
            pivot: None,
            goes_on: false,
            barrier: Barrier::On,
            epochless: false,
            unfenced: false,
            takeovers: 10,
            left: Left::default(),
        }
    }

    fn rules(&self) -> Rules {
        Rules {
            attempts: 2,
            backoff: Backoff::exponential(Duration::from_millis(100)).jitter(Jitter::None),
            retention: Duration::from_secs(3600),
            steps: 100,
        }
    }

    /// Makes every run there is. Returns how many, or what was wrong in the first that went wrong, and how to see it again.
    fn explore(&self) -> Result<(u64, usize), (Fault, Vec<u8>)> {
        let mut chooser = Chooser::default();
        let mut runs = 0;
        loop {
            runs += 1;
            let run = std::panic::catch_unwind(AssertUnwindSafe(|| World::new(self, &mut chooser, false).run()));
            let run = run.unwrap_or_else(|panic| {
                let said = panic.downcast_ref::<String>().map(String::as_str);
                Err(wrong(format!("panicked: {:?}", said.or(panic.downcast_ref::<&str>().copied()))))
            });
            if let Err(fault) = run {
                return Err((fault, chooser.path()));
            }
            if !chooser.next_run() {
                return Ok((runs, chooser.states()));
            }
        }
    }

    #[track_caller]
    fn holds(&self) {
        let began = tokio::time::Instant::now();
        match self.explore() {
            Ok((runs, states)) => {
                let took = began.elapsed();
                println!("{runs} runs through {states} states in {took:?}: {self:?}");
            }
            Err((fault, path)) => {
                let mut chooser = Chooser::replay(&path);
                let mut world = World::new(self, &mut chooser, true);
                let _ = std::panic::catch_unwind(AssertUnwindSafe(|| world.run()));
                let log = world.take_log().join("\n");
                panic!("{}\n{self:?}\nchoices {path:?}:\n{log}\n{:#?}", fault.0, world.store.records)
            }
        }
    }
}

thread_local! {
    static PLANTED: Cell<Option<Planted>> = const { Cell::new(None) };
}

/// Whether the mistake is planted in this thread's machines.
pub(super) fn planted(mistake: Planted) -> bool {
    PLANTED.get().is_some_and(|planted| std::mem::discriminant(&planted) == std::mem::discriminant(&mistake))
}

const CRASHES: Left = Left { crashes: 2, zombies: 0, failures: 1, setbacks: 0, actions: 0 };
const CRASH: Left = Left { crashes: 1, ..CRASHES };

#[test]
fn sequential_sagas_survive_two_crashes_anywhere() {
    for (steps, promised, left) in [
        (1, 0, CRASHES),
        (1, 2, CRASHES),
        (2, 1, CRASHES),
        (3, 0, CRASHES),
        (3, 2, CRASH),
        (4, 0, CRASH),
        (4, 1, CRASH),
    ] {
        Scenario { promised, left, ..Scenario::of(&vec![1; steps]) }.holds();
    }
}

#[test]
fn concurrent_steps_survive_crashes_anywhere_and_the_drop_of_one_of_them() {
    for (stages, promised) in [(&[2][..], 1), (&[1, 2], 0), (&[2, 1], 0)] {
        Scenario { promised, left: CRASH, ..Scenario::of(stages) }.holds();
    }
}

#[test]
fn a_handler_that_goes_on_without_a_step_commits_what_is_known_to_have_happened() {
    for barrier in [Barrier::On, Barrier::None] {
        Scenario { goes_on_without: true, promised: 1, barrier, left: CRASH, ..Scenario::of(&[1, 1]) }.holds();
        Scenario { goes_on_without: true, barrier, left: CRASH, ..Scenario::of(&[2]) }.holds();
    }
}

#[test]
fn a_third_party_without_a_barrier_is_settled_before_its_steps_are_undone() {
    for (stages, left) in [(&[1][..], CRASHES), (&[1, 1], CRASHES), (&[2], CRASH)] {
        Scenario { barrier: Barrier::None, promised: 1, left, ..Scenario::of(stages) }.holds();
    }
}

#[test]
fn undos_and_calls_that_do_not_work_are_tried_again_or_seen_to_by_an_operator() {
    let left = |crashes| Left { crashes, setbacks: 2, actions: 1, ..CRASHES };
    for (stages, promised, crashes) in [(&[1][..], 1, 1), (&[1, 1], 1, 0), (&[2], 0, 0)] {
        Scenario { promised, left: left(crashes), ..Scenario::of(stages) }.holds();
    }
    let twice = Left { actions: 2, ..left(1) };
    Scenario { promised: 1, left: twice, ..Scenario::of(&[1]) }.holds();
}

#[test]
fn a_saga_that_is_taken_over_too_often_is_parked_for_an_operator() {
    for (stages, crashes) in [(&[1][..], 3), (&[1, 1], 2)] {
        let left = Left { crashes, actions: 1, ..CRASHES };
        Scenario { promised: 1, takeovers: 1, left, ..Scenario::of(stages) }.holds();
    }
}

#[test]
fn a_coordinator_that_goes_on_after_it_lost_its_saga_does_nothing_more() {
    for (stages, promised, crashes, failures) in [(&[1][..], 1, 1, 1), (&[1, 1], 1, 0, 1), (&[2], 0, 0, 0)] {
        let left = Left { crashes, failures, zombies: 1, ..CRASHES };
        Scenario { promised, left, ..Scenario::of(stages) }.holds();
    }
}

#[test]
fn definitions_go_on_or_back_wherever_they_were() {
    for goes_on in [false, true] {
        for (stages, pivot) in [(&[1, 1][..], Some(0)), (&[1, 1], Some(1)), (&[1, 1, 1], Some(1)), (&[1, 1], None)] {
            let left = Left { crashes: if stages.len() > 2 { 1 } else { 2 }, actions: 1, ..CRASHES };
            let definition = Scenario { definition: true, goes_on, left, ..Scenario::of(stages) };
            Scenario { pivot, takeovers: 1, ..definition.clone() }.holds();
        }
        let together = Scenario { definition: true, goes_on, left: CRASH, ..Scenario::of(&[2, 1]) };
        Scenario { pivot: Some(1), ..together }.holds();
    }
}

#[test]
fn every_planted_mistake_is_found() {
    let one = |left| Scenario { promised: 1, left, ..Scenario::of(&[1, 1]) };
    let crash = Left { crashes: 1, ..CRASHES };
    let zombie = Left { zombies: 1, crashes: 0, ..CRASHES };
    let in_machine = |mistake, scenario: Scenario| {
        PLANTED.set(Some(mistake));
        let explored = scenario.explore();
        PLANTED.set(None);
        (mistake, explored)
    };
    let in_world = |mistake, scenario: Scenario| (mistake, scenario.explore());
    for (mistake, explored) in [
        in_machine(Planted::IntentAfterAction, one(crash)),
        in_machine(Planted::UndoInForwardOrder, one(crash)),
        in_machine(Planted::UnknownTakenForRefused, one(Left { crashes: 0, ..crash })),
        in_world(Planted::BarrierOff, Scenario { barrier: Barrier::Off, ..one(crash) }),
        in_world(Planted::FenceOff, Scenario { unfenced: true, ..one(zombie) }),
        in_world(Planted::EpochNotSent, Scenario { epochless: true, ..one(zombie) }),
    ] {
        let (fault, path) = explored.err().unwrap_or_else(|| panic!("{mistake:?} is not found"));
        println!("{mistake:?}: {} (choices {path:?})", fault.0);
    }
    for sound in [one(crash), one(zombie)] {
        sound.holds();
    }
}
