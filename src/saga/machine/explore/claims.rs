//! Which sagas are explored, and what may happen to each.
//!
//! A crash may come after every event, and a second one, after every event of the recovery too. Each test is a thread, so
//! what takes long is spread over several; what takes longest is ignored but by `just explore`, where the build is optimized.

use super::{PLANTED, Scenario, participant::Barrier, world::Left};
use crate::failpoint::Planted;

const CRASHES: Left = Left { crashes: 2, zombies: 0, failures: 1, setbacks: 0, actions: 0 };

fn each_survives<const N: usize>(scenarios: [(&[usize], usize, u8); N], like: &Scenario) {
    for (stages, promised, crashes) in scenarios {
        let left = Left { crashes, ..like.left };
        Scenario { stages: stages.to_vec(), promised, left, ..like.clone() }.holds();
    }
}

fn crashing() -> Scenario {
    Scenario { left: CRASHES, ..Scenario::of(&[]) }
}

#[test]
fn sequential_sagas_survive_two_crashes_anywhere() {
    let sagas: [(&[usize], _, _); _] = [
        (&[1], 0, 2),
        (&[1], 2, 2),
        (&[1], 1, 3),
        (&[1, 1], 1, 2),
        (&[1, 1], 1, 3),
        (&[1, 1, 1], 0, 2),
        (&[1, 1, 1], 2, 2),
        (&[1, 1, 1, 1], 0, 2),
        (&[1, 1, 1, 1], 1, 2),
    ];
    each_survives(sagas, &crashing());
}

#[test]
fn concurrent_steps_survive_two_crashes_anywhere_and_the_drop_of_one_of_them() {
    each_survives([(&[2], 0, 2), (&[2], 1, 2), (&[2, 1], 1, 2), (&[1, 2], 1, 2)], &crashing());
}

#[test]
fn four_steps_of_which_two_are_concurrent_survive_two_crashes_anywhere() {
    each_survives([(&[1, 2, 1], 0, 2), (&[2, 2], 0, 1)], &crashing());
}

#[test]
fn three_concurrent_steps_survive_a_crash_anywhere() {
    each_survives([(&[3], 0, 1)], &crashing());
}

#[test]
#[ignore = "takes minutes: just explore"]
fn many_concurrent_steps_survive_two_crashes_anywhere() {
    each_survives([(&[2, 2], 0, 2), (&[3], 0, 2), (&[1, 3], 0, 2)], &crashing());
}

#[test]
#[ignore = "takes minutes: just explore"]
fn sequential_sagas_survive_three_crashes_anywhere() {
    each_survives([(&[1, 1, 1], 2, 3), (&[1, 1, 1, 1], 1, 3), (&[2, 1], 1, 3), (&[1, 2, 1], 0, 3)], &crashing());
}

#[test]
fn a_handler_that_goes_on_without_a_step_commits_what_is_known_to_have_happened() {
    for barrier in [Barrier::On, Barrier::None] {
        let like = Scenario { goes_on_without: true, barrier, ..crashing() };
        each_survives([(&[1, 1], 1, 2), (&[2], 0, 2)], &like);
    }
}

#[test]
fn a_third_party_without_a_barrier_is_settled_before_its_steps_are_undone() {
    let like = Scenario { barrier: Barrier::None, ..crashing() };
    each_survives([(&[1], 1, 2), (&[1, 1], 1, 2), (&[1, 1, 1, 1], 0, 2), (&[2], 1, 2)], &like);
}

#[test]
fn undos_and_calls_that_do_not_work_are_tried_again_or_seen_to_by_an_operator() {
    let like = |setbacks, actions| Scenario { left: Left { setbacks, actions, ..CRASHES }, ..crashing() };
    each_survives([(&[1], 1, 2), (&[1, 1], 1, 2)], &like(1, 1));
    each_survives([(&[1], 1, 1), (&[1, 1], 1, 0), (&[2], 0, 0)], &like(2, 1));
    each_survives([(&[1], 1, 1)], &like(2, 2));
}

#[test]
fn a_saga_that_is_taken_over_too_often_is_parked_for_an_operator() {
    let like = Scenario { takeovers: 1, left: Left { actions: 1, ..CRASHES }, ..crashing() };
    each_survives([(&[1], 1, 3), (&[1, 1], 1, 3), (&[2], 0, 2)], &like);
}

#[test]
fn a_coordinator_that_goes_on_after_it_lost_its_saga_does_nothing_more() {
    let like = Scenario { left: Left { zombies: 1, ..CRASHES }, ..crashing() };
    each_survives([(&[1], 1, 2), (&[1, 1], 1, 1)], &like);
    let steady = Scenario { left: Left { failures: 0, ..like.left }, ..like };
    each_survives([(&[2], 0, 1)], &steady);
}

#[test]
fn definitions_go_on_or_back_wherever_they_were() {
    for goes_on in [false, true] {
        for (stages, pivot) in [
            (&[1, 1][..], Some(0)),
            (&[1, 1], Some(1)),
            (&[1, 1], None),
            (&[1, 1, 1], Some(1)),
            (&[1, 1, 1, 1], Some(2)),
        ] {
            let left = Left { actions: 1, ..CRASHES };
            let definition = Scenario { definition: true, goes_on, left, ..Scenario::of(stages) };
            Scenario { pivot, takeovers: 1, ..definition }.holds();
        }
    }
}

// A late attempt may happen after another was refused: not by what is behind a barrier, but on the way to it.
#[test]
fn a_pivot_that_was_refused_after_an_attempt_that_may_have_happened_decides_nothing() {
    for barrier in [Barrier::On, Barrier::None] {
        let left = Left { crashes: 1, failures: 3, ..CRASHES };
        Scenario { definition: true, pivot: Some(1), barrier, left, ..Scenario::of(&[1, 1]) }.holds();
    }
}

#[test]
fn definitions_with_concurrent_steps_go_on_or_back_wherever_they_were() {
    for (stages, pivot, goes_on) in [(&[2, 1][..], 1, false), (&[2, 1], 1, true), (&[1, 2], 0, false)] {
        let left = Left { crashes: if pivot == 0 { 1 } else { 2 }, ..CRASHES };
        Scenario { definition: true, pivot: Some(pivot), goes_on, left, ..Scenario::of(stages) }.holds();
    }
}

#[test]
#[ignore = "takes minutes: just explore"]
fn definitions_that_are_concurrent_after_their_pivot_survive_two_crashes_anywhere() {
    for goes_on in [false, true] {
        for (stages, pivot) in [(&[1, 2][..], 0), (&[1, 2, 1], 0), (&[2, 1, 1], 1)] {
            let definition = Scenario { definition: true, goes_on, left: CRASHES, ..Scenario::of(stages) };
            Scenario { pivot: Some(pivot), ..definition }.holds();
        }
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
