//! The gate: who is inside, who waits, and who comes next.

mod word;

use std::{collections::BTreeMap, mem, task::Waker};

pub(crate) use self::word::Counts;
use self::word::Word;
use crate::sync::{AtomicU64, Mutex, Ordering, lock};

/// Lets at most `limit` in at once, and the others wait in the order in which they came.
///
/// Limit, waiting and inside are one word. To come in, or to go out while nobody waits, is one atomic operation on it;
/// only who waits takes the lock.
///
/// # Why no wake-up is lost, and nobody is let in twice
///
/// Every decision is a read-modify-write of the one word, and those have a single order. *Waiting* changes only under
/// the lock, together with the queue, so that under the lock the two agree.
///
/// - Who joins the queue does so in the same operation that finds no place free (or finds others waiting). A release
///   that comes later in the word's order sees the waiter, takes the lock, and so finds it in the queue; one that comes
///   earlier has been seen by the waiter.
/// - A place is free while somebody waits only after a release or a raised limit, and whoever did that hands places
///   over until the word says otherwise. Nobody else comes in meanwhile, because who comes in needs a word without
///   waiters.
/// - Who is in the queue waits, who is out of it has been let in: a waiter that leaves learns under the lock which of
///   the two it is, and in the second case has a place to give back.
///
/// Orderings: going out is `Release` and coming in `Acquire`, so that what a call did before it went out is seen by
/// whoever has its place next, as with any lock. Handing over is `Acquire` too, for the place may have been left by
/// another thread than the one that hands it over; the lock carries it on to the waiter. Nothing else is published
/// through the word.
#[derive(Debug)]
pub(crate) struct Gate {
    word: AtomicU64,
    queue: Mutex<Queue>,
}

/// Those who wait. Guarded by the gate's lock; as many as the gate's word says.
#[derive(Debug, Default)]
struct Queue {
    tickets_issued: u64,
    waiting: BTreeMap<Ticket, Waker>,
}

/// A place in the queue, higher for who came later. Whoever has it must [leave](Gate::leave) or learn that it has been
/// let in, once.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// How the gate took somebody who may wait.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Entry {
    /// Came in, and has a place to give back.
    Admitted,
    /// Waits.
    Queued(Ticket),
    /// Neither: the queue is full as well.
    QueueFull,
}

impl Gate {
    /// The most that each of limit, waiting and inside can count to.
    pub(crate) const MOST: u32 = Word::MASK as u32;

    pub(crate) fn new(limit: u32) -> Self {
        Self { word: AtomicU64::new(Word::with_limit(limit).0), queue: Mutex::default() }
    }

    /// Comes in if there is a place and nobody waits for it, and if there is nothing else to know about this gate.
    #[inline]
    pub(crate) fn try_enter(&self) -> bool {
        self.update(|word| word.is_plain_and_open().then(|| word.one_more_inside())).is_ok()
    }

    /// As [`try_enter`](Self::try_enter), at a gate whose calls are measured.
    pub(crate) fn try_enter_measured(&self) -> bool {
        self.update(|word| word.is_open().then(|| word.one_more_inside())).is_ok()
    }

    /// Whether calls are measured.
    pub(crate) fn is_measured(&self) -> bool {
        self.load().has(Word::MEASURED)
    }

    pub(crate) fn set_measured(&self, measured: bool) {
        let _ = self.update(|word| Some(word.marked(Word::MEASURED, measured)));
    }

    /// Comes in, or waits if fewer than `max_queue` do.
    pub(crate) fn enter_or_wait(&self, max_queue: u32) -> Entry {
        let step = |word: Word| {
            if word.is_open() {
                Some(word.one_more_inside())
            } else {
                (word.waiting() < max_queue).then(|| word.one_more_waiting())
            }
        };
        // A full queue is seen without the lock: just then there is much to refuse and no time for it.
        let word = self.load();
        if step(word).is_none() {
            return Entry::QueueFull;
        }
        let mut queue = lock(&self.queue);
        match self.update(step) {
            Err(_) => Entry::QueueFull,
            Ok((before, _)) if before.is_open() => Entry::Admitted,
            Ok(_) => Entry::Queued(queue.push()),
        }
    }

    /// Whether the holder of `ticket` has been let in; if not, `waker` is woken when it is.
    pub(crate) fn is_admitted(&self, ticket: &Ticket, waker: &Waker) -> bool {
        let mut queue = lock(&self.queue);
        let Some(current) = queue.waiting.get_mut(ticket) else {
            return true;
        };
        if !current.will_wake(waker) {
            let replaced = mem::replace(current, waker.clone());
            // Dropping a waker may drop a task, and the task a permit of this gate.
            drop(queue);
            drop(replaced);
        }
        false
    }

    /// Leaves the queue. True for who had been let in already: it has a place, to use or to give back.
    pub(crate) fn leave(&self, ticket: &Ticket) -> bool {
        let mut queue = lock(&self.queue);
        let waker = queue.waiting.remove(ticket);
        if waker.is_some() {
            self.word.fetch_sub(Word::ONE_WAITING, Ordering::Relaxed);
        }
        drop(queue);
        waker.is_none()
    }

    /// Goes out.
    #[inline]
    pub(crate) fn exit(&self) {
        let before = Word(self.word.fetch_sub(Word::ONE_INSIDE, Ordering::Release));
        if !before.is_plain() {
            self.hand_over();
        }
    }

    /// Changes the limit. Nobody inside is put out; follow with [`hand_over`](Self::hand_over), for a higher limit has
    /// room for some who wait.
    pub(crate) fn set_limit(&self, limit: u32) {
        let _ = self.update(|word| Some(word.limited_to(limit)));
    }

    /// Lets in who waits, first come first served, for as long as there is room.
    #[cold]
    pub(crate) fn hand_over(&self) {
        let mut word = self.load();
        while word.owes_a_place() {
            let first;
            (word, first) = self.admit_first();
            // Outside of the lock: waking may run or drop a task, and the task come in or go out.
            if let Some(waker) = first {
                waker.wake();
            }
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.load().counts()
    }

    fn admit_first(&self) -> (Word, Option<Waker>) {
        let mut queue = lock(&self.queue);
        match self.update(|word| word.owes_a_place().then(|| word.one_less_waiting().one_more_inside())) {
            Ok((_, word)) => (word, queue.waiting.pop_first().map(|(_, waker)| waker)),
            Err(word) => (word, None),
        }
    }

    fn load(&self) -> Word {
        Word(self.word.load(Ordering::Relaxed))
    }

    /// Replaces the word by what `step` makes of it: the words before and after, or the word that `step` left alone.
    #[inline]
    fn update(&self, step: impl Fn(Word) -> Option<Word>) -> Result<(Word, Word), Word> {
        let mut before = self.load();
        loop {
            let after = step(before).ok_or(before)?;
            match self.word.compare_exchange_weak(before.0, after.0, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Ok((before, after)),
                Err(current) => before = Word(current),
            }
        }
    }
}

// ===== impl Queue =====

impl Queue {
    fn push(&mut self) -> Ticket {
        let number = self.tickets_issued;
        self.tickets_issued += 1;
        // Whoever has the ticket brings its waker when it first asks.
        self.waiting.insert(Ticket(number), Waker::noop().clone());
        Ticket(number)
    }
}

#[cfg(all(test, buttress_loom))]
mod loom_tests;
#[cfg(all(test, not(buttress_loom)))]
mod tests;
