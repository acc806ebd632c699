//! The protocol of a saga, decided without doing anything: events go in, commands come out.
//!
//! No clock, no chance, no disk, no network: so every crash at every point can be tried.

mod advance;
#[cfg(all(test, not(buttress_loom)))]
mod explore;
mod handler;
mod heard;
mod progress;
mod trial;
mod waiting;

use std::{collections::VecDeque, time::Duration};

pub(crate) use self::{
    progress::{Inconsistent, Item, Phase, Progress, Status, Work},
    trial::Doing,
};
use crate::{
    backoff::Backoff,
    failpoint::Planted,
    name::Name,
    saga::journal::{Change, Fence, Invocation, Millis, Record, SagaRow, State, Write},
};

/// How much is tried before somebody must look at it, and how long is remembered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rules {
    /// How often an undo or a promised call is tried.
    pub(crate) attempts: u32,
    pub(crate) backoff: Backoff,
    /// How long a saga at rest is kept.
    pub(crate) retention: Duration,
    /// How many steps and calls a saga has at most.
    pub(crate) steps: u32,
}

/// One saga, in the hands of one coordinator.
///
/// Whoever holds it tells it what happened, and carries out what [`poll`](Self::poll) gives, in order.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    rules: Rules,
    fence: Fence,
    /// The row, until the first write creates it.
    unopened: Option<Box<SagaRow>>,
    has_answer: bool,
    progress: Progress,
    /// What the undos and promised calls are at, one an item.
    live: Vec<Live>,
    /// Decided but not handed out: rides with the next write.
    unsent: Vec<Record>,
    change: Change,
    /// Records below this one are durable.
    durable: u32,
    /// Steps that wait for their intent to be durable.
    waiting: Vec<u32>,
    /// The number of the next step or call.
    next_number: u32,
    /// More steps may come after the commit: those of a definition, after its pivot.
    held: bool,
    told: Told,
    /// When it was, or when this coordinator first knew which way it goes, if another coordinator began it.
    taken_over: Option<Millis>,
    /// Records below this one are another coordinator's.
    inherited: u32,
    /// How long the saga may wait here, if it isn't for as long as it takes.
    patience: Option<Millis>,
    /// It was written that the saga has no owner any more.
    letting_go: bool,
    /// Another coordinator holds the saga, or the journal failed: nothing more is decided here.
    lost: bool,
    commands: VecDeque<Command>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Live {
    Idle,
    Running,
    Until(Millis),
}

/// What has been said already, so that it is said once.
#[derive(Debug, Clone, Default, Hash)]
struct Told {
    decided: bool,
    settled: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Command {
    /// Write this; when it is durable, say so with [`Machine::durable`] and `upto`.
    Write { write: Write, upto: u32 },
    /// The step's intent is durable: carry it out.
    Act { number: u32 },
    /// Make this call, to undo the step.
    Undo { number: u32, step: Name, attempt: u32, invocation: Invocation },
    /// Make this call, as promised.
    Call { number: u32, attempt: u32, invocation: Invocation },
    /// Which way the saga goes is durable: `true` is forward.
    Decided { committed: bool },
    /// Come back [then](Machine::woken).
    Wake { at: Millis },
    /// There is nothing left to be done here: the saga is at rest, or parked, or, unfinished, let go of to wait; or `None`,
    /// lost.
    Settled(Option<State>),
}

/// A step can't begin, or a call not be promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotBegun {
    /// The saga is decided.
    Over,
    /// It has as many steps as a saga may have.
    TooMany,
    /// Another coordinator holds it, or the journal failed.
    Lost,
}

/// Why an undo or a promised call didn't happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Setback {
    /// It was tried and didn't work.
    Failed { reason: String },
    /// It wasn't tried: a policy of ours refused it. No attempt is used up.
    Postponed { wait: Option<Duration> },
}

/// An operator asked for what can't be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CannotDo(pub(crate) String);

/// How long to wait when a policy refused and didn't say for how long.
const POSTPONED: Duration = Duration::from_secs(1);

impl Machine {
    /// A saga that begins. Nothing of it is written before its first step.
    pub(crate) fn new(row: SagaRow, rules: Rules) -> Self {
        let mut machine = Self::with(&row, Progress::default(), rules);
        machine.unopened = Some(Box::new(row));
        machine
    }

    /// A saga that was taken over. What is to be done about it is decided by [`recover`](Self::recover).
    pub(crate) fn taken_over(row: &SagaRow, records: &[Record], rules: Rules) -> Result<Self, Inconsistent> {
        let mut machine = Self::with(row, Progress::of_unfinished(records)?, rules);
        machine.durable = machine.progress.next();
        machine.inherited = machine.progress.next();
        machine.taken_over = waiting::known_since(records, row.owner.as_deref());
        machine.next_number = machine.progress.next_number();
        machine.live = vec![Live::Idle; machine.progress.items().len()];
        Ok(machine)
    }

    fn with(row: &SagaRow, progress: Progress, rules: Rules) -> Self {
        Self {
            rules,
            fence: Fence { saga: row.id, owner: row.owner.clone().unwrap_or_default(), epoch: row.epoch },
            unopened: None,
            has_answer: row.answer.is_some(),
            progress,
            live: Vec::new(),
            unsent: Vec::new(),
            change: Change::default(),
            durable: 0,
            waiting: Vec::new(),
            next_number: 0,
            held: false,
            told: Told::default(),
            taken_over: None,
            inherited: 0,
            patience: None,
            letting_go: false,
            lost: false,
            commands: VecDeque::new(),
        }
    }

    /// What is to be done next.
    pub(crate) fn poll(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(crate) fn fence(&self) -> &Fence {
        &self.fence
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Whether nothing has been written of it, so that nothing has to be.
    pub(crate) fn is_blank(&self) -> bool {
        self.unopened.is_some()
    }
}

/// Whether a mistake is planted, in the process or in what is explored in this thread.
fn planted(mistake: Planted) -> bool {
    #[cfg(all(test, not(buttress_loom)))]
    if explore::planted(mistake) {
        return true;
    }
    crate::failpoint::planted(mistake)
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}
