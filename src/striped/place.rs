//! Which place a thread has: the lowest that was free when it first asked, until it ends.

use crate::sync::{AtomicU32, Ordering};

/// How many threads can have one. The others manage without.
pub(super) const PLACES: usize = 8;

/// The places that are taken, a bit each.
#[derive(Debug)]
pub(super) struct Places(AtomicU32);

impl Places {
    /// Takes the lowest free one. Acquire, so that whatever the one who had it before has written there is seen.
    pub(super) fn take(&self) -> Option<usize> {
        let lowest = |taken: u32| taken.trailing_ones() as usize;
        let with_lowest = |taken| (lowest(taken) < PLACES).then_some(taken | (taken + 1));
        self.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, with_lowest).ok().map(lowest)
    }

    /// Release, for the next one who has it.
    pub(super) fn give_back(&self, place: usize) {
        self.0.fetch_and(!(1 << place), Ordering::Release);
    }
}

/// This thread's, if it has one.
#[cfg(not(buttress_loom))]
#[inline]
pub(super) fn mine() -> Option<usize> {
    match of_thread::PLACE.get() {
        of_thread::UNKNOWN => of_thread::take(),
        // `NONE` is nobody's, and so as good as none.
        place => Some(place),
    }
}

#[cfg(not(buttress_loom))]
mod of_thread {
    use std::cell::Cell;

    use super::{AtomicU32, Places};

    static ALL: Places = Places(AtomicU32::new(0));

    thread_local! {
        /// Without a destructor, so that to look takes no more than a load.
        pub(super) static PLACE: Cell<usize> = const { Cell::new(UNKNOWN) };
        static MINE: Mine = const { Mine };
    }

    /// The thread hasn't asked for one yet.
    pub(super) const UNKNOWN: usize = usize::MAX;
    /// It got none, or is ending.
    const NONE: usize = usize::MAX - 1;

    /// Gives the place back when the thread ends.
    struct Mine;

    impl Drop for Mine {
        fn drop(&mut self) {
            let place = PLACE.replace(NONE);
            if place < NONE {
                ALL.give_back(place);
            }
        }
    }

    #[cold]
    pub(super) fn take() -> Option<usize> {
        // Not without somebody who gives it back.
        let place = MINE.try_with(|_| ALL.take()).ok().flatten();
        PLACE.set(place.unwrap_or(NONE));
        place
    }
}

/// loom has no atomics that live as long as the process.
#[cfg(buttress_loom)]
pub(super) fn mine() -> Option<usize> {
    None
}

#[cfg(buttress_loom)]
impl Places {
    pub(super) fn new() -> Self {
        Self(AtomicU32::new(0))
    }
}
