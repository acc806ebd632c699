//! Whether what was seen is what was promised: a pure function of the history of a run at rest.
//!
//! | | |
//! |---|---|
//! | I1 | money: what is charged and not refunded is what committed orders cost; no charge is refunded twice |
//! | I2 | stock: what is gone from it is what committed orders took; no hold is open |
//! | I3 | a saga has all its effects, or each is undone |
//! | I4 | an effect takes place at most once for a step and a direction |
//! | I5 | nothing runs, nothing is held; parked is only what may be |
//! | I6 | a 2xx is committed, a final failure isn't; one key has one answer, and never another's |
//! | I7 | promised calls are made exactly where the saga committed |
//! | I8 | the journal: no gaps, epochs never fall, nothing after the end |
//! | I9 | no effect of an earlier epoch after one of a later |
//! | I10 | undone in the reverse of the order in which it was done |

mod clients;
mod order;
mod sagas;
pub(crate) mod tests;
mod totals;

use std::{collections::BTreeMap, fmt};

use crate::history::{Effect, Entry, History, SagaSeen};

/// What was promised and isn't so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) invariant: &'static str,
    pub(crate) what: String,
    /// The saga that it is about, if it is about one.
    pub(crate) saga: Option<String>,
}

/// What was seen, by saga.
struct Seen<'a> {
    history: &'a History,
    sagas: BTreeMap<&'a str, &'a SagaSeen>,
    effects: BTreeMap<&'a str, Vec<&'a Effect>>,
}

/// Everything that isn't as it was promised.
pub(crate) fn check(history: &History) -> Vec<Violation> {
    let mut effects: BTreeMap<&str, Vec<&Effect>> = BTreeMap::new();
    for effect in &history.effects {
        effects.entry(&effect.saga).or_default().push(effect);
    }
    let sagas = history.sagas.iter().map(|saga| (saga.id.as_str(), saga)).collect();
    let seen = Seen { history, sagas, effects };
    let mut found = Vec::new();
    totals::check(&seen, &mut found);
    sagas::check(&seen, &mut found);
    order::check(&seen, &mut found);
    clients::check(&seen, &mut found);
    found
}

impl Seen<'_> {
    fn effects(&self, saga: &str) -> &[&Effect] {
        self.effects.get(saga).map_or(&[], Vec::as_slice)
    }

    /// The order that a saga was for, if it had any effect.
    fn order(&self, saga: &str) -> Option<&str> {
        self.effects(saga).first().map(|effect| effect.order.as_str())
    }

    fn may_be_parked(&self, saga: &str) -> bool {
        self.history.may_be_parked.contains(saga)
    }
}

impl SagaSeen {
    /// Whether it has happened, whatever is left to be done about it.
    fn is_committed(&self) -> bool {
        self.records.iter().any(|record| record.entry == Entry::Commit)
    }

    /// What the records say of a step in the end, and where it began and, if that is known, ended.
    fn steps(&self) -> Vec<StepSeen> {
        let mut steps: Vec<StepSeen> = Vec::new();
        for record in &self.records {
            let entry = record.entry;
            if let Entry::Intent { has_undo } = entry {
                let (number, begun) = (record.number, record.seq);
                steps.push(StepSeen { number, has_undo, begun, ended: None, undone: None, last: Last::Open });
                continue;
            }
            let Some(step) = steps.iter_mut().find(|step| step.number == record.number) else { continue };
            match entry {
                Entry::Done => (step.ended, step.last) = (Some(record.seq), Last::Done),
                Entry::Refused => (step.ended, step.last) = (Some(record.seq), Last::Refused),
                Entry::Unknown => (step.ended, step.last) = (Some(record.seq), Last::Open),
                Entry::Undone => (step.undone, step.last) = (Some(record.seq), Last::Undone),
                Entry::Parked => step.last = Last::Parked,
                _ => {}
            }
        }
        steps
    }
}

#[derive(Debug, Clone, Copy)]
struct StepSeen {
    number: u32,
    has_undo: bool,
    /// The places of the records that say so.
    begun: u32,
    ended: Option<u32>,
    undone: Option<u32>,
    last: Last,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Open,
    Done,
    Refused,
    Undone,
    Parked,
}

fn found(into: &mut Vec<Violation>, invariant: &'static str, saga: Option<&str>, what: String) {
    into.push(Violation { invariant, what, saga: saga.map(str::to_owned) });
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)?;
        match &self.saga {
            Some(saga) => write!(f, " (saga {saga})"),
            None => Ok(()),
        }
    }
}
