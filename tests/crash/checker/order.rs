//! I9 and I10: what came before what.

use super::{Last, Seen, StepSeen, Violation, found};
use crate::history::{Entry, SagaSeen};

pub(super) fn check(seen: &Seen<'_>, into: &mut Vec<Violation>) {
    for saga in seen.sagas.values() {
        epochs(seen, saga, into);
        undos(seen, saga, into);
    }
}

/// I9: by what the calls said, and by what the journal says, for a call may be made to say anything.
fn epochs(seen: &Seen<'_>, saga: &SagaSeen, into: &mut Vec<Violation>) {
    let undone_in = |number| {
        let undone = saga.records.iter().find(|record| record.entry == Entry::Undone && record.number == number);
        undone.map(|record| record.epoch)
    };
    let began_in = |number| {
        let begun =
            |record: &&crate::history::Rec| matches!(record.entry, Entry::Intent { .. }) && record.number == number;
        saga.records.iter().find(begun).map(|record| record.epoch)
    };
    let takeover = saga.records.iter().find(|record| record.entry == Entry::Takeover);
    for at_stock in [true, false] {
        let effects: Vec<_> = seen.effects(&saga.id).iter().filter(|effect| effect.at_stock == at_stock).collect();
        for pair in effects.windows(2) {
            if pair[1].epoch < pair[0].epoch {
                let what =
                    format!("{} of epoch {} after {} of {}", pair[1].step, pair[1].epoch, pair[0].step, pair[0].epoch);
                found(into, "I9", Some(&saga.id), what);
            }
        }
        // Steps begin in the epoch that they are journaled in. What was undone later than that was undone by another
        // coordinator only if all undos were: those of the first begin after its last step.
        for (place, undo) in effects.iter().enumerate().filter(|(_, effect)| effect.undo) {
            let decided = saga.records.iter().find(|record| record.entry == Entry::Undo);
            let (Some(takeover), Some(decided), Some(epoch)) = (takeover, decided, undone_in(undo.number)) else {
                continue;
            };
            if decided.seq < takeover.seq {
                continue;
            }
            let late = effects[place..]
                .iter()
                .find(|later| !later.undo && began_in(later.number).is_some_and(|began| began < epoch));
            if let Some(late) = late {
                let what = format!("{} took effect after {} was undone by a later coordinator", late.step, undo.step);
                found(into, "I9", Some(&saga.id), what);
            }
        }
    }
}

/// I10: a step that began after another had ended may have built on it, so it is undone first.
fn undos(seen: &Seen<'_>, saga: &SagaSeen, into: &mut Vec<Violation>) {
    let steps = saga.steps();
    let effects = seen.effects(&saga.id);
    let took_effect = |step: &StepSeen| {
        effects.iter().find(|effect| effect.undo && effect.number == step.number).map(|effect| effect.at)
    };
    for earlier in &steps {
        for later in steps.iter().filter(|later| earlier.ended.is_some_and(|ended| later.begun > ended)) {
            // The others go on while one is parked.
            if later.last == Last::Parked || earlier.last == Last::Parked {
                continue;
            }
            let (first, second) = (later.number, earlier.number);
            if let (Some(later), Some(earlier)) = (later.undone, earlier.undone)
                && later > earlier
            {
                found(into, "I10", Some(&saga.id), format!("step {second} is journaled as undone before step {first}"));
            }
            if let (Some(later), Some(earlier)) = (took_effect(later), took_effect(earlier))
                && later > earlier
            {
                found(into, "I10", Some(&saga.id), format!("step {second} was undone before step {first}"));
            }
        }
    }
}
