//! Who comes, who waits, and how they are taken.

use crate::priority::Priority;

/// What a call is to the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Standing {
    pub(crate) priority: Priority,
    /// The slot of its partition.
    pub(crate) slot: u8,
}

/// A place in the queue, higher for who came later. Whoever has it must [leave](super::Gate::leave) or learn what has become of
/// it, once.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    pub(super) number: u64,
    pub(super) standing: Standing,
}

impl Ticket {
    /// The slot of its partition.
    pub(crate) fn slot(&self) -> u8 {
        self.standing.slot
    }
}

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
    /// Neither: the gate is [retired](super::Gate::retire).
    Retired,
}
