//! Retries as a share of calls, over the last ten seconds.

use crate::{
    sync::{AtomicU32, Mutex, Ordering, lock},
    window::Ring,
};

/// The last ten seconds, the running one included.
const TICKS: usize = 10;

/// The clock is read for each of the first so many deposits of a second, and then for every so-manyth.
const UNREAD: u32 = 16;

/// Deposits are counted without a lock. Withdrawals are rare, and take one, so that the look at what is left and the
/// taking are one step.
///
/// Memory ordering: a deposit is one compare-and-swap of a [`Ring`]'s slot, with release; a withdrawal reads the slots
/// with acquire. It may miss a deposit that is being made at the same time, which errs on the safe side. `tick` is a
/// hint and publishes nothing: an old one puts a deposit into an earlier second, from where it falls out of the window
/// early.
#[derive(Debug)]
pub(super) struct Share {
    ratio: f64,
    reserve: f64,
    /// The current second as of the last look at the clock. Never runs backwards.
    tick: AtomicU32,
    deposits: Ring<TICKS>,
    withdrawals: Mutex<Withdrawals>,
}

/// How many there were in each of the last seconds, with the second. Guarded by [`Share::withdrawals`].
#[derive(Debug, Default)]
struct Withdrawals([(u32, u32); TICKS]);

impl Share {
    pub(super) fn new(ratio: f64, per_second: u32) -> Self {
        Self {
            ratio,
            reserve: f64::from(per_second) * TICKS as f64,
            tick: AtomicU32::new(0),
            deposits: Ring::new(),
            withdrawals: Mutex::new(Withdrawals::default()),
        }
    }

    /// After a pause, up to 15 deposits may count towards the second before it.
    pub(super) fn deposit(&self, clock: impl FnOnce() -> u32) {
        let mut tick = self.tick.load(Ordering::Relaxed);
        let count = self.deposits.count(tick);
        if count < UNREAD || count.is_multiple_of(UNREAD) {
            tick = self.advance(clock());
        }
        self.deposits.add(tick);
    }

    /// The second from which one was taken.
    pub(super) fn withdraw(&self, now: u32) -> Option<u32> {
        let mut withdrawals = lock(&self.withdrawals);
        // Under the lock, so that no withdrawal is blind to one of a second that is later than its own.
        let now = self.advance(now);
        if self.left(now, &withdrawals) == 0 {
            return None;
        }
        withdrawals.add(now);
        Some(now)
    }

    pub(super) fn give_back(&self, tick: u32) {
        lock(&self.withdrawals).remove(tick);
    }

    pub(super) fn available(&self, now: u32) -> u64 {
        let withdrawals = lock(&self.withdrawals);
        self.left(self.advance(now), &withdrawals)
    }

    fn left(&self, now: u32, withdrawals: &Withdrawals) -> u64 {
        let earned = self.ratio * self.deposits.sum(now) as f64 + self.reserve;
        // A hair is added, for 10 times 0.1 is a little less than 1.
        ((earned + 1e-6) as u64).saturating_sub(withdrawals.sum(now))
    }

    fn advance(&self, now: u32) -> u32 {
        self.tick.fetch_max(now, Ordering::Relaxed).max(now)
    }
}

// ===== impl Withdrawals =====

impl Withdrawals {
    fn add(&mut self, tick: u32) {
        let slot = &mut self.0[tick as usize % TICKS];
        *slot = if slot.0 == tick { (tick, slot.1 + 1) } else { (tick, 1) };
    }

    /// What has left the window by now needn't be given back.
    fn remove(&mut self, tick: u32) {
        let slot = &mut self.0[tick as usize % TICKS];
        if slot.0 == tick {
            slot.1 = slot.1.saturating_sub(1);
        }
    }

    fn sum(&self, now: u32) -> u64 {
        let in_window = |tick: u32| now.wrapping_sub(tick) < TICKS as u32;
        self.0.iter().filter(|(tick, _)| in_window(*tick)).map(|(_, count)| u64::from(*count)).sum()
    }
}

#[cfg(all(test, buttress_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn no_more_is_withdrawn_than_was_deposited() {
        loom::model(|| {
            let share = Arc::new(Share::new(1.0, 0));
            let threads = [1, 2].map(|now| {
                let share = share.clone();
                thread::spawn(move || {
                    share.deposit(|| now);
                    u64::from(share.withdraw(now).is_some()) + u64::from(share.withdraw(now).is_some())
                })
            });
            let withdrawn: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
            assert!(withdrawn <= 2, "{withdrawn}");
            assert_eq!(share.available(2), 2 - withdrawn);
        });
    }

    #[test]
    fn what_is_given_back_can_be_withdrawn_once() {
        loom::model(|| {
            let share = Arc::new(Share::new(1.0, 0));
            share.deposit(|| 1);
            let taken = share.withdraw(1).unwrap();
            let threads = [true, false].map(|gives_back| {
                let share = share.clone();
                thread::spawn(move || {
                    if gives_back {
                        share.give_back(taken);
                    }
                    share.withdraw(1).is_some()
                })
            });
            let withdrawn = threads.into_iter().map(|thread| u64::from(thread.join().unwrap()));
            assert_eq!(withdrawn.sum::<u64>(), 1);
        });
    }
}
