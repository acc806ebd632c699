//! Who waits, and whose turn it is.

use std::{collections::BTreeMap, mem, task::Waker};

use crate::{
    rate_limit::state::{Meter, Short},
    sync::{AtomicU32, Mutex, Ordering, lock},
};

/// Those who wait for their turn, first come first served.
///
/// Only the first in the queue takes from the meter; when it has, or leaves, the next one is woken to find itself the
/// first. So nothing is promised to anybody ahead of time: who leaves takes nothing along, and all behind move up.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// How many wait, for calls that look whether they may pass. Changes under the lock only.
    ///
    /// Relaxed: a call that comes while somebody begins to wait may pass just before it or queue just behind it.
    waiting: AtomicU32,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    tickets_issued: u64,
    /// What all who wait want together.
    tokens: u64,
    places: BTreeMap<Ticket, Place>,
}

#[derive(Debug)]
struct Place {
    tokens: u32,
    waker: Waker,
}

/// A place in the queue, higher for who came later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// How somebody was taken who may wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Needn't wait.
    Admitted,
    /// Waits.
    Queued(Ticket),
    /// Would have to wait for longer than it may, or there is no place.
    Refused {
        /// How many nanoseconds it would have been.
        after: u64,
        /// There is no place.
        full: bool,
    },
}

impl Queue {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0
    }

    pub(super) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// What all who wait want together.
    pub(super) fn tokens(&self) -> u64 {
        // Not in the way of those who are refused because there is nothing left and nobody waits.
        if self.is_empty() { 0 } else { lock(&self.line).tokens }
    }

    /// Takes `tokens` now if nobody waits for some and there are enough, or waits if its turn comes within `longest`
    /// nanoseconds and fewer than `max_queue` others wait.
    pub(super) fn join(&self, meter: &Meter, tokens: u32, max_queue: u32, longest: u64, now: u64) -> Entry {
        let mut line = lock(&self.line);
        if line.places.is_empty() && meter.take(tokens, now).is_ok() {
            return Entry::Admitted;
        }
        let wait = meter.wait(line.tokens + u64::from(tokens), now);
        let full = line.places.len() >= max_queue as usize;
        if wait > longest || full {
            return Entry::Refused { after: wait, full: full && wait <= longest };
        }
        let ticket = line.push(tokens);
        self.note(&line);
        Entry::Queued(ticket)
    }

    /// Takes what the holder of `ticket` wants if it is its turn; otherwise, what it waits for. One that isn't the
    /// first is woken when it is.
    pub(super) fn poll(&self, meter: &Meter, ticket: Ticket, now: u64, waker: &Waker) -> Result<(), Turn> {
        let mut line = lock(&self.line);
        let is_first = line.places.first_key_value().is_some_and(|(first, _)| *first == ticket);
        let place = line.places.get_mut(&ticket).expect("polled after it was ready");
        let turn = if is_first {
            match meter.take(place.tokens, now) {
                Ok(()) => {
                    let next = line.remove(ticket);
                    self.note(&line);
                    drop(line);
                    wake(next);
                    return Ok(());
                }
                Err(Short::For(nanos)) => Turn::In(nanos),
                Err(Short::Forever) => Turn::Never,
            }
        } else {
            Turn::AfterOthers
        };
        if !place.waker.will_wake(waker) {
            let replaced = mem::replace(&mut place.waker, waker.clone());
            // Dropping a waker may drop a task, and the task a place in this queue.
            drop(line);
            drop(replaced);
        }
        Err(turn)
    }

    /// Leaves the queue. All behind move up.
    pub(super) fn leave(&self, ticket: Ticket) {
        let mut line = lock(&self.line);
        let next = line.remove(ticket);
        self.note(&line);
        drop(line);
        wake(next);
    }

    /// Lets the first look again: the pace has changed.
    pub(super) fn wake_first(&self) {
        let first = lock(&self.line).places.first_key_value().map(|(_, place)| place.waker.clone());
        wake(first);
    }

    fn note(&self, line: &Line) {
        self.waiting.store(line.places.len() as u32, Ordering::Relaxed);
    }
}

/// What somebody in the queue waits for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// So many nanoseconds, and it has to see to it itself.
    In(u64),
    /// Those before it; it is woken when it is the first.
    AfterOthers,
    /// Nothing any more: since the burst was lowered, it is too heavy.
    Never,
}

/// Not under the lock: waking may run or drop a task, and the task come here.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

// ===== impl Line =====

impl Line {
    fn push(&mut self, tokens: u32) -> Ticket {
        let ticket = Ticket(self.tickets_issued);
        self.tickets_issued += 1;
        self.tokens += u64::from(tokens);
        // Whoever has the ticket brings its waker when it first asks.
        self.places.insert(ticket, Place { tokens, waker: Waker::noop().clone() });
        ticket
    }

    /// Removes a place, and returns who is the first now if that is somebody else than before.
    fn remove(&mut self, ticket: Ticket) -> Option<Waker> {
        let first = self.places.first_key_value().map(|(first, _)| *first);
        self.tokens -= u64::from(self.places.remove(&ticket)?.tokens);
        if first != Some(ticket) {
            return None;
        }
        self.places.first_key_value().map(|(_, place)| place.waker.clone())
    }
}

#[cfg(all(test, buttress_loom))]
mod loom_tests;
#[cfg(all(test, not(buttress_loom)))]
mod tests;
