//! Who waits, who comes next, and who need not wait any longer. Pure: guarded by the gate's lock, told what time it is.

use std::{collections::BTreeMap, mem, task::Waker, time::Duration};

use tokio::time::Instant;

use super::{Counts, Standing, Ticket, codel::Codel, compartments::Compartments, word::Word};
use crate::{
    bulkhead::config::{BulkheadConfig, Priorities, QueueOrder},
    priority::Priority,
    rejection::Reason,
};

/// Those who wait, as many as the gate's word says, and the rules by which they come in.
///
/// By default there is one line, and who came first is first. With priorities there is one for each class, with
/// partitions one for each class of each; they are looked at from the top.
#[derive(Debug, Default)]
pub(super) struct Queue {
    tickets_issued: u64,
    pub(super) compartments: Compartments,
    priorities: Option<Priorities>,
    codel: Option<Codel>,
    /// Who has been turned away and doesn't know it yet. Each of them has a ticket, and comes to collect.
    turned_away: BTreeMap<u64, Reason>,
}

/// Somebody who waits.
#[derive(Debug)]
pub(super) struct Waiting {
    waker: Waker,
    since: Instant,
}

/// What has become of somebody who waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Waits still.
    Waiting,
    /// Was let in, and has a place to give back.
    Admitted,
    /// Was turned away.
    TurnedAway(Reason),
}

impl Queue {
    /// Other rules. Who waits keeps its place.
    ///
    /// # Errors
    ///
    /// If too many partitions that are gone still have calls. Then nothing changes.
    pub(super) fn set_rules(&mut self, config: &BulkheadConfig) -> Result<(), ()> {
        self.compartments.set(&config.partitions)?;
        self.priorities = config.priorities.clone();
        self.codel = match config.order {
            QueueOrder::Fifo => None,
            QueueOrder::AdaptiveLifo { target, interval } => Some(Codel::new(target, interval)),
        };
        Ok(())
    }

    /// Whether a call that comes now may come in: it may itself, and nobody who waits could.
    pub(super) fn lets_in(&self, standing: Standing, word: Word) -> bool {
        let counts = word.counts();
        let nobody_first = || counts.waiting == 0 || self.first(counts).is_none();
        !word.has(Word::RETIRED) && self.may_enter(standing, counts) && nobody_first()
    }

    fn may_enter(&self, standing: Standing, counts: Counts) -> bool {
        let most = self
            .priorities
            .as_ref()
            .map_or(counts.limit, |priorities| priorities.most(standing.priority, counts.limit));
        counts.inside < most && self.compartments.has_room(standing.slot, counts.limit, counts.inside)
    }

    /// Who comes next, if anybody may: the highest class first, and within it who came first; or last, while the queue
    /// stands.
    pub(super) fn first(&self, counts: Counts) -> Option<Ticket> {
        let newest_first = self.codel.as_ref().is_some_and(Codel::stands);
        Priority::ALL.into_iter().find_map(|priority| {
            let ends = self.compartments.iter().filter_map(|(slot, compartment)| {
                let line = &compartment.lines[priority as usize];
                let number = if newest_first { line.last_key_value() } else { line.first_key_value() }?.0;
                let standing = Standing { priority, slot };
                self.may_enter(standing, counts).then_some(Ticket { number: *number, standing })
            });
            if newest_first { ends.max() } else { ends.min() }
        })
    }

    pub(super) fn push(&mut self, standing: Standing, now: Instant) -> Ticket {
        let number = self.tickets_issued;
        self.tickets_issued += 1;
        let compartment = self.compartments.get_mut(standing.slot);
        // Whoever has the ticket brings its waker when it first asks.
        let waiting = Waiting { waker: Waker::noop().clone(), since: now };
        compartment.lines[standing.priority as usize].insert(number, waiting);
        compartment.waits();
        Ticket { number, standing }
    }

    pub(super) fn line(&mut self, standing: Standing) -> &mut BTreeMap<u64, Waiting> {
        &mut self.compartments.get_mut(standing.slot).lines[standing.priority as usize]
    }

    /// Takes who comes next out of its line.
    pub(super) fn take(&mut self, ticket: &Ticket) -> Option<Waker> {
        self.line(ticket.standing).remove(&ticket.number).map(|waiting| waiting.waker)
    }

    /// What has become of the holder of a ticket. `replace` gets the waker that was there, to be dropped outside of the
    /// lock.
    pub(super) fn ask(&mut self, ticket: &Ticket, waker: &Waker, replaced: &mut Option<Waker>) -> Turn {
        match self.line(ticket.standing).get_mut(&ticket.number) {
            Some(waiting) => {
                if !waiting.waker.will_wake(waker) {
                    *replaced = Some(mem::replace(&mut waiting.waker, waker.clone()));
                }
                Turn::Waiting
            }
            None => self.collect(ticket),
        }
    }

    /// What became of somebody who waits no longer.
    pub(super) fn collect(&mut self, ticket: &Ticket) -> Turn {
        self.turned_away.remove(&ticket.number).map_or(Turn::Admitted, Turn::TurnedAway)
    }

    /// Turns somebody of a lower class away: of the lowest, who came last.
    pub(super) fn evict_for(&mut self, priority: Priority) -> Option<Waker> {
        let lowest = Priority::ALL.into_iter().rev().take_while(|lower| *lower < priority);
        let mut lasts = lowest.filter_map(|priority| {
            let newest = self.compartments.iter().filter_map(|(slot, compartment)| {
                let (number, _) = compartment.lines[priority as usize].last_key_value()?;
                Some(Ticket { number: *number, standing: Standing { priority, slot } })
            });
            newest.max()
        });
        let last = lasts.next()?;
        self.turn_away(&last, Reason::QueueFull)
    }

    /// Looks at how long they have waited, and takes out of line whom a standing queue has kept too long. Returns whom to
    /// wake.
    pub(super) fn pass(&mut self, now: Instant) -> Vec<Waker> {
        self.compartments.pass(now);
        let Some(codel) = &mut self.codel else { return Vec::new() };
        let lines = self.compartments.iter().flat_map(|(_, compartment)| &compartment.lines);
        let oldest = lines.filter_map(|line| Some(line.first_key_value()?.1.since)).min();
        let delay = oldest.map_or(Duration::ZERO, |oldest| now.saturating_duration_since(oldest));
        codel.observe(delay, now);
        let Some(longest) = codel.longest() else { return Vec::new() };
        let mut late = Vec::new();
        for (slot, compartment) in self.compartments.iter() {
            for priority in Priority::ALL {
                let line = compartment.lines[priority as usize].iter();
                let too_long = line.take_while(|(_, waiting)| now.saturating_duration_since(waiting.since) > longest);
                late.extend(
                    too_long.map(|(number, _)| Ticket { number: *number, standing: Standing { priority, slot } }),
                );
            }
        }
        late.iter().filter_map(|ticket| self.turn_away(ticket, Reason::WaitExpired)).collect()
    }

    fn turn_away(&mut self, ticket: &Ticket, reason: Reason) -> Option<Waker> {
        let waker = self.take(ticket)?;
        self.turned_away.insert(ticket.number, reason);
        Some(waker)
    }
}
