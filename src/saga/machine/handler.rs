//! What the handler does: steps, promises, and the decision.

use bytes::Bytes;

use super::{Command, Machine, NotBegun, Phase, Status, Work, planted};
use crate::{
    failpoint::Planted,
    name::Name,
    saga::journal::{Entry, Invocation, Millis, State},
    step::StepOutcome,
};

impl Machine {
    /// A saga of a definition begins with what it was given.
    pub(crate) fn given(&mut self, input: Bytes, now: Millis) {
        self.note(Entry::Begun { input }, now);
    }

    /// The number of the next step, taken for it.
    pub(crate) fn reserve(&mut self) -> Result<u32, NotBegun> {
        self.reserve_many(1)
    }

    /// As many numbers in a row; the first is given.
    pub(crate) fn reserve_many(&mut self, steps: u32) -> Result<u32, NotBegun> {
        self.may_begin()?;
        let (first, next) = (self.next_number, self.next_number.saturating_add(steps));
        if next > self.rules.steps {
            return Err(NotBegun::TooMany);
        }
        self.next_number = next;
        Ok(first)
    }

    /// A step is to be carried out, under a number that was [reserved](Self::reserve) or that its definition gives it.
    /// [`Command::Act`] follows when that is durable.
    pub(crate) fn begin(
        &mut self,
        number: u32,
        step: Name,
        undo: Option<Invocation>,
        settle: u32,
        now: Millis,
    ) -> Result<(), NotBegun> {
        self.may_begin()?;
        self.note(Entry::Intent { number, step, undo, settle }, now);
        if planted(Planted::IntentAfterAction) {
            self.commands.push_back(Command::Act { number });
            return Ok(());
        }
        self.waiting.push(number);
        self.flush();
        Ok(())
    }

    /// Whether a step of a definition that was begun before may be carried out again, under the same key.
    pub(crate) fn resume(&mut self) -> Result<(), NotBegun> {
        self.may_begin()
    }

    /// An attempt at the step came to this; returns what that makes of the step. It rides with the next write: until then
    /// it counts as unknown.
    ///
    /// That an attempt was refused says nothing of one before it that may have happened.
    pub(crate) fn ended(
        &mut self,
        number: u32,
        outcome: StepOutcome,
        reason: &str,
        output: Option<Bytes>,
        now: Millis,
    ) -> StepOutcome {
        self.waiting.retain(|waiting| *waiting != number);
        let Some(item) = self.progress.item(number) else { return outcome };
        let may_have_happened = item.status == Status::Unknown || item.begun < self.inherited;
        let outcome = match outcome {
            StepOutcome::Refused if may_have_happened => StepOutcome::Unknown,
            outcome => outcome,
        };
        // A refused step may be tried again, after the pivot.
        let is_under_way = !matches!(item.status, Status::Done | Status::Closed);
        // After the commit, what began before it and isn't known to have happened is being undone.
        let is_undone = matches!(self.progress.phase(), Phase::Committed { seq, .. } if item.begun < seq);
        if self.may_begin().is_err() || !is_under_way || is_undone {
            return outcome;
        }
        let reason = reason.to_owned();
        self.note(
            match outcome {
                StepOutcome::Done => Entry::Done { number, output },
                StepOutcome::Refused => Entry::Refused { number, reason },
                StepOutcome::Unknown if planted(Planted::UnknownTakenForRefused) => Entry::Refused { number, reason },
                StepOutcome::Unknown => Entry::Unknown { number, reason },
            },
            now,
        );
        outcome
    }

    /// A call is promised for after the commit. It rides with the next write.
    pub(crate) fn then(&mut self, call: Invocation, now: Millis) -> Result<u32, NotBegun> {
        let number = self.reserve()?;
        self.note(Entry::Then { number, call }, now);
        Ok(number)
    }

    /// The saga has happened. With `held` more steps may follow, until [`complete`](Self::complete).
    pub(crate) fn commit(&mut self, answer: Option<Bytes>, held: bool, now: Millis) {
        if self.progress.phase() != Phase::Forward || self.lost {
            return;
        }
        // An answer that is to be given again is kept, though nothing happened for it.
        if self.is_blank() && self.progress.items().is_empty() && !held && answer.is_none() {
            return self.nothing_happened(true);
        }
        self.held = held;
        // A step that waits for its intent hasn't happened, and now mustn't.
        self.waiting.clear();
        self.note(Entry::Commit, now);
        self.change.state = Some(State::Committed);
        self.keep(answer);
        self.end_if_nothing_is_left(now);
        self.flush();
    }

    /// After a commit that was held: no more steps follow.
    pub(crate) fn complete(&mut self, now: Millis) {
        self.held = false;
        self.advance(now);
        self.flush();
    }

    /// The pivot, or a step after it, can't be carried out, however often it was tried.
    pub(crate) fn park(&mut self, number: u32, reason: &str, now: Millis) {
        if self.lost {
            return;
        }
        self.note(Entry::Parked { number, reason: reason.to_owned() }, now);
        self.held = false;
        self.advance(now);
        self.flush();
    }

    /// The saga must not have happened.
    pub(crate) fn fail(&mut self, reason: &str, answer: Option<Bytes>, now: Millis) {
        if self.progress.phase() != Phase::Forward || self.lost {
            return;
        }
        if self.is_blank() && !self.progress.items().iter().any(|item| matches!(item.work, Work::Step { .. })) {
            return self.nothing_happened(false);
        }
        self.held = false;
        self.waiting.clear();
        self.note(Entry::Undo { reason: reason.to_owned() }, now);
        self.change.state = Some(State::Undoing);
        self.keep(answer);
        self.end_if_nothing_is_left(now);
        self.flush();
    }

    pub(super) fn nothing_happened(&mut self, committed: bool) {
        (self.told.decided, self.told.settled) = (true, true);
        self.lost = true;
        self.commands.push_back(Command::Decided { committed });
        self.commands.push_back(Command::Settled(Some(if committed { State::Done } else { State::Undone })));
    }

    pub(super) fn keep(&mut self, answer: Option<Bytes>) {
        self.has_answer |= answer.is_some();
        self.change.answer = answer;
    }

    pub(super) fn may_begin(&self) -> Result<(), NotBegun> {
        match self.progress.phase() {
            _ if self.lost => Err(NotBegun::Lost),
            Phase::Forward => Ok(()),
            Phase::Committed { .. } if self.held => Ok(()),
            _ => Err(NotBegun::Over),
        }
    }
}
