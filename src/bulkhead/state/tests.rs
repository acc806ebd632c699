use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Wake, Waker},
};

use proptest::prelude::*;

use super::*;

const NO_BOUND: u32 = Gate::MOST;

fn counts(limit: u32, waiting: u32, inside: u32) -> Counts {
    Counts { limit, waiting, inside }
}

fn queue_up(gate: &Gate) -> Ticket {
    match gate.enter_or_wait(NO_BOUND) {
        Entry::Queued(ticket) => ticket,
        entry => panic!("expected to wait: {entry:?}"),
    }
}

#[derive(Default)]
struct CountWakes(AtomicUsize);

impl Wake for CountWakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Whether the holder of the ticket has been let in, asked by somebody who doesn't wait for the answer.
fn admitted(gate: &Gate, ticket: &Ticket) -> bool {
    gate.is_admitted(ticket, Waker::noop())
}

#[test]
fn lets_in_as_many_as_the_limit_says() {
    let gate = Gate::new(2);
    assert!(gate.try_enter());
    assert!(gate.try_enter());
    assert!(!gate.try_enter());
    gate.exit();
    assert!(gate.try_enter());
    assert_eq!(gate.counts(), counts(2, 0, 2));
}

#[test]
fn lets_in_first_who_came_first() {
    let gate = Gate::new(1);
    assert!(gate.try_enter());
    let (first, second, third) = (queue_up(&gate), queue_up(&gate), queue_up(&gate));
    assert!(!gate.leave(&second), "was still waiting");
    gate.exit();
    assert!(admitted(&gate, &first));
    assert!(!admitted(&gate, &third));
    gate.exit();
    assert!(admitted(&gate, &third));
    assert_eq!(gate.counts(), counts(1, 0, 1));
}

#[test]
fn nobody_overtakes_who_waits() {
    let gate = Gate::new(1);
    assert!(gate.try_enter());
    let first = queue_up(&gate);
    gate.exit();
    assert!(!gate.try_enter(), "the place was handed over, and is taken");
    let second = queue_up(&gate);
    assert!(admitted(&gate, &first));
    assert!(!admitted(&gate, &second));
}

#[test]
fn who_leaves_after_having_been_let_in_learns_that_it_has_a_place() {
    let gate = Gate::new(1);
    assert!(gate.try_enter());
    let ticket = queue_up(&gate);
    gate.exit();
    assert!(gate.leave(&ticket));
    assert_eq!(gate.counts(), counts(1, 0, 1));
    gate.exit();
    assert_eq!(gate.counts(), counts(1, 0, 0));
}

#[test]
fn wakes_the_last_waker_it_was_given_and_only_that() {
    let gate = Gate::new(1);
    assert!(gate.try_enter());
    let ticket = queue_up(&gate);
    let (earlier, later) = (Arc::new(CountWakes::default()), Arc::new(CountWakes::default()));
    assert!(!gate.is_admitted(&ticket, &earlier.clone().into()));
    assert!(!gate.is_admitted(&ticket, &later.clone().into()));
    gate.exit();
    assert_eq!((earlier.0.load(Relaxed), later.0.load(Relaxed)), (0, 1));
    assert_eq!(Arc::strong_count(&later), 1, "the waker has been let go");
}

#[test]
fn a_raised_limit_lets_in_as_many_as_it_has_room_for() {
    let gate = Gate::new(1);
    assert!(gate.try_enter());
    let tickets = [queue_up(&gate), queue_up(&gate), queue_up(&gate)];
    gate.set_limit(3);
    gate.hand_over();
    assert_eq!(tickets.map(|ticket| admitted(&gate, &ticket)), [true, true, false]);
    assert_eq!(gate.counts(), counts(3, 1, 3));
}

#[test]
fn a_lowered_limit_puts_nobody_out() {
    let gate = Gate::new(3);
    assert!((0..3).all(|_| gate.try_enter()));
    let ticket = queue_up(&gate);
    gate.set_limit(1);
    gate.hand_over();
    assert_eq!(gate.counts(), counts(1, 1, 3));
    gate.exit();
    gate.exit();
    assert!(!admitted(&gate, &ticket), "one is inside, and no more may be");
    gate.exit();
    assert!(admitted(&gate, &ticket));
}

#[test]
fn the_largest_counts_do_not_run_into_each_other() {
    let gate = Gate::new(Gate::MOST);
    let word = Word(gate.load().0 + u64::from(Gate::MOST) * (Word::ONE_INSIDE + Word::ONE_WAITING));
    assert_eq!((word.limit(), word.waiting(), word.inside()), (Gate::MOST, Gate::MOST, Gate::MOST));
    let word = word.limited_to(1);
    assert_eq!((word.limit(), word.waiting(), word.inside()), (1, Gate::MOST, Gate::MOST));
}

#[test]
fn a_waker_that_drops_a_permit_of_the_same_gate_does_not_block() {
    struct Leaves {
        gate: Arc<Gate>,
        left: AtomicUsize,
    }
    impl Wake for Leaves {
        fn wake(self: Arc<Self>) {
            // As a task does that is dropped instead of run: it gives up the place it was just given.
            self.left.fetch_add(1, Relaxed);
            self.gate.exit();
        }
    }
    let gate = Arc::new(Gate::new(1));
    assert!(gate.try_enter());
    let leaves = Arc::new(Leaves { gate: gate.clone(), left: AtomicUsize::new(0) });
    for _ in 0..3 {
        let ticket = queue_up(&gate);
        assert!(!gate.is_admitted(&ticket, &leaves.clone().into()));
    }
    gate.exit();
    assert_eq!(leaves.left.load(Relaxed), 3);
    assert_eq!(gate.counts(), counts(1, 0, 0));
}

/// The same rules, slow and obvious.
#[derive(Debug, Default)]
struct Model {
    limit: usize,
    inside: usize,
    waiting: VecDeque<usize>,
    /// Let in, and has not noticed yet.
    admitted: Vec<usize>,
}

impl Model {
    fn try_enter(&mut self) -> bool {
        let open = self.waiting.is_empty() && self.inside < self.limit;
        self.inside += usize::from(open);
        open
    }

    fn hand_over(&mut self) {
        while self.inside < self.limit
            && let Some(first) = self.waiting.pop_front()
        {
            self.inside += 1;
            self.admitted.push(first);
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    TryEnter,
    EnterOrWait {
        max_queue: u32,
    },
    Exit,
    /// Somebody among those who have a ticket leaves.
    Leave(prop::sample::Index),
    SetLimit(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::TryEnter),
        5 => (1..8u32).prop_map(|max_queue| Step::EnterOrWait { max_queue }),
        4 => Just(Step::Exit),
        2 => any::<prop::sample::Index>().prop_map(Step::Leave),
        1 => (1..6u32).prop_map(Step::SetLimit),
    ]
}

proptest! {
    #[test]
    fn does_what_the_obvious_model_does(limit in 1..5u32, steps in prop::collection::vec(step(), 1..200)) {
        let gate = Gate::new(limit);
        let mut model = Model { limit: limit as usize, ..Model::default() };
        let mut tickets: Vec<(usize, Ticket)> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::TryEnter => prop_assert_eq!(gate.try_enter(), model.try_enter()),
                Step::EnterOrWait { max_queue } => match gate.enter_or_wait(max_queue) {
                    Entry::Admitted => prop_assert!(model.try_enter()),
                    Entry::Queued(ticket) => {
                        prop_assert!(!model.try_enter());
                        model.waiting.push_back(number);
                        tickets.push((number, ticket));
                        prop_assert!(model.waiting.len() <= max_queue as usize);
                    }
                    Entry::QueueFull => prop_assert!(model.waiting.len() >= max_queue as usize),
                },
                // Only who is inside and knows it can go out.
                Step::Exit if model.inside > model.admitted.len() => {
                    gate.exit();
                    model.inside -= 1;
                    model.hand_over();
                }
                Step::Exit => {}
                Step::Leave(_) if tickets.is_empty() => {}
                Step::Leave(index) => {
                    let (who, ticket) = tickets.swap_remove(index.index(tickets.len()));
                    let was_inside = gate.leave(&ticket);
                    prop_assert_eq!(was_inside, model.admitted.contains(&who));
                    model.waiting.retain(|other| *other != who);
                    model.admitted.retain(|other| *other != who);
                }
                Step::SetLimit(limit) => {
                    gate.set_limit(limit);
                    gate.hand_over();
                    model.limit = limit as usize;
                    model.hand_over();
                }
            }
            for (who, ticket) in &tickets {
                prop_assert_eq!(admitted(&gate, ticket), model.admitted.contains(who));
            }
            let Counts { limit, waiting, inside } = gate.counts();
            let seen = (limit as usize, waiting as usize, inside as usize);
            prop_assert_eq!(seen, (model.limit, model.waiting.len(), model.inside));
        }
    }
}
