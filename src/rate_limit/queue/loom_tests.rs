//! Every order in which the threads' steps can fall, within loom's bounds.
//!
//! Who isn't the first sleeps until it is woken, so that a lost wake-up is a deadlock, which loom reports.

use std::{
    sync::Arc as StdArc,
    task::{Wake, Waker},
};

use loom::{
    sync::{Arc, Notify},
    thread,
};

use super::*;
use crate::rate_limit::state::Pace;

struct Alarm(Notify);

impl Wake for Alarm {
    fn wake(self: StdArc<Self>) {
        self.0.notify();
    }
}

struct Limit {
    queue: Queue,
    meter: Meter,
}

impl Limit {
    /// Empty at 0; a token every 10.
    fn used_up() -> Arc<Self> {
        let limit = Self { queue: Queue::default(), meter: Meter::new(Pace::new(10, 1)) };
        limit.meter.take(1, 0).unwrap();
        Arc::new(limit)
    }

    fn join(&self) -> Ticket {
        match self.queue.join(&self.meter, 1, 10, u64::MAX, 0) {
            Entry::Queued(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    /// Waits as a task does; the first has a timer, which here has always run out.
    fn await_turn(&self, ticket: Ticket) {
        let alarm = StdArc::new(Alarm(Notify::new()));
        let waker = Waker::from(alarm.clone());
        let mut now = 0;
        loop {
            match self.queue.poll(&self.meter, ticket, now, &waker) {
                Ok(()) => return,
                Err(Turn::In(nanos)) => now += nanos,
                Err(Turn::AfterOthers) => alarm.0.wait(),
                Err(Turn::Never) => panic!("not too heavy"),
            }
        }
    }
}

#[test]
fn who_is_served_wakes_the_next() {
    loom::model(|| {
        let limit = Limit::used_up();
        let (first, second) = (limit.join(), limit.join());
        let other = thread::spawn({
            let limit = limit.clone();
            move || limit.await_turn(second)
        });
        limit.await_turn(first);
        other.join().unwrap();
        assert!(limit.queue.is_empty());
    });
}

#[test]
fn who_leaves_wakes_the_next() {
    loom::model(|| {
        let limit = Limit::used_up();
        let (first, second) = (limit.join(), limit.join());
        let other = thread::spawn({
            let limit = limit.clone();
            move || limit.await_turn(second)
        });
        limit.queue.leave(first);
        other.join().unwrap();
        assert!(limit.queue.is_empty());
    });
}
