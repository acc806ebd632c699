//! What has long to wait is let go of, with the time in its row: nobody need have it in memory meanwhile.

use std::time::Duration;

use super::{Command, Item, Live, Machine, Phase, millis};
use crate::saga::journal::{Entry, Millis, Record, State, Write};

impl Machine {
    /// From now on, if all that is left to be done has to wait for longer than `patience`, the saga is let go of until then.
    pub(crate) fn let_go_if_longer_than(&mut self, patience: Duration, now: Millis) {
        self.patience = Some(millis(patience));
        if let Some(at) = self.next_wake() {
            self.wait(at, now);
        }
    }

    /// Waits until `at`, here or in the journal.
    pub(super) fn wait(&mut self, at: Millis, now: Millis) {
        let is_long = self.patience.is_some_and(|patience| at > now.saturating_add(patience));
        // What is under way or not yet written is waited for first; whoever is held has its definition at work.
        let is_idle = !self.is_under_way() && self.unsent.is_empty() && self.durable == self.progress.next();
        if !is_long || !is_idle || self.held {
            return self.commands.push_back(Command::Wake { at });
        }
        let mut change = std::mem::take(&mut self.change);
        (change.let_go, change.wake_at) = (true, Some(at));
        let write = Write::Append { fence: self.fence.clone(), records: Vec::new(), change };
        self.commands.push_back(Command::Write { write, upto: self.durable });
        self.letting_go = true;
    }

    /// It was let go of, or at least nothing is decided here any more and what is decided is written in order.
    pub(super) fn let_go(&mut self) {
        let state = match self.progress.phase() {
            Phase::Committed { .. } => State::Committed,
            _ => State::Undoing,
        };
        if !std::mem::replace(&mut self.told.settled, true) {
            self.commands.push_back(Command::Settled(Some(state)));
        }
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.live.contains(&Live::Running)
    }

    /// When what is left to be done about `item` may begin, by the clock of who holds the saga.
    pub(super) fn not_before(&self, item: &Item) -> Millis {
        let inherited = match self.progress.phase() {
            Phase::Committed { seq, .. } | Phase::Undoing { seq, .. } => seq < self.inherited,
            _ => false,
        };
        self.progress.not_before(item, self.taken_over.filter(|_| inherited))
    }
}

/// Since when `owner` has known, by its own clock, which way the saga goes. Others' clocks may be others; but what it let
/// go of, to wait, and takes again has waited since.
pub(super) fn known_since(records: &[Record], owner: Option<&str>) -> Option<Millis> {
    let (mut since, mut decided, mut holder) = (None, false, None);
    for record in records {
        match &record.entry {
            Entry::Takeover { owner, .. } => holder = Some(owner.as_str()),
            Entry::Undo { .. } | Entry::Commit => decided = true,
            _ => continue,
        }
        if decided && since.is_none() && owner.is_some() && holder == owner {
            since = Some(record.at);
        }
    }
    since
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use super::*;

    fn taken(at: Millis, owner: &str) -> Record {
        Record { seq: 0, at, entry: Entry::Takeover { owner: owner.to_owned(), epoch: 1 } }
    }

    fn undo(at: Millis) -> Record {
        Record { seq: 0, at, entry: Entry::Undo { reason: String::new() } }
    }

    #[test]
    fn time_is_counted_from_the_first_own_record_at_which_it_was_decided() {
        let since = |records: &[Record]| known_since(records, Some("me"));
        assert_eq!(since(&[undo(1)]), None, "who began it went by another clock");
        assert_eq!(since(&[taken(1, "me"), undo(2), taken(3, "me")]), Some(2));
        assert_eq!(since(&[taken(1, "me"), taken(2, "you"), undo(3)]), None);
        assert_eq!(since(&[undo(1), taken(2, "you"), taken(3, "me"), taken(4, "you"), taken(5, "me")]), Some(3));
        assert_eq!(known_since(&[undo(1), taken(2, "me")], None), None);
    }
}
