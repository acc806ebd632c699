//! I3, I4, I5, I7, I8: each saga by itself.

use std::collections::BTreeMap;

use super::{Last, Seen, Violation, found};
use crate::history::{Entry, SagaSeen, SagaState};

pub(super) fn check(seen: &Seen<'_>, into: &mut Vec<Violation>) {
    for (id, effects) in &seen.effects {
        let mut counts = BTreeMap::new();
        for effect in effects {
            *counts.entry((effect.number, &effect.step, effect.undo)).or_insert(0) += 1;
        }
        for ((number, step, undo), count) in counts {
            let op = if undo { "undo" } else { "act" };
            if count > 1 {
                found(into, "I4", Some(id), format!("{op} of step {number} {step} took effect {count} times"));
            }
        }
        if !seen.sagas.contains_key(id) {
            let what = format!("{} effects of a saga that the journal doesn't know", effects.len());
            found(into, "I3", Some(id), what);
        }
    }
    for saga in seen.sagas.values() {
        effects(seen, saga, into);
        rest(seen, saga, into);
        journal(saga, into);
    }
}

/// I3 and I7: what took effect, beside what the journal says.
fn effects(seen: &Seen<'_>, saga: &SagaSeen, into: &mut Vec<Violation>) {
    let effects = seen.effects(&saga.id);
    let count = |number, undo| effects.iter().filter(|effect| effect.number == number && effect.undo == undo).count();
    let steps = saga.steps();
    let calls: Vec<u32> =
        saga.records.iter().filter(|record| record.entry == Entry::Then).map(|record| record.number).collect();
    let committed = saga.is_committed();
    let committed_at = saga.records.iter().find(|record| record.entry == Entry::Commit).map_or(0, |record| record.seq);
    for step in &steps {
        let (done, undone) = (count(step.number, false), count(step.number, true));
        let is_in_place = done > undone;
        let number = step.number;
        match (step.last, committed) {
            (Last::Parked, _) => {}
            (Last::Done, true) if !is_in_place => {
                found(into, "I3", Some(&saga.id), format!("committed, and step {number} isn't in effect"));
            }
            (Last::Done, true) => {}
            (last, true) if step.begun > committed_at && saga.state == SagaState::Done => {
                found(into, "I3", Some(&saga.id), format!("past its pivot, and step {number} is {last:?} in the end"));
            }
            _ if is_in_place && step.has_undo => {
                let last = format!("{:?}", step.last).to_lowercase();
                found(into, "I3", Some(&saga.id), format!("step {number} is in effect, and the journal has it {last}"));
            }
            _ => {}
        }
    }
    for number in &calls {
        match (count(*number, false), committed) {
            (0, true) if saga.state == SagaState::Done => {
                found(into, "I7", Some(&saga.id), format!("committed, and promised call {number} wasn't made"));
            }
            (1.., false) => {
                found(into, "I7", Some(&saga.id), format!("not committed, and promised call {number} was made"));
            }
            _ => {}
        }
    }
    if let Some(effect) = effects
        .iter()
        .find(|effect| !calls.contains(&effect.number) && !steps.iter().any(|step| step.number == effect.number))
    {
        let what = format!("{} took effect, and the journal doesn't know of it", effect.step);
        found(into, "I3", Some(&saga.id), what);
    }
    let receipts = seen.history.receipts.iter().filter(|of| **of == saga.id).count();
    if receipts != usize::from(committed) && saga.state != SagaState::Parked {
        found(into, "I7", Some(&saga.id), format!("{receipts} receipts, and it committed: {committed}"));
    }
}

/// I5.
fn rest(seen: &Seen<'_>, saga: &SagaSeen, into: &mut Vec<Violation>) {
    let fine = match saga.state {
        SagaState::Done | SagaState::Undone => true,
        SagaState::Parked => seen.may_be_parked(&saga.id),
        SagaState::Unfinished | SagaState::Abandoned => false,
    };
    if !fine {
        found(into, "I5", Some(&saga.id), format!("it is {:?} at rest", saga.state).to_lowercase());
    }
    if saga.is_held {
        found(into, "I5", Some(&saga.id), "at rest it has an owner, a lease, or a time to be woken".to_owned());
    }
}

/// I8.
fn journal(saga: &SagaSeen, into: &mut Vec<Violation>) {
    let mut last_epoch = 0;
    for (place, record) in saga.records.iter().enumerate() {
        if record.seq as usize != place {
            found(into, "I8", Some(&saga.id), format!("record {} where {place} should be", record.seq));
            break;
        }
        if record.epoch < last_epoch {
            let what = format!("record {place} is of epoch {} after one of {last_epoch}", record.epoch);
            found(into, "I8", Some(&saga.id), what);
        }
        last_epoch = record.epoch;
        if matches!(record.entry, Entry::End(_)) && place + 1 < saga.records.len() {
            found(into, "I8", Some(&saga.id), format!("{} records after its end", saga.records.len() - place - 1));
        }
    }
    let end = saga.records.iter().rev().find_map(|record| match record.entry {
        Entry::End(state) => Some(state),
        _ => None,
    });
    let is_final = !matches!(saga.state, SagaState::Unfinished | SagaState::Parked);
    if end != is_final.then_some(saga.state) {
        found(into, "I8", Some(&saga.id), format!("its row says {:?}, its last record {end:?}", saga.state));
    }
    if end == Some(SagaState::Done) && !saga.is_committed() {
        found(into, "I8", Some(&saga.id), "done, and never committed".to_owned());
    }
}
