//! The gate: who is inside, who waits, and who comes next.

mod codel;
mod compartments;
mod queue;
mod ticket;
mod word;

use std::task::Waker;

use tokio::time::Instant;

use self::queue::Queue;
pub(crate) use self::word::Counts;
use self::word::Word;
pub(crate) use self::{
    compartments::{Compartment, KEPT_FOR},
    queue::Turn,
    ticket::{Entry, Standing, Ticket},
};
use crate::{
    bulkhead::{config::BulkheadConfig, snapshot::PartitionSnapshot},
    sync::{AtomicU64, Mutex, MutexGuard, Ordering, lock},
};

/// Lets at most `limit` in at once, and the others wait: in the order in which they came, or sorted.
///
/// Limit, waiting and inside are one word. To come in, or to go out while nobody waits, is one atomic operation on it;
/// only who waits takes the lock. At a sorted gate everybody does: it has more to look at than one word, and a mutex
/// around a small struct is as good as it gets. The word counts there too, so the limit is kept by the same operation,
/// and a gate can be sorted while calls are inside.
///
/// Who has come in by way of the lock is *counted* in its partition, and goes out by way of the lock. Who has come in
/// past it isn't.
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

impl Gate {
    /// The most that each of limit, waiting and inside can count to.
    #[cfg(test)]
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
        self.update(|word| (!word.has(Word::SORTED) && word.is_open()).then(|| word.one_more_inside())).is_ok()
    }

    /// Whether there is more to it than a limit and who came first.
    #[inline]
    pub(crate) fn is_marked(&self) -> bool {
        self.load().has(Word::MEASURED | Word::SORTED)
    }

    /// Whether calls are measured.
    pub(crate) fn is_measured(&self) -> bool {
        self.load().has(Word::MEASURED)
    }

    pub(crate) fn set_measured(&self, measured: bool) {
        let _ = self.update(|word| Some(word.marked(Word::MEASURED, measured)));
    }

    /// Whether everybody has to go by the lock.
    pub(crate) fn is_sorted(&self) -> bool {
        self.load().has(Word::SORTED)
    }

    /// Lets nobody in any more, if there is nobody inside and nobody waits; whether that is so.
    ///
    /// It is one operation on the word that says so: who comes at the same time is inside before it, and the gate stays as
    /// it is, or finds the gate retired.
    pub(crate) fn retire(&self) -> bool {
        self.update(|word| word.is_deserted().then(|| word.marked(Word::RETIRED, true))).is_ok()
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.load().has(Word::RETIRED)
    }

    /// Other rules for who comes next; follow with [`hand_over`](Self::hand_over).
    ///
    /// # Errors
    ///
    /// If too many partitions that are gone still have calls. Then nothing changes.
    pub(crate) fn set_rules(&self, config: &BulkheadConfig) -> Result<(), ()> {
        let mut queue = lock(&self.queue);
        queue.set_rules(config)?;
        // Under the lock, so that who has it knows by which rules it goes.
        let _ = self.update(|word| Some(word.marked(Word::SORTED, config.is_sorted())));
        Ok(())
    }

    /// The slot of the partition of this name.
    pub(crate) fn slot(&self, name: &str) -> u8 {
        lock(&self.queue).compartments.slot(name)
    }

    pub(crate) fn partitions(&self) -> Vec<PartitionSnapshot> {
        let queue = lock(&self.queue);
        let limit = self.counts().limit;
        queue.compartments.iter().map(|(_, compartment)| PartitionSnapshot::of(compartment, limit)).collect()
    }

    /// Comes in by way of the lock, if the rules allow it.
    pub(crate) fn try_enter_sorted(&self, standing: Standing, now: Instant) -> bool {
        let (mut queue, late) = self.queue_at(now);
        let enters = self.update(|word| queue.lets_in(standing, word).then(|| word.one_more_inside())).is_ok();
        queue.compartments.get_mut(standing.slot).asked(enters, self.counts().limit);
        drop(queue);
        late.into_iter().for_each(Waker::wake);
        enters
    }

    /// Comes in by way of the lock, or waits if fewer than `max_queue` do, or in the place of somebody who matters less.
    pub(crate) fn enter_or_wait(&self, max_queue: u32, standing: Standing, now: Instant) -> Entry {
        // A full queue is seen without the lock: just then there is much to refuse and no time for it.
        let word = self.load();
        if !word.has(Word::SORTED) && !word.is_open() && word.waiting() >= max_queue {
            return Entry::QueueFull;
        }
        let (mut queue, mut wake) = self.queue_at(now);
        let step = |word: Word| {
            if queue.lets_in(standing, word) {
                Some(word.one_more_inside())
            } else {
                (word.waiting() < max_queue && !word.has(Word::RETIRED)).then(|| word.one_more_waiting())
            }
        };
        let entry = match self.update(step) {
            Ok((before, after)) if before.waiting() == after.waiting() => {
                queue.compartments.get_mut(standing.slot).asked(true, after.limit());
                Entry::Admitted
            }
            Ok(_) => Entry::Queued(queue.push(standing, now)),
            Err(word) if word.has(Word::RETIRED) => Entry::Retired,
            Err(word) => match queue.evict_for(standing.priority) {
                // One goes and one comes, so the word stays as it is.
                Some(evicted) => {
                    wake.push(evicted);
                    Entry::Queued(queue.push(standing, now))
                }
                None => {
                    queue.compartments.get_mut(standing.slot).asked(false, word.limit());
                    Entry::QueueFull
                }
            },
        };
        drop(queue);
        wake.into_iter().for_each(Waker::wake);
        entry
    }

    /// What has become of the holder of `ticket`; while it waits, `waker` is woken when it need not wait any longer.
    pub(crate) fn ask(&self, ticket: &Ticket, waker: &Waker) -> Turn {
        // Dropping a waker may drop a task, and the task a permit of this gate: not under the lock.
        let mut replaced = None;
        let mut queue = lock(&self.queue);
        let turn = queue.ask(ticket, waker, &mut replaced);
        drop(queue);
        turn
    }

    /// Leaves the queue. Who had been let in already has a place, to use or to give back.
    pub(crate) fn leave(&self, ticket: &Ticket) -> Turn {
        let mut queue = lock(&self.queue);
        let waker = queue.take(ticket);
        let turn = if waker.is_some() {
            self.word.fetch_sub(Word::ONE_WAITING, Ordering::Relaxed);
            Turn::Waiting
        } else {
            queue.collect(ticket)
        };
        drop(queue);
        turn
    }

    /// Goes out, after having come in past the lock. `now` is asked where others wait, or come in sorted.
    #[inline]
    pub(crate) fn exit(&self, now: impl Fn() -> Instant) {
        let before = Word(self.word.fetch_sub(Word::ONE_INSIDE, Ordering::Release));
        if !before.is_plain() {
            self.hand_over(now);
        }
    }

    /// Goes out, after having come in by way of the lock. Never inlined: a plain permit's drop would save its registers.
    #[cold]
    #[inline(never)]
    pub(crate) fn exit_counted(&self, slot: u8, now: impl Fn() -> Instant) {
        let mut queue = lock(&self.queue);
        queue.compartments.get_mut(slot).inside -= 1;
        let before = Word(self.word.fetch_sub(Word::ONE_INSIDE, Ordering::Release));
        drop(queue);
        if !before.is_plain() {
            self.hand_over(now);
        }
    }

    /// Changes the limit. Nobody inside is put out; follow with [`hand_over`](Self::hand_over), for a higher limit has
    /// room for some who wait.
    pub(crate) fn set_limit(&self, limit: u32) {
        let _ = self.update(|word| Some(word.limited_to(limit)));
    }

    /// Lets in who waits, by the rules, for as long as there is room.
    #[cold]
    #[inline(never)]
    pub(crate) fn hand_over(&self, now: impl Fn() -> Instant) {
        loop {
            let word = self.load();
            if !(word.owes_a_place() || word.has(Word::SORTED) && word.waiting() > 0) {
                return;
            }
            let (queue, late) = self.queue_at(now());
            let first = self.admit_first(queue);
            let none = first.is_none();
            // Outside of the lock: waking may run or drop a task, and the task come in or go out.
            late.into_iter().chain(first).for_each(Waker::wake);
            if none {
                return;
            }
        }
    }

    fn admit_first(&self, mut queue: MutexGuard<'_, Queue>) -> Option<Waker> {
        let mut first = None;
        let step = |word: Word| {
            first = queue.first(word.counts());
            first.as_ref().map(|_| word.one_less_waiting().one_more_inside())
        };
        let (_, after) = self.update(step).ok()?;
        let ticket = first.expect("the word was changed for it");
        let waker = queue.take(&ticket);
        queue.compartments.get_mut(ticket.standing.slot).asked(true, after.limit());
        waker
    }

    /// The queue as it is by now, and those who have waited too long, to be woken without the lock.
    fn queue_at(&self, now: Instant) -> (MutexGuard<'_, Queue>, Vec<Waker>) {
        let mut queue = lock(&self.queue);
        if !self.is_sorted() {
            return (queue, Vec::new());
        }
        let late = queue.pass(now);
        self.word.fetch_sub(late.len() as u64 * Word::ONE_WAITING, Ordering::Relaxed);
        (queue, late)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.load().counts()
    }

    fn load(&self) -> Word {
        Word(self.word.load(Ordering::Relaxed))
    }

    /// Replaces the word by what `step` makes of it: the words before and after, or the word that `step` left alone.
    #[inline]
    fn update(&self, mut step: impl FnMut(Word) -> Option<Word>) -> Result<(Word, Word), Word> {
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

#[cfg(all(test, buttress_loom))]
mod loom_tests;
#[cfg(all(test, not(buttress_loom)))]
mod tests;
