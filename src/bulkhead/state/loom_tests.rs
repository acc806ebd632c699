//! Every order in which the threads' steps can fall, within loom's bounds.
//!
//! A waiter sleeps until it is woken, so that a lost wake-up is a deadlock, which loom reports. `Inside` counts by its
//! own means: with more than one at once inside a gate of one, loom reports the access to its cell.

use std::{
    sync::Arc as StdArc,
    task::{Wake, Waker},
};

use loom::{
    cell::UnsafeCell,
    sync::{
        Arc, Notify,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use super::*;

fn now() -> Instant {
    Instant::now()
}

struct Alarm(Notify);

impl Wake for Alarm {
    fn wake(self: StdArc<Self>) {
        self.0.notify();
    }
}

/// A gate and what it guards.
struct Room {
    gate: Gate,
    /// Touched by who is inside a gate of one: loom sees to it that nobody else does, and that each sees what the one
    /// before did.
    treasure: UnsafeCell<usize>,
}

impl Room {
    fn new(limit: u32) -> Arc<Self> {
        Arc::new(Self { gate: Gate::new(limit), treasure: UnsafeCell::new(0) })
    }

    fn touch(&self) {
        self.treasure.with_mut(|_| ());
    }

    /// Waits as a task does: asks, sleeps until woken, asks again.
    fn await_turn(&self, ticket: &Ticket) {
        let alarm = StdArc::new(Alarm(Notify::new()));
        let waker = Waker::from(alarm.clone());
        while !(self.gate.ask(ticket, &waker) == Turn::Admitted) {
            alarm.0.wait();
        }
    }

    fn enter_and_leave(&self) {
        match self.gate.enter_or_wait(Gate::MOST, Standing::default(), now()) {
            Entry::Admitted => {}
            Entry::Queued(ticket) => self.await_turn(&ticket),
            Entry::QueueFull | Entry::Retired => unreachable!("there is no bound, and it is never retired"),
        }
        self.touch();
        self.gate.exit(now);
    }

    fn assert_empty(&self) {
        let Counts { waiting, inside, .. } = self.gate.counts();
        assert_eq!((waiting, inside), (0, 0));
        assert!(self.gate.try_enter(), "a place was lost");
        assert!(lock(&self.gate.queue).compartments.get(0).waiting() == 0);
    }
}

fn together<const N: usize>(room: &Arc<Room>, work: [fn(&Room); N]) {
    let (last, others) = work.split_last().expect("somebody does something");
    let threads: Vec<_> = others
        .iter()
        .map(|work| {
            let (room, work) = (room.clone(), *work);
            thread::spawn(move || work(&room))
        })
        .collect();
    last(room);
    threads.into_iter().for_each(|thread| thread.join().expect("the thread's own assertions hold"));
}

/// Bounded, because three threads have more orders than an afternoon; two are explored in full.
fn bounded(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn one_at_a_time_and_everybody_gets_a_turn() {
    loom::model(|| {
        let room = Room::new(1);
        together(&room, [Room::enter_and_leave, Room::enter_and_leave]);
        room.assert_empty();
    });
}

#[test]
fn one_at_a_time_and_all_three_get_a_turn() {
    bounded(|| {
        let room = Room::new(1);
        together(&room, [Room::enter_and_leave, Room::enter_and_leave, Room::enter_and_leave]);
        room.assert_empty();
    });
}

#[test]
fn never_more_inside_than_the_limit() {
    bounded(|| {
        let (room, inside) = (Room::new(2), Arc::new(AtomicUsize::new(0)));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (room, inside) = (room.clone(), inside.clone());
                thread::spawn(move || {
                    if room.gate.try_enter() {
                        assert!(inside.fetch_add(1, Relaxed) < 2);
                        inside.fetch_sub(1, Relaxed);
                        room.gate.exit(now);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        room.assert_empty();
    });
}

#[test]
fn nobody_overtakes_who_waits_not_even_while_a_place_is_handed_over() {
    loom::model(|| {
        let room = Room::new(1);
        assert!(room.gate.try_enter());
        let Entry::Queued(ticket) = room.gate.enter_or_wait(Gate::MOST, Standing::default(), now()) else {
            unreachable!("it is full")
        };
        let overtakes = {
            let room = room.clone();
            thread::spawn(move || assert!(!room.gate.try_enter(), "the place is promised"))
        };
        room.gate.exit(now);
        overtakes.join().unwrap();
        assert!(room.gate.ask(&ticket, Waker::noop()) == Turn::Admitted);
        room.gate.exit(now);
        room.assert_empty();
    });
}

#[test]
fn who_gives_up_at_the_moment_of_being_let_in_gives_the_place_back_once() {
    fn waits_a_little(room: &Room) {
        match room.gate.enter_or_wait(Gate::MOST, Standing::default(), now()) {
            Entry::Admitted => room.gate.exit(now),
            Entry::Queued(ticket) => {
                if room.gate.leave(&ticket) == Turn::Admitted {
                    room.touch();
                    room.gate.exit(now);
                }
            }
            Entry::QueueFull | Entry::Retired => unreachable!("there is no bound, and it is never retired"),
        }
    }
    bounded(|| {
        let room = Room::new(1);
        together(&room, [Room::enter_and_leave, waits_a_little, Room::enter_and_leave]);
        room.assert_empty();
    });
}

#[test]
fn a_raised_limit_wakes_who_waits_even_while_somebody_joins() {
    bounded(|| {
        let room = Room::new(1);
        // Goes out only after the other one was let in, by the raised limit alone.
        assert!(room.gate.try_enter());
        let waits = {
            let room = room.clone();
            thread::spawn(move || {
                if let Entry::Queued(ticket) = room.gate.enter_or_wait(Gate::MOST, Standing::default(), now()) {
                    room.await_turn(&ticket);
                }
                room.gate.exit(now);
            })
        };
        room.gate.set_limit(2);
        room.gate.hand_over(now);
        waits.join().unwrap();
        room.gate.exit(now);
        room.assert_empty();
    });
}

#[test]
fn a_limit_lowered_and_raised_while_others_come_and_go_leaves_nobody_behind() {
    fn changes_the_limit(room: &Room) {
        room.gate.set_limit(1);
        room.gate.hand_over(now);
        room.gate.set_limit(2);
        room.gate.hand_over(now);
    }
    fn comes_and_goes(room: &Room) {
        match room.gate.enter_or_wait(Gate::MOST, Standing::default(), now()) {
            Entry::Admitted => {}
            Entry::Queued(ticket) => room.await_turn(&ticket),
            Entry::QueueFull | Entry::Retired => unreachable!("there is no bound, and it is never retired"),
        }
        room.gate.exit(now);
    }
    bounded(|| {
        let room = Room::new(2);
        together(&room, [comes_and_goes, comes_and_goes, changes_the_limit]);
        room.assert_empty();
    });
}

#[test]
fn a_bounded_queue_is_never_longer_than_its_bound() {
    fn waits_if_there_is_room(room: &Room) {
        match room.gate.enter_or_wait(1, Standing::default(), now()) {
            Entry::Admitted => {}
            Entry::Queued(ticket) => room.await_turn(&ticket),
            Entry::QueueFull | Entry::Retired => return,
        }
        assert!(room.gate.counts().waiting <= 1);
        room.touch();
        room.gate.exit(now);
    }
    bounded(|| {
        let room = Room::new(1);
        together(&room, [waits_if_there_is_room; 3]);
        room.assert_empty();
    });
}

fn sorted() -> BulkheadConfig {
    BulkheadConfig { priorities: Some(Default::default()), ..BulkheadConfig::default() }
}

#[test]
fn a_gate_that_is_sorted_while_others_come_and_go_never_has_too_many_and_loses_no_place() {
    fn comes_as_it_finds_it(room: &Room) {
        let standing = Standing::default();
        if room.gate.try_enter() {
            room.touch();
            room.gate.exit(now);
        } else if room.gate.try_enter_sorted(standing, now()) {
            room.touch();
            room.gate.exit_counted(standing.slot, now);
        }
    }
    bounded(|| {
        let room = Room::new(1);
        together(
            &room,
            [comes_as_it_finds_it, comes_as_it_finds_it, |room| {
                room.gate.set_rules(&sorted()).unwrap();
                room.gate.hand_over(now);
                room.gate.set_rules(&BulkheadConfig::default()).unwrap();
                room.gate.hand_over(now);
            }],
        );
        room.assert_empty();
    });
}

#[test]
fn who_waits_while_the_gate_is_sorted_is_let_in() {
    bounded(|| {
        let room = Room::new(1);
        assert!(room.gate.try_enter());
        let waits = {
            let room = room.clone();
            thread::spawn(move || {
                if let Entry::Queued(ticket) = room.gate.enter_or_wait(Gate::MOST, Standing::default(), now()) {
                    room.await_turn(&ticket);
                }
                room.touch();
                room.gate.exit_counted(0, now);
            })
        };
        let sorts = {
            let room = room.clone();
            thread::spawn(move || {
                room.gate.set_rules(&sorted()).unwrap();
                room.gate.hand_over(now);
            })
        };
        room.gate.exit(now);
        waits.join().unwrap();
        sorts.join().unwrap();
        let _ = room.gate.set_rules(&BulkheadConfig::default());
        room.assert_empty();
    });
}

#[test]
fn who_comes_while_it_retires_is_inside_or_finds_it_retired() {
    fn comes(room: &Room) {
        if room.gate.try_enter() {
            room.touch();
            room.gate.exit(now);
        } else {
            match room.gate.enter_or_wait(Gate::MOST, Standing::default(), now()) {
                Entry::Admitted => {}
                Entry::Queued(ticket) => room.await_turn(&ticket),
                Entry::Retired => return assert!(room.gate.is_retired()),
                Entry::QueueFull => unreachable!("there is no bound"),
            }
            room.touch();
            room.gate.exit_counted(0, now);
        }
    }
    fn retires(room: &Room) {
        if room.gate.retire() {
            // Whoever was inside is seen to have gone, and nobody comes any more.
            room.touch();
        }
    }
    bounded(|| {
        let room = Room::new(1);
        together(&room, [comes, comes, retires]);
        let Counts { waiting, inside, .. } = room.gate.counts();
        assert_eq!((waiting, inside), (0, 0));
    });
}
