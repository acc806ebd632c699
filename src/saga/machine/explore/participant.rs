//! The other side: a service that steps are carried out at.

use std::collections::BTreeMap;

use crate::step::Op;

/// A participant with a barrier, or one without, which knows its idempotency keys and nothing more.
#[derive(Debug, Clone, Hash)]
pub(super) struct Participant {
    barrier: Barrier,
    /// What the barrier knows of the saga: by which operation each place was taken.
    rows: BTreeMap<(u32, Op), Op>,
    epoch: u64,
    /// How often each was really done, and undone.
    effects: BTreeMap<(u32, Op), usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Barrier {
    On,
    /// A third party.
    None,
    /// A mistake: it was forgotten.
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Ok,
    /// 410: it was undone before.
    Undone,
    /// It never came there.
    Lost,
    /// 409: the coordinator has lost its saga.
    Stale,
}

impl Participant {
    pub(super) fn new(barrier: Barrier) -> Self {
        Self { barrier, rows: BTreeMap::new(), epoch: 0, effects: BTreeMap::new() }
    }

    /// Carries out what is asked for, if it is to be, and says whether it really happened.
    pub(super) fn execute(&mut self, number: u32, op: Op, epoch: u64) -> (Answer, bool) {
        let happens = match self.barrier {
            Barrier::Off => true,
            Barrier::None => match op {
                Op::Act => !self.has(number, Op::Act),
                Op::Undo => self.has(number, Op::Act) && !self.has(number, Op::Undo),
            },
            Barrier::On => {
                if self.epoch > epoch {
                    return (Answer::Stale, false);
                }
                self.epoch = epoch;
                match (op, self.rows.get(&(number, op)).copied()) {
                    (Op::Act, Some(Op::Undo)) => return (Answer::Undone, false),
                    (_, Some(_)) => false,
                    (Op::Act, None) => {
                        self.rows.insert((number, op), op);
                        true
                    }
                    (Op::Undo, None) => {
                        self.rows.insert((number, op), op);
                        self.rows.insert((number, Op::Act), Op::Undo) == Some(Op::Act)
                    }
                }
            }
        };
        if happens {
            *self.effects.entry((number, op)).or_default() += 1;
        }
        (Answer::Ok, happens)
    }

    /// Whether it might do anything about such a request, now or later: carry it out, or note its epoch.
    pub(super) fn may_heed(&self, number: u32, op: Op, epoch: u64) -> bool {
        match self.barrier {
            Barrier::Off => true,
            // An undo of what hasn't happened may have to wait for it.
            Barrier::None => op == Op::Undo || !self.has(number, Op::Act),
            Barrier::On => epoch > self.epoch || (epoch == self.epoch && !self.rows.contains_key(&(number, op))),
        }
    }

    pub(super) fn has(&self, number: u32, op: Op) -> bool {
        self.count(number, op) > 0
    }

    pub(super) fn count(&self, number: u32, op: Op) -> usize {
        self.effects.get(&(number, op)).copied().unwrap_or(0)
    }

    /// Above all numbers of what happened.
    pub(super) fn numbers(&self) -> u32 {
        self.effects.last_key_value().map_or(0, |((number, _), _)| number + 1)
    }
}
