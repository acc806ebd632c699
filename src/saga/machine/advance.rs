//! How it goes on: what is decided is handed out, and what can be begun is begun.

use super::{Command, Live, Machine, Phase, Work, millis};
use crate::saga::journal::{Entry, Millis, Record, State, Write};

impl Machine {
    pub(super) fn note(&mut self, entry: Entry, now: Millis) {
        let record = Record { seq: self.progress.next(), at: now, entry };
        self.progress.apply(&record).expect("what is decided here is consistent");
        self.live.resize(self.progress.items().len(), Live::Idle);
        self.unsent.push(record);
    }

    /// Hands out what is decided, as one write.
    pub(super) fn flush(&mut self) {
        if self.unsent.is_empty() || self.lost {
            return;
        }
        let records = std::mem::take(&mut self.unsent);
        let change = std::mem::take(&mut self.change);
        let write = match self.unopened.take() {
            Some(mut row) => {
                change.apply(&mut row);
                Write::Open(row, records)
            }
            None => Write::Append { fence: self.fence.clone(), records, change },
        };
        self.commands.push_back(Command::Write { write, upto: self.progress.next() });
    }

    /// Begins what can be begun, once it is durable which way to go.
    pub(super) fn advance(&mut self, now: Millis) {
        if self.lost || self.told.settled || self.letting_go {
            return;
        }
        let decided = match self.progress.phase() {
            Phase::Forward => return self.end_if_nothing_is_left(now),
            Phase::Committed { seq, .. } | Phase::Undoing { seq, .. } => seq < self.durable,
            Phase::Ended { seq, state } => return self.settle(seq, state),
        };
        if !decided {
            return;
        }
        self.tell_decided();
        for index in 0..self.progress.items().len() {
            self.undertake(index, now);
        }
        self.end_if_nothing_is_left(now);
        if let Some(at) = self.next_wake() {
            self.wait(at, now);
        }
    }

    pub(super) fn undertake(&mut self, index: usize, now: Millis) {
        let item = &self.progress.items()[index];
        let due = match self.live[index] {
            Live::Idle => self.not_before(item) <= now,
            Live::Until(at) => at <= now,
            Live::Running => false,
        };
        if item.parked || !self.progress.is_open(item) || !self.progress.is_its_turn(item) {
            return;
        }
        if !due {
            if self.live[index] == Live::Idle {
                self.live[index] = Live::Until(self.not_before(item));
            }
            return;
        }
        // What came after the commit goes forward only, and is its definition's to do.
        let is_forward = matches!((self.progress.phase(), &item.work),
            (Phase::Committed { seq, .. }, Work::Step { .. }) if item.begun > seq);
        if is_forward {
            return;
        }
        let Some(invocation) = item.invocation().cloned() else { return };
        let (number, attempt) = (item.number, item.attempts + 1);
        self.commands.push_back(match &item.work {
            Work::Step { name, .. } => Command::Undo { number, step: name.clone(), attempt, invocation },
            Work::Call(_) => Command::Call { number, attempt, invocation },
        });
        self.live[index] = Live::Running;
    }

    pub(super) fn end_if_nothing_is_left(&mut self, now: Millis) {
        let final_state = match self.progress.phase() {
            Phase::Committed { .. } if !self.held => State::Done,
            Phase::Undoing { .. } => State::Undone,
            // A pivot that is parked: nobody knows which way to go.
            Phase::Forward if !self.held && self.progress.items().iter().any(|item| self.progress.is_open(item)) => {
                State::Undone
            }
            _ => return,
        };
        let (mut open, mut parked) = (0, 0);
        for item in self.progress.items().iter().filter(|item| self.progress.is_open(item)) {
            open += 1;
            parked += u32::from(item.parked);
        }
        if open == 0 {
            self.end(final_state, now);
        } else if open == parked {
            self.change.state = Some(State::Parked);
            self.change.let_go = true;
            self.change.wake_at = None;
            // Nothing new may be written any more; what is unsent still is.
            let seq = self.progress.next() - 1;
            if self.unsent.is_empty() {
                self.settle(seq, State::Parked);
            }
        }
    }

    pub(super) fn end(&mut self, state: State, now: Millis) {
        self.note(Entry::End { state }, now);
        self.change.state = Some(state);
        self.change.ended = Some((now, now.saturating_add(millis(self.rules.retention))));
        self.change.let_go = true;
        self.change.wake_at = None;
        self.change.release_key = state != State::Done && !self.has_answer;
    }

    pub(super) fn settle(&mut self, seq: u32, state: State) {
        if seq >= self.durable {
            return;
        }
        self.tell_decided();
        if !std::mem::replace(&mut self.told.settled, true) {
            self.commands.push_back(Command::Settled(Some(state)));
        }
    }

    pub(super) fn tell_decided(&mut self) {
        // A pivot that is parked has decided nothing.
        let Some(committed) = self.progress.decided() else { return };
        if !std::mem::replace(&mut self.told.decided, true) {
            self.commands.push_back(Command::Decided { committed });
        }
    }

    pub(super) fn next_wake(&self) -> Option<Millis> {
        let waiting = self.progress.items().iter().zip(&self.live).filter_map(|(item, live)| match live {
            Live::Until(at) if !item.parked && self.progress.is_open(item) => Some(*at),
            _ => None,
        });
        waiting.min()
    }
}
