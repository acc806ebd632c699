//! What a gate's one word says.

/// Marks, waiting, limit and inside: 4 bits, and three times 20.
///
/// Waiting and the marks are at the top, so that one comparison tells whether there is anything else to know about a
/// gate than its limit: what a plain bulkhead's calls ask.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word(pub(super) u64);

/// Limit, waiting and inside at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) limit: u32,
    pub(crate) waiting: u32,
    pub(crate) inside: u32,
}

impl Word {
    const BITS: u32 = 20;
    pub(super) const MASK: u64 = (1 << Self::BITS) - 1;
    pub(super) const ONE_INSIDE: u64 = 1;
    const ONE_LIMIT: u64 = 1 << Self::BITS;
    pub(super) const ONE_WAITING: u64 = 1 << (2 * Self::BITS);
    /// Each call is measured, for an adaptive limit to learn from.
    pub(super) const MEASURED: u64 = 1 << (3 * Self::BITS);
    /// Who comes next isn't simply who came first, so that everybody goes through the queue's lock.
    pub(super) const SORTED: u64 = 1 << (3 * Self::BITS + 1);
    /// Nobody comes in any more, or waits, whatever the limit.
    pub(super) const RETIRED: u64 = 1 << (3 * Self::BITS + 2);

    pub(super) fn with_limit(limit: u32) -> Self {
        debug_assert!(u64::from(limit) <= Self::MASK);
        Self(u64::from(limit) * Self::ONE_LIMIT)
    }

    pub(super) fn inside(self) -> u32 {
        (self.0 & Self::MASK) as u32
    }

    pub(super) fn waiting(self) -> u32 {
        ((self.0 / Self::ONE_WAITING) & Self::MASK) as u32
    }

    pub(super) fn limit(self) -> u32 {
        ((self.0 / Self::ONE_LIMIT) & Self::MASK) as u32
    }

    pub(super) fn counts(self) -> Counts {
        Counts { limit: self.limit(), waiting: self.waiting(), inside: self.inside() }
    }

    pub(super) fn has(self, mark: u64) -> bool {
        self.0 & mark != 0
    }

    /// Nobody is inside, and nobody waits.
    pub(super) fn is_deserted(self) -> bool {
        self.inside() == 0 && self.waiting() == 0
    }

    /// Nobody waits, and the gate is nothing but a limit.
    #[inline]
    pub(super) fn is_plain(self) -> bool {
        self.0 < Self::ONE_WAITING
    }

    fn has_room(self) -> bool {
        self.inside() < self.limit()
    }

    /// Who comes now may come in without looking further.
    #[inline]
    pub(super) fn is_plain_and_open(self) -> bool {
        self.is_plain() && self.has_room()
    }

    /// Who comes now may come in, if it goes by who came first.
    pub(super) fn is_open(self) -> bool {
        self.waiting() == 0 && self.has_room() && !self.has(Self::RETIRED)
    }

    /// Who waits must be let in, if it goes by who came first.
    pub(super) fn owes_a_place(self) -> bool {
        self.waiting() > 0 && self.has_room()
    }

    #[inline]
    pub(super) fn one_more_inside(self) -> Self {
        Self(self.0 + Self::ONE_INSIDE)
    }

    pub(super) fn one_more_waiting(self) -> Self {
        Self(self.0 + Self::ONE_WAITING)
    }

    pub(super) fn one_less_waiting(self) -> Self {
        Self(self.0 - Self::ONE_WAITING)
    }

    pub(super) fn limited_to(self, limit: u32) -> Self {
        Self(self.0 & !(Self::MASK * Self::ONE_LIMIT) | Self::with_limit(limit).0)
    }

    pub(super) fn marked(self, mark: u64, on: bool) -> Self {
        Self(if on { self.0 | mark } else { self.0 & !mark })
    }
}
