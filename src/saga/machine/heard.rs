//! What comes back: from the journal, from undos and calls, from the clock, from operators.

use super::{CannotDo, Command, Item, Live, Machine, POSTPONED, Phase, Setback, Work, millis};
use crate::saga::journal::{Action, Entry, Millis, State};

impl Machine {
    /// Records below `upto` are durable.
    pub(crate) fn durable(&mut self, upto: u32, now: Millis) {
        if self.lost {
            return;
        }
        self.durable = self.durable.max(upto);
        let (progress, durable, commands) = (&self.progress, self.durable, &mut self.commands);
        self.waiting.retain(|number| {
            let is_durable = progress.item(*number).is_some_and(|item| item.begun < durable);
            if is_durable {
                commands.push_back(Command::Act { number: *number });
            }
            !is_durable
        });
        if self.letting_go {
            return self.let_go();
        }
        self.advance(now);
        self.flush();
    }

    /// Another coordinator holds the saga, or whether it is written isn't known: it is left alone.
    pub(crate) fn lose(&mut self) {
        self.lost = true;
        self.waiting.clear();
        self.commands.clear();
        if !std::mem::replace(&mut self.told.settled, true) {
            self.commands.push_back(Command::Settled(None));
        }
    }

    /// An undo or a promised call came to this. `chance` is between 0 and 1, for the jitter.
    pub(crate) fn tried(&mut self, number: u32, result: Result<(), Setback>, now: Millis, chance: f64) {
        let Some(index) = self.progress.items().iter().position(|item| item.number == number) else { return };
        if self.lost || self.live[index] != Live::Running {
            return;
        }
        self.live[index] = Live::Idle;
        let item = &self.progress.items()[index];
        match result {
            Ok(()) => {
                let is_call = matches!(item.work, Work::Call(_));
                self.note(if is_call { Entry::Called { number } } else { Entry::Undone { number } }, now);
                self.change.progress = true;
            }
            Err(Setback::Postponed { wait }) => {
                self.live[index] = Live::Until(now.saturating_add(millis(wait.unwrap_or(POSTPONED)).max(1)));
            }
            Err(Setback::Failed { reason }) => {
                let attempt = item.attempts + 1;
                let wait = self.rules.backoff.delay(attempt - 1, None, chance);
                self.note(Entry::Failed { number, attempt, reason: reason.clone() }, now);
                if attempt >= self.rules.attempts {
                    self.note(Entry::Parked { number, reason }, now);
                } else {
                    let at = now.saturating_add(millis(wait).max(1));
                    self.live[index] = Live::Until(at);
                    self.change.wake_at = Some(at);
                }
            }
        }
        self.advance(now);
        self.flush();
    }

    /// Some time has passed.
    pub(crate) fn woken(&mut self, now: Millis) {
        self.advance(now);
        self.flush();
    }

    /// Decides what becomes of a saga that was taken over: it goes on where it is decided which way, and back where it
    /// isn't. With `resume` it is left to its definition, which goes on where it was. With `poisoned`, which says why,
    /// what would be done is parked instead.
    pub(crate) fn recover(&mut self, poisoned: Option<&str>, resume: bool, now: Millis) {
        self.taken(now);
        self.held = resume;
        if self.progress.phase() == Phase::Forward && !resume {
            self.note(Entry::Undo { reason: "its coordinator died".to_owned() }, now);
            self.change.state = Some(State::Undoing);
        }
        if let Some(reason) = poisoned {
            let open = self.progress.items().iter().filter(|item| self.progress.is_open(item) && !item.parked);
            for number in open.map(|item| item.number).collect::<Vec<_>>() {
                self.note(Entry::Parked { number, reason: reason.to_owned() }, now);
            }
        }
        self.end_if_nothing_is_left(now);
        self.flush();
    }

    pub(super) fn taken(&mut self, now: Millis) {
        // Settling isn't begun anew.
        self.taken_over.get_or_insert(now);
        let (owner, epoch) = (self.fence.owner.clone(), self.fence.epoch);
        self.note(Entry::Takeover { owner, epoch }, now);
    }

    /// An operator decided about a saga that was parked, and therefore taken over to be told. With `resume` its definition
    /// goes on where it was.
    pub(crate) fn operate(
        &mut self,
        action: Action,
        number: Option<u32>,
        note: &str,
        resume: bool,
        now: Millis,
    ) -> Result<(), CannotDo> {
        let parked = |item: &Item| item.parked && self.progress.is_open(item);
        match (action, number) {
            (Action::Skip, None) => return Err(CannotDo("skipping takes the number of the step to skip".to_owned())),
            (Action::Abandon, _) | (Action::Retry, None) if self.progress.items().iter().any(parked) => {}
            (Action::Abandon, _) | (Action::Retry, None) => return Err(CannotDo("nothing in it is parked".to_owned())),
            (_, Some(number)) if self.progress.item(number).is_some_and(parked) => {}
            (_, Some(number)) => return Err(CannotDo(format!("step {number} is not parked"))),
        }
        self.taken(now);
        self.note(Entry::Operator { action, number, note: note.to_owned() }, now);
        self.change.state = Some(match self.progress.phase() {
            Phase::Forward => State::Running,
            Phase::Committed { .. } => State::Committed,
            _ => State::Undoing,
        });
        self.change.progress = true;
        self.held = resume;
        if action == Action::Abandon {
            self.end(State::Abandoned, now);
        } else {
            self.advance(now);
        }
        self.flush();
        Ok(())
    }
}
