//! What sagas and their journal count for those who watch them from outside.

use crate::{
    meter::{ByName, Counter, Histogram, Meter, Metric, Register, Tally, Whose, rejections},
    name::Name,
    rejection::Reason,
    saga::journal::State,
    step::{Op, StepOutcome},
};

const BEGUN: Metric = Metric { name: "buttress_saga_begun_total", help: "Sagas that were begun." };
const TAKEN_OVER: Metric =
    Metric { name: "buttress_saga_taken_over_total", help: "Sagas that others left and that were taken over." };
const ENDED: Metric = Metric {
    name: "buttress_saga_ended_total",
    help: "Sagas that this coordinator does nothing more about, by what they came to.",
};
const SECONDS: Metric = Metric {
    name: "buttress_saga_seconds",
    help: "How long sagas took that came to rest, from their beginning, undo and promised calls included.",
};
const STEPS: Metric = Metric { name: "buttress_saga_steps_total", help: "Steps that were carried out, by outcome." };
const UNDOS: Metric =
    Metric { name: "buttress_saga_undo_attempts_total", help: "Attempts to undo a step, by what they came to." };
const CALLS: Metric = Metric {
    name: "buttress_saga_call_attempts_total",
    help: "Attempts to make a call that was promised for after the commit, by what they came to.",
};
const CUT_OFF: Metric =
    Metric { name: "buttress_saga_cut_off_total", help: "Handlers that did not end by themselves, by why." };
const ANSWERED: Metric = Metric {
    name: "buttress_saga_answered_total",
    help: "Requests that were answered in their handler's place, by why.",
};
const WAITED: Metric = Metric {
    name: "buttress_saga_requests_waited_total",
    help: "Requests that had to wait for another saga, by what both wanted.",
};
const SUSPECTS: Metric = Metric {
    name: "buttress_saga_suspects_total",
    help: "Sagas that may be what kills their coordinators, by what was decided about them.",
};
const OPERATED: Metric =
    Metric { name: "buttress_saga_operated_total", help: "What operators decided about parked sagas." };
const DAMAGED: Metric =
    Metric { name: "buttress_saga_damaged_total", help: "Sagas whose journal cannot be gone on with." };

const BATCH: Metric =
    Metric { name: "buttress_saga_journal_batch_writes", help: "How many writes the journal took in one transaction." };
const WRITE: Metric =
    Metric { name: "buttress_saga_journal_write_seconds", help: "How long a transaction of the journal took." };
const FAILED: Metric =
    Metric { name: "buttress_saga_journal_failed_total", help: "Journals that failed, and are not written any more." };

/// The sagas of one name.
#[derive(Debug, Clone)]
pub(crate) struct Sagas {
    meter: Meter<Handles>,
    pub(super) in_flight: Tally,
}

/// The sagas of a coordinator, by name.
#[derive(Debug)]
pub(crate) struct Names(ByName<Sagas>);

impl Names {
    pub(crate) fn new() -> Self {
        Self(ByName::new())
    }

    pub(crate) fn get(&self, name: &Name) -> Sagas {
        self.0.get(name, || Sagas { meter: Meter::new(), in_flight: Tally::new() })
    }
}

impl Sagas {
    #[inline]
    pub(crate) fn of(&self, name: &Name) -> &Handles {
        self.meter.get(whose(name))
    }
}

/// What became of a saga, as far as one coordinator is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Became {
    Committed,
    Undone,
    Abandoned,
    Parked,
    /// It waits, and nobody holds it.
    LetGo,
    /// Another coordinator has it, or whether it is written isn't known.
    Lost,
    /// It did nothing, and nothing is written of it.
    Blank,
}

impl Became {
    /// In the order of their discriminants.
    const ALL: [Self; 7] =
        [Self::Committed, Self::Undone, Self::Abandoned, Self::Parked, Self::LetGo, Self::Lost, Self::Blank];

    pub(crate) fn of(state: State) -> Self {
        match state {
            State::Done => Self::Committed,
            State::Undone => Self::Undone,
            State::Abandoned => Self::Abandoned,
            State::Parked => Self::Parked,
            State::Running | State::Committed | State::Undoing => Self::LetGo,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Undone => "undone",
            Self::Abandoned => "abandoned",
            Self::Parked => "parked",
            Self::LetGo => "let_go",
            Self::Lost => "lost",
            Self::Blank => "blank",
        }
    }

    /// Whether it came to rest.
    pub(crate) fn is_rest(self) -> bool {
        matches!(self, Self::Committed | Self::Undone | Self::Abandoned)
    }
}

/// Why a handler didn't end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CutOff {
    Panicked,
    Deadline,
    ClientGone,
}

impl CutOff {
    fn as_str(self) -> &'static str {
        match self {
            Self::Panicked => "panicked",
            Self::Deadline => "deadline",
            Self::ClientGone => "client_gone",
        }
    }

    /// What the journal and people are told.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Panicked => "its handler panicked",
            Self::Deadline => "its deadline passed",
            Self::ClientGone => "its client hung up",
        }
    }
}

/// What an attempt at an undo or a promised call came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tried {
    Done,
    Failed,
    /// A policy of ours refused it, and it uses up no attempt.
    Postponed,
}

impl Tried {
    /// In the order of their discriminants.
    const ALL: [Self; 3] = [Self::Done, Self::Failed, Self::Postponed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Postponed => "postponed",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Handles {
    pub(crate) begun: Counter,
    pub(crate) taken_over: Counter,
    pub(crate) seconds: Histogram,
    ended: [Counter; 7],
    done: Counter,
    refused: Counter,
    unknown: Counter,
    cancelled: Counter,
    undos: [Counter; 3],
    calls: [Counter; 3],
}

impl Handles {
    pub(crate) fn ended(&self, became: Became) {
        self.ended[became as usize].increment();
    }

    /// A step came to this; to nothing, if it was dropped while it was carried out.
    pub(crate) fn step(&self, outcome: Option<StepOutcome>) {
        match outcome {
            Some(StepOutcome::Done) => &self.done,
            Some(StepOutcome::Refused) => &self.refused,
            Some(StepOutcome::Unknown) => &self.unknown,
            None => &self.cancelled,
        }
        .increment();
    }

    pub(crate) fn tried(&self, op: Op, tried: Tried) {
        match op {
            Op::Undo => &self.undos[tried as usize],
            Op::Act => &self.calls[tried as usize],
        }
        .increment();
    }
}

impl Register for Handles {
    fn register(whose: Whose<'_>) -> Self {
        let labelled = |metric, outcome| Counter::register(metric, whose, &[("outcome", outcome)]);
        Self {
            begun: Counter::register(BEGUN, whose, &[]),
            taken_over: Counter::register(TAKEN_OVER, whose, &[]),
            seconds: Histogram::register(SECONDS, whose),
            ended: Became::ALL.map(|became| labelled(ENDED, became.as_str())),
            done: labelled(STEPS, "done"),
            refused: labelled(STEPS, "refused"),
            unknown: labelled(STEPS, "unknown"),
            cancelled: labelled(STEPS, "cancelled"),
            undos: Tried::ALL.map(|tried| labelled(UNDOS, tried.as_str())),
            calls: Tried::ALL.map(|tried| labelled(CALLS, tried.as_str())),
        }
    }
}

fn whose(name: &Name) -> Whose<'_> {
    Whose { policy: "saga", name }
}

/// What is seldom enough to be looked up each time.
fn once(metric: Metric, name: &Name, label: (&'static str, &'static str)) {
    Counter::register(metric, whose(name), &[label]).increment();
}

pub(crate) fn cut_off(name: &Name, why: CutOff) {
    once(CUT_OFF, name, ("reason", why.as_str()));
}

pub(crate) fn answered(name: &Name, reason: &'static str) {
    once(ANSWERED, name, ("reason", reason));
}

pub(crate) fn rejected(name: &Name, reason: Reason) {
    rejections(whose(name), reason).increment();
}

/// `what` both want: `key`, `exclusive`.
pub(crate) fn waited(name: &Name, what: &'static str) {
    once(WAITED, name, ("wanted", what));
}

/// `decision`: `suspected`, `tried`, `acquitted`.
pub(crate) fn suspect(name: &Name, decision: &'static str) {
    once(SUSPECTS, name, ("decision", decision));
}

pub(crate) fn operated(name: &Name, action: &'static str) {
    once(OPERATED, name, ("action", action));
}

pub(crate) fn damaged(name: &Name) {
    Counter::register(DAMAGED, whose(name), &[]).increment();
}

// ===== the journal =====

/// What a journal's writer is watched by.
#[derive(Debug, Clone)]
pub(crate) struct Journaling {
    /// The coordinator's.
    pub(crate) name: Name,
    meter: Meter<Transactions>,
    /// Writes that wait, or are being written.
    pub(crate) waiting: Tally,
}

#[derive(Debug)]
pub(crate) struct Transactions {
    pub(crate) writes: Histogram,
    pub(crate) seconds: Histogram,
    pub(crate) failed: Counter,
}

impl Journaling {
    pub(crate) fn new(name: Name) -> Self {
        Self { name, meter: Meter::new(), waiting: Tally::new() }
    }

    pub(crate) fn get(&self) -> &Transactions {
        self.meter.get(journal_of(&self.name))
    }
}

impl Register for Transactions {
    fn register(whose: Whose<'_>) -> Self {
        Self {
            writes: Histogram::register(BATCH, whose),
            seconds: Histogram::register(WRITE, whose),
            failed: Counter::register(FAILED, whose, &[]),
        }
    }
}

fn journal_of(name: &Name) -> Whose<'_> {
    Whose { policy: "saga_journal", name }
}

#[cfg(feature = "metrics")]
pub(super) mod gauges {
    use super::{Journaling, Metric, Names, journal_of, whose};
    use crate::{metrics::Gauges, name::Name};

    const IN_FLIGHT: Metric = Metric { name: "buttress_saga_in_flight", help: "How many sagas are worked on." };
    const PARKED: Metric = Metric {
        name: "buttress_saga_parked",
        help: "How many sagas in the journal are parked, and wait for somebody to look at them.",
    };
    const WAITING: Metric = Metric {
        name: "buttress_saga_journal_waiting",
        help: "How many writes wait for the journal, or are being written.",
    };

    pub(in crate::saga) fn of(names: &Names, parked: &[(Name, u64)], journal: &Journaling, gauges: &mut Gauges) {
        for (name, sagas) in names.0.all() {
            gauges.add(IN_FLIGHT, whose(&name), sagas.in_flight.read());
            // Which of them are parked is counted below.
            gauges.add(PARKED, whose(&name), 0);
        }
        for (name, parked) in parked {
            gauges.add(PARKED, whose(name), *parked);
        }
        gauges.add(WAITING, journal_of(&journal.name), journal.waiting.read());
    }
}
