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
use crate::priority::Priority;

const NO_BOUND: u32 = Gate::MOST;

fn now() -> Instant {
    Instant::now()
}

fn counts(limit: u32, waiting: u32, inside: u32) -> Counts {
    Counts { limit, waiting, inside }
}

fn queue_up(gate: &Gate) -> Ticket {
    match gate.enter_or_wait(NO_BOUND, Standing::default(), now()) {
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
    gate.ask(ticket, Waker::noop()) == Turn::Admitted
}

#[test]
fn lets_in_as_many_as_the_limit_says() {
    let gate = Gate::new(2);
    assert!(gate.try_enter());
    assert!(gate.try_enter());
    assert!(!gate.try_enter());
    gate.exit(now);
    assert!(gate.try_enter());
    assert_eq!(gate.counts(), counts(2, 0, 2));
}

#[test]
fn a_gate_retires_only_when_it_is_deserted_and_then_lets_nobody_in_by_any_way() {
    let gate = Gate::new(1);
    assert!(gate.try_enter());
    assert!(!gate.retire(), "somebody is inside");
    let ticket = queue_up(&gate);
    gate.exit(now);
    assert!(!gate.retire(), "somebody was let in, and doesn't know yet");
    assert!(admitted(&gate, &ticket));
    gate.exit(now);
    assert!(gate.retire() && gate.is_retired());

    let sheddable = Standing { priority: Priority::Sheddable, slot: 0 };
    let refuses = |gate: &Gate| {
        assert!(!gate.try_enter() && !gate.try_enter_measured());
        for standing in [Standing::default(), sheddable] {
            assert!(!gate.try_enter_sorted(standing, now()));
            assert_eq!(gate.enter_or_wait(NO_BOUND, standing, now()), Entry::Retired);
        }
    };
    refuses(&gate);
    // Whatever becomes of its settings.
    gate.set_limit(7);
    gate.set_measured(true);
    refuses(&gate);
    gate.set_rules(&BulkheadConfig { priorities: Some(Default::default()), ..BulkheadConfig::default() }).unwrap();
    gate.hand_over(now);
    refuses(&gate);
    assert_eq!(gate.counts(), counts(7, 0, 0));
}

#[test]
fn lets_in_first_who_came_first() {
    let gate = Gate::new(1);
    assert!(gate.try_enter());
    let (first, second, third) = (queue_up(&gate), queue_up(&gate), queue_up(&gate));
    assert_eq!(gate.leave(&second), Turn::Waiting);
    gate.exit(now);
    assert!(admitted(&gate, &first));
    assert!(!admitted(&gate, &third));
    gate.exit(now);
    assert!(admitted(&gate, &third));
    assert_eq!(gate.counts(), counts(1, 0, 1));
}

#[test]
fn nobody_overtakes_who_waits() {
    let gate = Gate::new(1);
    assert!(gate.try_enter());
    let first = queue_up(&gate);
    gate.exit(now);
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
    gate.exit(now);
    assert_eq!(gate.leave(&ticket), Turn::Admitted);
    assert_eq!(gate.counts(), counts(1, 0, 1));
    gate.exit(now);
    assert_eq!(gate.counts(), counts(1, 0, 0));
}

#[test]
fn wakes_the_last_waker_it_was_given_and_only_that() {
    let gate = Gate::new(1);
    assert!(gate.try_enter());
    let ticket = queue_up(&gate);
    let (earlier, later) = (Arc::new(CountWakes::default()), Arc::new(CountWakes::default()));
    assert!(gate.ask(&ticket, &earlier.clone().into()) == Turn::Waiting);
    assert!(gate.ask(&ticket, &later.clone().into()) == Turn::Waiting);
    gate.exit(now);
    assert_eq!((earlier.0.load(Relaxed), later.0.load(Relaxed)), (0, 1));
    assert_eq!(Arc::strong_count(&later), 1, "the waker has been let go");
}

#[test]
fn a_raised_limit_lets_in_as_many_as_it_has_room_for() {
    let gate = Gate::new(1);
    assert!(gate.try_enter());
    let tickets = [queue_up(&gate), queue_up(&gate), queue_up(&gate)];
    gate.set_limit(3);
    gate.hand_over(now);
    assert_eq!(tickets.map(|ticket| admitted(&gate, &ticket)), [true, true, false]);
    assert_eq!(gate.counts(), counts(3, 1, 3));
}

#[test]
fn a_lowered_limit_puts_nobody_out() {
    let gate = Gate::new(3);
    assert!((0..3).all(|_| gate.try_enter()));
    let ticket = queue_up(&gate);
    gate.set_limit(1);
    gate.hand_over(now);
    assert_eq!(gate.counts(), counts(1, 1, 3));
    gate.exit(now);
    gate.exit(now);
    assert!(!admitted(&gate, &ticket), "one is inside, and no more may be");
    gate.exit(now);
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
            self.gate.exit(now);
        }
    }
    let gate = Arc::new(Gate::new(1));
    assert!(gate.try_enter());
    let leaves = Arc::new(Leaves { gate: gate.clone(), left: AtomicUsize::new(0) });
    for _ in 0..3 {
        let ticket = queue_up(&gate);
        assert!(gate.ask(&ticket, &leaves.clone().into()) == Turn::Waiting);
    }
    gate.exit(now);
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
                Step::EnterOrWait { max_queue } => match gate.enter_or_wait(max_queue, Standing::default(), now()) {
                    Entry::Admitted => prop_assert!(model.try_enter()),
                    Entry::Queued(ticket) => {
                        prop_assert!(!model.try_enter());
                        model.waiting.push_back(number);
                        tickets.push((number, ticket));
                        prop_assert!(model.waiting.len() <= max_queue as usize);
                    }
                    Entry::QueueFull => prop_assert!(model.waiting.len() >= max_queue as usize),
                    Entry::Retired => prop_assert!(false, "it was never retired"),
                },
                // Only who is inside and knows it can go out.
                Step::Exit if model.inside > model.admitted.len() => {
                    gate.exit(now);
                    model.inside -= 1;
                    model.hand_over();
                }
                Step::Exit => {}
                Step::Leave(_) if tickets.is_empty() => {}
                Step::Leave(index) => {
                    let (who, ticket) = tickets.swap_remove(index.index(tickets.len()));
                    let was_inside = gate.leave(&ticket) == Turn::Admitted;
                    prop_assert_eq!(was_inside, model.admitted.contains(&who));
                    model.waiting.retain(|other| *other != who);
                    model.admitted.retain(|other| *other != who);
                }
                Step::SetLimit(limit) => {
                    gate.set_limit(limit);
                    gate.hand_over(now);
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

// ===== sorted =====

mod sorted {
    use std::time::Duration;

    use super::*;
    use crate::bulkhead::config::{Partition, QueueOrder};

    fn rules() -> BulkheadConfig {
        BulkheadConfig {
            priorities: Some(Default::default()),
            partitions: vec![Partition::new("a", 0.5), Partition::new("b", 0.25)],
            ..BulkheadConfig::default()
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Try(usize, u8),
        Join(usize, u8, u32),
        Exit(prop::sample::Index),
        Leave(prop::sample::Index),
        Limit(u32),
        Rules(u8),
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..4_usize, 0..3_u8).prop_map(|(class, slot)| Step::Try(class, slot)),
            6 => (0..4_usize, 0..3_u8, 1..8_u32).prop_map(|(class, slot, most)| Step::Join(class, slot, most)),
            6 => any::<prop::sample::Index>().prop_map(Step::Exit),
            2 => any::<prop::sample::Index>().prop_map(Step::Leave),
            1 => (1..12_u32).prop_map(Step::Limit),
            1 => (0..4_u8).prop_map(Step::Rules),
            3 => (0..2_000_u64).prop_map(Step::Pass),
        ]
    }

    /// What has become of those who waited: they come in, are turned away, or wait still.
    fn collect(gate: &Gate, waiting: &mut Vec<Ticket>, inside: &mut Vec<Option<u8>>) {
        waiting.retain(|ticket| match gate.ask(ticket, Waker::noop()) {
            Turn::Waiting => true,
            Turn::Admitted => {
                inside.push(Some(ticket.slot()));
                false
            }
            Turn::TurnedAway(_) => false,
        });
    }

    proptest! {
        #[test]
        fn nobody_is_lost_or_let_in_twice_and_nobody_waits_who_may_come_in(
            steps in prop::collection::vec(step(), 1..200),
        ) {
            let gate = Gate::new(8);
            gate.set_rules(&rules()).unwrap();
            let (mut now, mut limit) = (Instant::now(), 8);
            let (mut waiting, mut inside) = (Vec::new(), Vec::<Option<u8>>::new());
            for step in steps {
                let (before, room) = (inside.len(), limit as usize > inside.len());
                match step {
                    Step::Try(class, slot) => {
                        let standing = Standing { priority: Priority::ALL[class], slot };
                        if gate.try_enter() {
                            inside.push(None);
                        } else if gate.try_enter_sorted(standing, now) {
                            inside.push(Some(slot));
                        }
                        prop_assert!(room || inside.len() == before);
                    }
                    Step::Join(class, slot, most) => {
                        match gate.enter_or_wait(most, Standing { priority: Priority::ALL[class], slot }, now) {
                            Entry::Admitted => inside.push(Some(slot)),
                            Entry::Queued(ticket) => waiting.push(ticket),
                            Entry::QueueFull | Entry::Retired => {}
                        }
                        prop_assert!(room || inside.len() == before);
                    }
                    Step::Exit(_) if inside.is_empty() => {}
                    Step::Exit(index) => match inside.swap_remove(index.index(inside.len())) {
                        Some(slot) => gate.exit_counted(slot, || now),
                        None => gate.exit(|| now),
                    },
                    Step::Leave(_) if waiting.is_empty() => {}
                    Step::Leave(index) => {
                        let ticket: Ticket = waiting.swap_remove(index.index(waiting.len()));
                        prop_assert_eq!(gate.leave(&ticket), Turn::Waiting, "the others have been collected");
                        gate.hand_over(|| now);
                    }
                    Step::Limit(other) => {
                        limit = other;
                        gate.set_limit(other);
                        gate.hand_over(|| now);
                    }
                    Step::Rules(which) => {
                        let mut config = if which == 0 { BulkheadConfig::default() } else { rules() };
                        if which == 2 {
                            config.order = QueueOrder::adaptive_lifo();
                        }
                        if which == 3 {
                            config.partitions.pop();
                        }
                        gate.set_rules(&config).unwrap();
                        gate.hand_over(|| now);
                    }
                    Step::Pass(millis) => {
                        now += Duration::from_millis(millis);
                        gate.hand_over(|| now);
                    }
                }
                collect(&gate, &mut waiting, &mut inside);
                let counted = gate.counts();
                let seen = (counted.limit, counted.waiting as usize, counted.inside as usize);
                prop_assert_eq!(seen, (limit, waiting.len(), inside.len()));
                for (slot, compartment) in lock(&gate.queue).compartments.iter() {
                    let own = inside.iter().filter(|other| **other == Some(slot)).count();
                    prop_assert_eq!(compartment.inside as usize, own);
                }
                prop_assert!(lock(&gate.queue).first(counted).is_none(), "somebody waits who may come in");
            }
        }
    }
}
