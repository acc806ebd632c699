//! What can be seen of a bulkhead.

use crate::{
    bulkhead::state::{Compartment, Counts},
    name::Name,
    rejection::Reason,
    sync::{AtomicU64, Ordering},
};

/// A bulkhead at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkheadSnapshot {
    /// How many may be inside.
    pub limit: usize,
    /// How many permits are out. More than `limit` for a while after the limit was lowered.
    pub in_flight: usize,
    /// How many calls queue, or services are paused.
    pub waiting: usize,
    /// How many calls were refused so far.
    pub rejected: Rejections,
}

/// A partition of a bulkhead at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionSnapshot {
    /// Its name; the first one's is [`"default"`](crate::bulkhead::Partition::DEFAULT).
    pub name: Name,
    /// How many calls it is guaranteed, of the limit as it is.
    pub guaranteed: usize,
    /// How many of its calls are inside.
    pub in_flight: usize,
    /// How many of its calls queue.
    pub waiting: usize,
}

impl PartitionSnapshot {
    pub(super) fn of(compartment: &Compartment, limit: u32) -> Self {
        Self {
            name: compartment.name.clone(),
            guaranteed: compartment.guaranteed(limit) as usize,
            in_flight: compartment.inside as usize,
            waiting: compartment.waiting() as usize,
        }
    }
}

/// How many calls a bulkhead has refused, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Rejections {
    /// Found it full, and calls do not queue: [`Reason::BulkheadFull`].
    pub full: u64,
    /// Found the queue full too: [`Reason::QueueFull`].
    pub queue_full: u64,
    /// Queued for as long as a call may, or in a queue that stands for too long: [`Reason::WaitExpired`].
    pub wait_expired: u64,
    /// Would have queued beyond its deadline, or did: [`Reason::DeadlinePassed`].
    pub deadline_passed: u64,
}

impl Rejections {
    /// All of them.
    pub fn total(&self) -> u64 {
        let Self { full, queue_full, wait_expired, deadline_passed } = self;
        full + queue_full + wait_expired + deadline_passed
    }
}

impl BulkheadSnapshot {
    pub(super) fn of(counts: Counts, rejected: Rejections) -> Self {
        Self {
            limit: counts.limit as usize,
            in_flight: counts.inside as usize,
            waiting: counts.waiting as usize,
            rejected,
        }
    }
}

/// Counts refusals. What was let in is not counted: that would be one more atomic operation for each call.
#[derive(Default)]
pub(super) struct RejectionCounters {
    full: AtomicU64,
    queue_full: AtomicU64,
    wait_expired: AtomicU64,
    deadline_passed: AtomicU64,
}

impl RejectionCounters {
    pub(super) fn count(&self, reason: Reason) {
        let counter = match reason {
            Reason::QueueFull => &self.queue_full,
            Reason::WaitExpired => &self.wait_expired,
            Reason::DeadlinePassed => &self.deadline_passed,
            _ => &self.full,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Rejections {
        Rejections {
            full: self.full.load(Ordering::Relaxed),
            queue_full: self.queue_full.load(Ordering::Relaxed),
            wait_expired: self.wait_expired.load(Ordering::Relaxed),
            deadline_passed: self.deadline_passed.load(Ordering::Relaxed),
        }
    }
}
