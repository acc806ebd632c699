use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::Wake,
};

use proptest::prelude::*;

use super::*;
use crate::rate_limit::state::Pace;

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

fn woken() -> (Arc<Woken>, Waker) {
    let woken = Arc::new(Woken::default());
    (woken.clone(), woken.into())
}

fn queued(queue: &Queue, meter: &Meter, tokens: u32, now: u64) -> Ticket {
    match queue.join(meter, tokens, 1_000, u64::MAX, now) {
        Entry::Queued(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_leaves_takes_nothing_along_and_all_behind_move_up() {
    let (queue, meter) = (Queue::default(), Meter::new(Pace::new(10, 1)));
    meter.take(1, 0).unwrap();
    let [first, second, third] = [0; 3].map(|now| queued(&queue, &meter, 1, now));
    let (is_woken, waker) = woken();
    assert_eq!(queue.poll(&meter, first, 0, Waker::noop()), Err(Turn::In(10)));
    assert_eq!(queue.poll(&meter, second, 0, &waker), Err(Turn::AfterOthers));
    assert_eq!((queue.waiting(), queue.tokens()), (3, 3));
    assert_eq!(queue.join(&meter, 1, 1_000, 39, 0), Entry::Refused { after: 40, full: false });

    queue.leave(third);
    assert!(!is_woken.0.load(SeqCst));
    queue.leave(first);
    assert!(is_woken.0.load(SeqCst), "it is the first now");
    assert_eq!(queue.poll(&meter, second, 0, &waker), Err(Turn::In(10)));
    assert_eq!(queue.poll(&meter, second, 10, &waker), Ok(()));
    assert!(queue.is_empty() && queue.tokens() == 0);
}

#[test]
fn nobody_passes_those_who_wait() {
    let (queue, meter) = (Queue::default(), Meter::new(Pace::new(10, 2)));
    meter.take(2, 0).unwrap();
    let heavy = queued(&queue, &meter, 2, 0);
    // There is enough for a light one, which came later.
    let light = queued(&queue, &meter, 1, 10);
    assert_eq!(queue.poll(&meter, light, 15, Waker::noop()), Err(Turn::AfterOthers));
    assert_eq!(queue.poll(&meter, heavy, 20, Waker::noop()), Ok(()));
    assert_eq!(queue.poll(&meter, light, 20, Waker::noop()), Err(Turn::In(10)));
}

#[test]
fn a_full_queue_and_a_wait_too_long_are_refused_with_how_long_it_would_be() {
    let (queue, meter) = (Queue::default(), Meter::new(Pace::new(10, 1)));
    assert_eq!(queue.join(&meter, 1, 2, 20, 0), Entry::Admitted);
    assert_eq!(queue.join(&meter, 1, 2, 9, 0), Entry::Refused { after: 10, full: false });
    queued(&queue, &meter, 1, 0);
    queued(&queue, &meter, 1, 0);
    assert_eq!(queue.join(&meter, 1, 2, 1_000, 0), Entry::Refused { after: 30, full: true });
}

#[test]
fn one_that_a_lower_burst_has_made_too_heavy_is_told_so() {
    let (queue, meter) = (Queue::default(), Meter::new(Pace::new(10, 5)));
    meter.take(5, 0).unwrap();
    let heavy = queued(&queue, &meter, 5, 0);
    meter.change(Pace::new(10, 2), 0);
    assert_eq!(queue.poll(&meter, heavy, 0, Waker::noop()), Err(Turn::Never));
}

#[derive(Debug, Clone)]
enum Step {
    Join(u32),
    Leave(usize),
    Wait(u64),
}

proptest! {
    /// Whoever joins is served in its order, not before its tokens are there and never later than was said when it
    /// came.
    #[test]
    fn the_order_is_kept_and_so_is_what_was_said(
        burst in 3..8u32,
        steps in prop::collection::vec(prop_oneof![
            3 => (1..4u32).prop_map(Step::Join),
            1 => (0..8usize).prop_map(Step::Leave),
            4 => (0..300u64).prop_map(Step::Wait),
        ], 1..150),
    ) {
        let (queue, meter) = (Queue::default(), Meter::new(Pace::new(100, burst)));
        let mut now = 0;
        let mut line: VecDeque<(Ticket, u64, u32)> = VecDeque::new();
        let mut served = 0u64;
        for step in steps {
            match step {
                Step::Join(tokens) => {
                    let by = now + meter.wait(queue.tokens() + u64::from(tokens), now);
                    match queue.join(&meter, tokens, 1_000, u64::MAX, now) {
                        Entry::Admitted => { prop_assert!(line.is_empty()); served += u64::from(tokens) }
                        Entry::Queued(ticket) => line.push_back((ticket, by, tokens)),
                        Entry::Refused { .. } => prop_assert!(false, "refused"),
                    }
                }
                Step::Leave(nth) if nth < line.len() => queue.leave(line.remove(nth).unwrap().0),
                Step::Leave(_) => {}
                Step::Wait(nanos) => {
                    // As tasks do: the first sleeps for as long as it is told.
                    let until = now + nanos;
                    while let Some((ticket, by, tokens)) = line.front().copied() {
                        match queue.poll(&meter, ticket, now, Waker::noop()) {
                            Ok(()) => {
                                prop_assert!(now <= by, "{} is after {}", now, by);
                                served += u64::from(tokens);
                                line.pop_front();
                            }
                            Err(Turn::In(turn)) if now + turn <= until => now += turn,
                            Err(_) => break,
                        }
                    }
                    now = until;
                }
            }
            prop_assert!(served * 100 <= u64::from(burst) * 100 + now);
            prop_assert_eq!(queue.waiting() as usize, line.len());
            prop_assert_eq!(queue.tokens(), line.iter().map(|(_, _, tokens)| u64::from(*tokens)).sum::<u64>());
        }
    }
}
