//! What a bulkhead counts for those who watch it from outside.

use super::POLICY;
use crate::{
    meter::{Calls, Counter, Histogram, Metric, Register, Whose, rejections},
    name::Name,
    rejection::Reason,
};

const QUEUED: Metric = Metric {
    name: "buttress_bulkhead_queue_seconds",
    help: "How long calls queued that had to, until they came in or were refused.",
};
const LIMIT_CHANGES: Metric =
    Metric { name: "buttress_bulkhead_limit_changes_total", help: "Changes of an adaptive limit." };

const FORGOTTEN: Metric = Metric {
    name: "buttress_bulkhead_keys_forgotten_total",
    help: "Keys that were forgotten to make room for others.",
};

/// All keys' bulkheads of a keyed one have the same.
#[derive(Debug)]
pub(super) struct Handles {
    pub(super) calls: Calls,
    full: Counter,
    queue_full: Counter,
    wait_expired: Counter,
    deadline_passed: Counter,
    pub(super) queued: Histogram,
    pub(super) raised: Counter,
    pub(super) lowered: Counter,
}

impl Handles {
    pub(super) fn refused(&self, reason: Reason) {
        match reason {
            Reason::QueueFull => &self.queue_full,
            Reason::WaitExpired => &self.wait_expired,
            Reason::DeadlinePassed => &self.deadline_passed,
            _ => &self.full,
        }
        .increment();
    }
}

impl Register for Handles {
    fn register(whose: Whose<'_>) -> Self {
        Self {
            calls: Calls::register(whose),
            full: rejections(whose, Reason::BulkheadFull),
            queue_full: rejections(whose, Reason::QueueFull),
            wait_expired: rejections(whose, Reason::WaitExpired),
            deadline_passed: rejections(whose, Reason::DeadlinePassed),
            queued: Histogram::register(QUEUED, whose),
            raised: Counter::register(LIMIT_CHANGES, whose, &[("direction", "up")]),
            lowered: Counter::register(LIMIT_CHANGES, whose, &[("direction", "down")]),
        }
    }
}

pub(super) fn whose(name: &Name) -> Whose<'_> {
    Whose { policy: POLICY, name }
}

/// Seldom enough to be looked up each time.
pub(super) fn forgotten(name: &Name) {
    Counter::register(FORGOTTEN, whose(name), &[]).increment();
}

#[cfg(feature = "metrics")]
pub(super) mod gauges {
    use super::{Metric, Whose, whose};
    use crate::{
        bulkhead::{BulkheadSnapshot, KeyedBulkheadSnapshot, PartitionSnapshot},
        metrics::Gauges,
    };

    const LIMIT: Metric = Metric { name: "buttress_bulkhead_limit", help: "How many calls may be inside." };
    const IN_FLIGHT: Metric = Metric { name: "buttress_bulkhead_in_flight", help: "How many calls are inside." };
    const WAITING: Metric =
        Metric { name: "buttress_bulkhead_waiting", help: "How many calls queue, or services are paused." };
    const GUARANTEED: Metric =
        Metric { name: "buttress_bulkhead_partition_guaranteed", help: "How many calls a partition is guaranteed." };
    const PARTITION_IN_FLIGHT: Metric =
        Metric { name: "buttress_bulkhead_partition_in_flight", help: "How many calls of a partition are inside." };
    const PARTITION_WAITING: Metric =
        Metric { name: "buttress_bulkhead_partition_waiting", help: "How many calls of a partition queue." };

    const KEYS: Metric =
        Metric { name: "buttress_bulkhead_keys", help: "How many keys a keyed bulkhead has bulkheads for." };

    pub(in crate::bulkhead) fn of_keys(snapshot: &KeyedBulkheadSnapshot, gauges: &mut Gauges) {
        let whose = whose(&snapshot.name);
        gauges.add(LIMIT, whose, snapshot.limit as u64);
        gauges.add(IN_FLIGHT, whose, snapshot.in_flight as u64);
        gauges.add(WAITING, whose, snapshot.waiting as u64);
        gauges.add(KEYS, whose, snapshot.keys as u64);
    }

    pub(in crate::bulkhead) fn of(
        whose: Whose<'_>,
        snapshot: &BulkheadSnapshot,
        partitions: &[PartitionSnapshot],
        gauges: &mut Gauges,
    ) {
        gauges.add(LIMIT, whose, snapshot.limit as u64);
        gauges.add(IN_FLIGHT, whose, snapshot.in_flight as u64);
        gauges.add(WAITING, whose, snapshot.waiting as u64);
        for PartitionSnapshot { name, guaranteed, in_flight, waiting } in partitions {
            for (metric, value) in
                [(GUARANTEED, guaranteed), (PARTITION_IN_FLIGHT, in_flight), (PARTITION_WAITING, waiting)]
            {
                gauges.add_labelled(metric, whose, ("partition", name.to_string()), *value as u64);
            }
        }
    }
}
