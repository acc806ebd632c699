//! What is seen of a saga that is tried alone, because it may be what killed its coordinator.

use super::{Command, Live, Machine, Phase};
use crate::saga::journal::{Millis, Write};

/// What a saga that is tried is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It gives late actions their time; nothing was tried yet.
    Settling,
    /// Something may be under way.
    UnderWay,
    /// What was tried came back, and waits to be tried again.
    Waiting,
}

impl Machine {
    pub(crate) fn doing(&self, now: Millis) -> Doing {
        let items = || self.progress.items().iter().zip(&self.live);
        if self.is_under_way() {
            return Doing::UnderWay;
        }
        let mut doing = Doing::UnderWay;
        for (item, live) in items().filter(|(item, _)| !item.parked && self.progress.is_open(item)) {
            match live {
                Live::Until(at) if *at != self.not_before(item) => return Doing::Waiting,
                Live::Until(at) if *at > now => doing = Doing::Settling,
                _ => {}
            }
        }
        doing
    }

    /// It was tried, and its coordinator lives: takeovers are counted from zero.
    pub(crate) fn acquit(&mut self) {
        let mut open = self.progress.items().iter().filter(|item| self.progress.is_open(item)).peekable();
        let is_parked = open.peek().is_some() && open.all(|item| item.parked);
        let is_ended = matches!(self.progress.phase(), Phase::Ended { .. });
        // What is at rest, parked or waits is let go of, and mustn't be written any more.
        if self.lost || self.letting_go || is_parked || is_ended {
            return;
        }
        let mut change = std::mem::take(&mut self.change);
        change.progress = true;
        change.wake_at = change.wake_at.or_else(|| self.next_wake());
        let records = std::mem::take(&mut self.unsent);
        let write = Write::Append { fence: self.fence.clone(), records, change };
        self.commands.push_back(Command::Write { write, upto: self.progress.next() });
    }
}
