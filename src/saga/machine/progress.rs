//! How far a saga is, told by its records alone: what is live and what is read back after a crash are the same.

use crate::{
    failpoint::Planted,
    name::Name,
    saga::journal::{Action, Entry, Invocation, Millis, Record, State},
    step::check_name,
};

/// What the records of a saga say, read in order.
#[derive(Debug, Clone, Default, Hash)]
pub(crate) struct Progress {
    items: Vec<Item>,
    phase: Phase,
    /// Whether it was decided that it goes forward, or back, whatever became of it.
    decided: Option<bool>,
    /// The place of the next record.
    next: u32,
}

/// Which way a saga goes.
///
/// ```text
/// Forward => (Committed | Undoing) => Ended
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// It isn't decided.
    #[default]
    Forward,
    /// It was decided by record `seq`, at the time `at`, that it only goes forward.
    Committed { seq: u32, at: Millis },
    /// It was decided by record `seq`, at the time `at`, that it only goes back.
    Undoing { seq: u32, at: Millis },
    /// Nothing is left.
    Ended { seq: u32, state: State },
}

/// A step, or a call promised for after the commit.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Item {
    pub(crate) number: u32,
    pub(crate) work: Work,
    pub(crate) status: Status,
    /// The record that began it.
    pub(crate) begun: u32,
    /// The record that said how it ended.
    pub(crate) ended: Option<u32>,
    /// How often its undo, or the call, failed.
    pub(crate) attempts: u32,
    /// Not tried again until an operator says so.
    pub(crate) parked: bool,
    /// What it gave.
    pub(crate) output: Option<bytes::Bytes>,
}

#[derive(Debug, Clone, Hash)]
pub(crate) enum Work {
    Step { name: Name, undo: Option<Invocation>, settle: u32 },
    Call(Invocation),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Status {
    /// Begun, and nothing is known of how it ended.
    Begun,
    Done,
    Refused,
    Unknown,
    /// Undone, called, or taken as that by an operator.
    Closed,
}

/// Records that can't be those of a saga: the journal is damaged, or was written by something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inconsistent(pub(crate) String);

impl Progress {
    /// Reads `records` back.
    pub(crate) fn of(records: &[Record]) -> Result<Self, Inconsistent> {
        let mut progress = Self::default();
        for record in records {
            progress.apply(record)?;
        }
        Ok(progress)
    }

    /// Reads back the records of a saga that isn't at rest, and with it all that will be made use of.
    pub(crate) fn of_unfinished(records: &[Record]) -> Result<Self, Inconsistent> {
        let progress = Self::of(records)?;
        if let Phase::Ended { state, .. } = progress.phase {
            return Err(Inconsistent(format!(
                "its row says that it is unfinished, and its records that it is {}",
                state.as_str()
            )));
        }
        for item in &progress.items {
            check_name(item.name().as_str()).map_err(|error| Inconsistent(error.to_string()))?;
            if item.number == u32::MAX || item.attempts == u32::MAX {
                return Err(Inconsistent(format!("{} is no number of a step, or of attempts", u32::MAX)));
            }
        }
        Ok(progress)
    }

    pub(crate) fn apply(&mut self, record: &Record) -> Result<(), Inconsistent> {
        let seq = record.seq;
        if seq != self.next {
            return Err(Inconsistent(format!("record {seq} where {} should be", self.next)));
        }
        if let Phase::Ended { state, .. } = self.phase {
            return Err(Inconsistent(format!("record {seq} after the saga was {}", state.as_str())));
        }
        self.next += 1;
        match &record.entry {
            Entry::Begun { .. } | Entry::Takeover { .. } => {}
            Entry::Intent { number, step, undo, settle } => {
                let work = Work::Step { name: step.clone(), undo: undo.clone(), settle: *settle };
                self.begin(seq, *number, work)?;
            }
            Entry::Then { number, call } => self.begin(seq, *number, Work::Call(call.clone()))?,
            Entry::Done { number, output } => {
                let item = self.end(seq, *number, Status::Done)?;
                item.output = output.clone();
            }
            Entry::Refused { number, .. } => drop(self.end(seq, *number, Status::Refused)?),
            Entry::Unknown { number, .. } => drop(self.end(seq, *number, Status::Unknown)?),
            Entry::Commit if self.phase == Phase::Forward => {
                self.phase = Phase::Committed { seq, at: record.at };
                self.decided = Some(true);
            }
            Entry::Undo { .. } if self.phase == Phase::Forward => {
                self.phase = Phase::Undoing { seq, at: record.at };
                self.decided = Some(false);
            }
            Entry::Commit | Entry::Undo { .. } => {
                return Err(Inconsistent(format!("record {seq} decides what was decided")));
            }
            Entry::Undone { number } | Entry::Called { number } => self.item_mut(seq, *number)?.status = Status::Closed,
            Entry::Failed { number, attempt, .. } => self.item_mut(seq, *number)?.attempts = *attempt,
            Entry::Parked { number, .. } => self.item_mut(seq, *number)?.parked = true,
            Entry::Operator { action, number, .. } => self.operator(seq, *action, *number)?,
            Entry::End { state } => self.phase = Phase::Ended { seq, state: *state },
        }
        Ok(())
    }

    fn begin(&mut self, seq: u32, number: u32, work: Work) -> Result<(), Inconsistent> {
        if self.item(number).is_some() {
            return Err(Inconsistent(format!("record {seq} begins step {number} a second time")));
        }
        self.items.push(Item {
            number,
            work,
            status: Status::Begun,
            begun: seq,
            ended: None,
            attempts: 0,
            parked: false,
            output: None,
        });
        Ok(())
    }

    fn end(&mut self, seq: u32, number: u32, status: Status) -> Result<&mut Item, Inconsistent> {
        let item = self.item_mut(seq, number)?;
        item.status = status;
        item.ended = Some(seq);
        Ok(item)
    }

    fn operator(&mut self, seq: u32, action: Action, number: Option<u32>) -> Result<(), Inconsistent> {
        match (action, number) {
            (Action::Retry, None) => self.items.iter_mut().for_each(Item::unpark),
            (Action::Retry, Some(number)) => self.item_mut(seq, number)?.unpark(),
            (Action::Skip, Some(number)) => self.item_mut(seq, number)?.status = Status::Closed,
            (Action::Skip, None) => return Err(Inconsistent(format!("record {seq} skips nothing in particular"))),
            // The end follows.
            (Action::Abandon, _) => {}
        }
        Ok(())
    }

    fn item_mut(&mut self, seq: u32, number: u32) -> Result<&mut Item, Inconsistent> {
        let item = self.items.iter_mut().rev().find(|item| item.number == number);
        item.ok_or_else(|| Inconsistent(format!("record {seq} is about step {number}, which never began")))
    }

    pub(crate) fn item(&self, number: u32) -> Option<&Item> {
        self.items.iter().rev().find(|item| item.number == number)
    }

    pub(crate) fn items(&self) -> &[Item] {
        &self.items
    }

    /// Whether it was decided that it goes forward, or back. That stays so when it has ended.
    pub(crate) fn decided(&self) -> Option<bool> {
        self.decided
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// The number of the next step or call.
    pub(crate) fn next_number(&self) -> u32 {
        self.items.iter().map(|item| item.number + 1).max().unwrap_or(0)
    }

    /// Whether something is left to be done about `item`, now that it is decided which way to go.
    ///
    /// Whatever may have happened and is not wanted is undone. That is also so of a committed saga's steps whose outcome
    /// nobody knows: the handler went on without them. Steps that came after the commit go forward only.
    pub(crate) fn is_open(&self, item: &Item) -> bool {
        match (&item.work, self.phase) {
            (_, Phase::Ended { .. }) => false,
            // A pivot that nobody knows the outcome of, however often it was tried.
            (_, Phase::Forward) => item.parked && item.status != Status::Closed,
            (Work::Call(_), Phase::Committed { .. }) => item.status != Status::Closed,
            (Work::Call(_), Phase::Undoing { .. }) => false,
            (Work::Step { .. }, Phase::Committed { seq, .. }) if item.begun > seq => {
                !matches!(item.status, Status::Done | Status::Closed)
            }
            (Work::Step { undo, .. }, Phase::Committed { .. }) => {
                undo.is_some() && matches!(item.status, Status::Begun | Status::Unknown)
            }
            (Work::Step { undo, .. }, Phase::Undoing { .. }) => {
                undo.is_some() && matches!(item.status, Status::Begun | Status::Unknown | Status::Done)
            }
        }
    }

    /// Whether nothing that came after `item`, and may have built on it, is still to be undone. What began before it had
    /// ended can't have.
    pub(crate) fn is_its_turn(&self, item: &Item) -> bool {
        if super::planted(Planted::UndoInForwardOrder) {
            return !self.items.iter().any(|other| {
                matches!(other.work, Work::Step { .. })
                    && other.begun < item.begun
                    && !other.parked
                    && self.is_open(other)
            });
        }
        let Some(ended) = item.ended else { return true };
        !self.items.iter().any(|later| {
            matches!(later.work, Work::Step { .. }) && later.begun > ended && !later.parked && self.is_open(later)
        })
    }

    /// When what is left to be done about `item` may begin. A step that may be under way has its time to settle, counted
    /// from the decision; or, if another coordinator made that, by a clock that may be another, from when it was taken over.
    pub(crate) fn not_before(&self, item: &Item, taken_over: Option<Millis>) -> Millis {
        match (&item.work, self.phase) {
            (Work::Step { settle, .. }, Phase::Undoing { at, .. } | Phase::Committed { at, .. })
                if item.status != Status::Done =>
            {
                taken_over.unwrap_or(at).saturating_add(u64::from(*settle))
            }
            _ => 0,
        }
    }
}

impl Item {
    fn unpark(&mut self) {
        (self.parked, self.attempts) = (false, 0);
    }

    /// The step's name, or the call's.
    pub(crate) fn name(&self) -> &Name {
        match &self.work {
            Work::Step { name, .. } => name,
            Work::Call(invocation) => &invocation.call,
        }
    }

    /// The call that is left to be made about it: what undoes the step, or the promised call itself.
    pub(crate) fn invocation(&self) -> Option<&Invocation> {
        match &self.work {
            Work::Step { undo, .. } => undo.as_ref(),
            Work::Call(invocation) => Some(invocation),
        }
    }
}
