//! How much may come through, and when: the generic cell rate algorithm (GCRA), the leaky bucket of ATM (ITU-T I.371).

use crate::sync::{AtomicU64, Mutex, Ordering, lock};

/// A bucket of tokens that fills at a steady pace, kept as one point in time: the *theoretical arrival time*, at which
/// it would be full again if nothing more came. What is taken moves that time on, and a time that has passed is a full
/// bucket, so nothing has to be filled up by anybody.
///
/// Times are nanoseconds since the bucket was made.
///
/// # How the pace is changed while calls come
///
/// The word has the number of its pace beside the time, and changes as a whole. A taker reads the word, then the pace
/// of this number, and its compare-and-swap fails if either has changed since. A new pace is written where no word
/// points to before the word points to it. There are sixteen places: to be misled, a taker would have to sleep through
/// sixteen changes in the middle of a call, and then find the very same time in the word.
///
/// Orderings: changing the pace is `Release` and every load of the word `Acquire`, so that who sees a number sees the
/// pace written for it. A taker publishes nothing, and as a read-modify-write it continues the changer's release
/// sequence, so it is `Relaxed`.
#[derive(Debug)]
pub(crate) struct Meter {
    word: Line,
    paces: [Place; PACES],
    /// Held by who changes the pace.
    changing: Mutex<()>,
}

/// On a line of the cache of its own, or what is only read beside it would be fetched anew for each call.
#[derive(Debug)]
#[repr(align(64))]
struct Line(AtomicU64);

/// How fast a bucket fills, and how much it holds. In nanoseconds, of which `interval * burst` is at most two years.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// What one token is worth.
    interval: u64,
    /// What a full bucket is worth.
    tolerance: u64,
}

/// Why nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Short {
    /// There will be enough after this many nanoseconds, if nobody else takes any.
    For(u64),
    /// There never will be: it is more than the bucket holds.
    Forever,
}

const PACES: usize = 16;

impl Meter {
    /// A full bucket.
    pub(crate) fn new(pace: Pace) -> Self {
        let meter = Self {
            word: Line(AtomicU64::new(0)),
            paces: std::array::from_fn(|_| Place::new()),
            changing: Mutex::new(()),
        };
        meter.paces[0].set(pace);
        meter
    }

    /// Takes `tokens`, all or none.
    #[inline]
    pub(crate) fn take(&self, tokens: u32, now: u64) -> Result<(), Short> {
        let mut word = self.load();
        loop {
            let full_at = self.pace(word).take(word.full_at(), tokens, now)?;
            match self.swap(word, word.at(full_at), Ordering::Relaxed) {
                Ok(()) => return Ok(()),
                Err(current) => word = current,
            }
        }
    }

    /// How long it takes until `tokens` are there, one after the other if they are more than the bucket holds.
    pub(crate) fn wait(&self, tokens: u64, now: u64) -> u64 {
        let word = self.load();
        self.pace(word).wait(word.full_at(), tokens, now)
    }

    /// Whether `tokens` are more than the bucket holds.
    pub(crate) fn is_too_much(&self, tokens: u32) -> bool {
        self.pace(self.load()).is_too_much(tokens)
    }

    /// Whether no token is missing.
    pub(crate) fn is_full(&self, now: u64) -> bool {
        self.load().full_at() <= now
    }

    /// How many whole tokens there are.
    pub(crate) fn available(&self, now: u64) -> u64 {
        let word = self.load();
        self.pace(word).available(word.full_at(), now)
    }

    /// Changes the pace. What was used stays used, at the new price, up to the whole of what the bucket now holds.
    pub(crate) fn change(&self, pace: Pace, now: u64) {
        let _changing = lock(&self.changing);
        let mut word = self.load();
        let before = self.pace(word);
        if before == pace {
            return;
        }
        self.paces[word.next_pace()].set(pace);
        while let Err(current) =
            self.swap(word, word.next(pace.instead_of(before, word.full_at(), now)), Ordering::Release)
        {
            word = current;
        }
    }

    #[inline]
    fn load(&self) -> Word {
        Word(self.word.0.load(Ordering::Acquire))
    }

    #[inline]
    fn swap(&self, word: Word, new: Word, success: Ordering) -> Result<(), Word> {
        self.word.0.compare_exchange_weak(word.0, new.0, success, Ordering::Acquire).map(drop).map_err(Word)
    }

    #[inline]
    fn pace(&self, word: Word) -> Pace {
        self.paces[word.pace()].get()
    }
}

// ===== impl Pace =====

impl Pace {
    /// A token every `interval` nanoseconds, up to `burst`.
    pub(crate) fn new(interval: u64, burst: u32) -> Self {
        Self { interval, tolerance: interval * u64::from(burst) }
    }

    /// When the bucket is full again after `tokens` have been taken.
    #[inline]
    fn take(self, full_at: u64, tokens: u32, now: u64) -> Result<u64, Short> {
        let cost = self.cost(tokens);
        let taken = full_at.max(now).saturating_add(cost);
        match taken.saturating_sub(now.saturating_add(self.tolerance)) {
            0 => Ok(taken),
            _ if cost > self.tolerance => Err(Short::Forever),
            short => Err(Short::For(short)),
        }
    }

    fn wait(self, full_at: u64, tokens: u64, now: u64) -> u64 {
        let taken = full_at.max(now).saturating_add(self.interval.saturating_mul(tokens));
        taken.saturating_sub(now.saturating_add(self.tolerance))
    }

    fn is_too_much(self, tokens: u32) -> bool {
        self.cost(tokens) > self.tolerance
    }

    fn available(self, full_at: u64, now: u64) -> u64 {
        self.tolerance.saturating_sub(full_at.saturating_sub(now)) / self.interval
    }

    /// When the bucket is full again, by this pace, if as many tokens are missing as were by `before`.
    fn instead_of(self, before: Self, full_at: u64, now: u64) -> u64 {
        let missing = full_at.saturating_sub(now);
        let worth = u128::from(missing) * u128::from(self.interval) / u128::from(before.interval);
        now + worth.min(u128::from(self.tolerance)) as u64
    }

    #[inline]
    fn cost(self, tokens: u32) -> u64 {
        self.interval.saturating_mul(u64::from(tokens))
    }
}

// ===== impl Word =====

/// The time at which the bucket is full again, in the upper 60 bits (36 years), and the number of its pace.
#[derive(Debug, Clone, Copy)]
struct Word(u64);

impl Word {
    const LAST: u64 = PACES as u64 - 1;

    fn full_at(self) -> u64 {
        self.0 / PACES as u64
    }

    fn pace(self) -> usize {
        (self.0 & Self::LAST) as usize
    }

    fn next_pace(self) -> usize {
        (self.pace() + 1) % PACES
    }

    fn at(self, full_at: u64) -> Self {
        Self((full_at * PACES as u64) | (self.0 & Self::LAST))
    }

    fn next(self, full_at: u64) -> Self {
        Self((full_at * PACES as u64) | self.next_pace() as u64)
    }
}

// ===== impl Place =====

/// Where a pace is kept.
#[derive(Debug)]
struct Place {
    interval: AtomicU64,
    tolerance: AtomicU64,
}

impl Place {
    fn new() -> Self {
        Self { interval: AtomicU64::new(1), tolerance: AtomicU64::new(1) }
    }

    fn set(&self, pace: Pace) {
        self.interval.store(pace.interval, Ordering::Relaxed);
        self.tolerance.store(pace.tolerance, Ordering::Relaxed);
    }

    #[inline]
    fn get(&self) -> Pace {
        Pace { interval: self.interval.load(Ordering::Relaxed), tolerance: self.tolerance.load(Ordering::Relaxed) }
    }
}

#[cfg(all(test, buttress_loom))]
mod loom_tests;
#[cfg(all(test, not(buttress_loom)))]
mod tests;
