//! What must be so when nothing happens any more.

use std::ops::Range;

use super::{
    Fault,
    participant::Barrier,
    world::{POISONED, World},
    wrong,
};
use crate::{
    saga::{
        journal::{Entry, State},
        machine::Progress,
    },
    step::Op,
};

impl World<'_> {
    pub(super) fn check(&mut self) -> Result<(), Fault> {
        self.nothing_happened_twice()?;
        let Some(row) = self.store.row.clone() else { return self.nothing_happened() };
        let progress = Progress::of(&self.store.records).map_err(|inconsistent| wrong(inconsistent.0))?;
        let (committed, undone) = (self.store.is_committed(), self.store.is_undone());
        if committed && undone {
            return Err(wrong("it went both ways"));
        }
        let is_told_truly = match self.told {
            Some(true) => committed && row.state != State::Undone,
            Some(false) => !committed && row.state != State::Done,
            None => true,
        };
        if !is_told_truly {
            return Err(wrong(format!("I6: the client was told {:?}, and it is {:?}", self.told, row.state)));
        }
        match row.state {
            State::Done | State::Undone | State::Abandoned => {}
            State::Parked if self.left.actions == 0 => return self.parked_for_a_reason(&progress),
            other => return Err(wrong(format!("I5: at rest it is {other:?}"))),
        }
        if row.owner.is_some() || row.lease_until.is_some() {
            return Err(wrong("I5: at rest it has an owner"));
        }
        if row.state == State::Abandoned {
            return Ok(());
        }
        self.all_or_nothing(row.state, &progress)?;
        self.calls_kept(row.state, &progress)
    }

    /// Nothing is left but what is parked, and that was refused, or crashed whoever did it, too often.
    fn parked_for_a_reason(&self, progress: &Progress) -> Result<(), Fault> {
        let idle = progress.items().iter().find(|item| progress.is_open(item) && !item.parked);
        if let Some(item) = idle {
            return Err(wrong(format!("I5: {} isn't parked, and nobody does anything about it", item.number)));
        }
        let allowed = &self.scenario.left;
        let refused = self.left.setbacks < allowed.setbacks || self.left.failures < allowed.failures;
        let crashed = self.store.has(|entry| matches!(entry, Entry::Parked { reason, .. } if reason == POISONED));
        if !refused && !crashed {
            return Err(wrong("I5: it is parked, and nothing was refused"));
        }
        Ok(())
    }

    fn net(&self, number: u32) -> i64 {
        self.participant.count(number, Op::Act) as i64 - self.participant.count(number, Op::Undo) as i64
    }

    fn numbers(&self) -> Range<u32> {
        0..self.participant.numbers()
    }

    fn nothing_happened(&self) -> Result<(), Fault> {
        match self.numbers().find(|number| self.net(*number) != 0) {
            Some(number) => Err(wrong(format!("I3: {number} happened, and nothing is known of it"))),
            None if self.told == Some(true) && !self.scenario.stages.is_empty() => {
                Err(wrong("I6: told that it is committed, and nothing is known of it"))
            }
            None => Ok(()),
        }
    }

    fn nothing_happened_twice(&self) -> Result<(), Fault> {
        for number in self.numbers() {
            let (acts, undos) = (self.participant.count(number, Op::Act), self.participant.count(number, Op::Undo));
            if acts > 1 || undos > acts {
                return Err(wrong(format!("I4: {number} happened {acts} times and was undone {undos} times")));
            }
        }
        Ok(())
    }

    /// A saga has all its effects, or each is undone.
    fn all_or_nothing(&self, state: State, progress: &Progress) -> Result<(), Fault> {
        let calls: Vec<u32> = self.promised();
        let most = progress.next_number().max(self.numbers().end);
        for number in (0..most).filter(|number| !calls.contains(number) && !self.by_hand.contains(number)) {
            let wanted = state == State::Done
                && (self.scenario.definition
                    || self.store.has(|entry| matches!(entry, Entry::Done { number: done, .. } if *done == number)));
            if self.net(number) != i64::from(wanted) {
                let net = self.net(number);
                return Err(wrong(format!("I3: {number} has {net} effects, and the saga is {state:?}")));
            }
        }
        let all = self.scenario.stages.iter().sum::<usize>() as u32;
        if state == State::Done && self.scenario.definition && progress.next_number() < all {
            return Err(wrong("I3: it is done, and not all its steps are"));
        }
        Ok(())
    }

    fn promised(&self) -> Vec<u32> {
        let records = self.store.records.iter();
        let numbers = records.filter_map(|record| match record.entry {
            Entry::Then { number, .. } => Some(number),
            _ => None,
        });
        numbers.collect()
    }

    fn calls_kept(&self, state: State, _progress: &Progress) -> Result<(), Fault> {
        let calls = self.promised();
        if state == State::Done && !self.scenario.definition && calls.len() != self.scenario.promised {
            return Err(wrong("I7: a promise was lost"));
        }
        for call in calls.into_iter().filter(|call| !self.by_hand.contains(call)) {
            if self.net(call) != i64::from(state == State::Done) {
                return Err(wrong(format!("I7: call {call} was made {} times, and it is {state:?}", self.net(call))));
            }
        }
        Ok(())
    }

    /// Something really happened: now, and by order of whoever holds the saga in `epoch`.
    pub(super) fn may_happen(&mut self, number: u32, op: Op, epoch: u64) -> Result<(), Fault> {
        if epoch < self.newest && self.scenario.barrier != Barrier::None {
            return Err(wrong(format!("I9: {op} of {number} in epoch {epoch} after something in {}", self.newest)));
        }
        self.newest = epoch;
        if op == Op::Act {
            return Ok(());
        }
        // What came later, and may have built on what came before, is undone first.
        let is_undone = |number: u32| self.participant.has(number, Op::Undo);
        let is_excused = |number: &u32| self.given_up.contains(number) || self.by_hand.contains(number);
        let too_soon = self.before.iter().find(|(earlier, later)| {
            let first = *earlier == number && self.participant.has(*later, Op::Act) && !is_undone(*later);
            let second = *later == number && is_undone(*earlier);
            (first || second) && !is_excused(later)
        });
        match too_soon {
            Some((earlier, later)) => {
                Err(wrong(format!("I10: {earlier} is undone before {later}, which came after it")))
            }
            None => Ok(()),
        }
    }
}
