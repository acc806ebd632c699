//! I1 and I2: the books as a whole, by what clients asked for.

use std::collections::BTreeMap;

use super::{Last, Seen, Violation, found};
use crate::{history::SagaState, shop::Fate};

pub(super) fn check(seen: &Seen<'_>, into: &mut Vec<Violation>) {
    let history = seen.history;
    let orders: BTreeMap<&str, _> = history.asked.iter().map(|asked| (asked.order.id.as_str(), &asked.order)).collect();
    let (mut cents, mut items, mut parked) = (0, 0, false);
    for saga in &history.sagas {
        parked |= saga.state == SagaState::Parked;
        if !saga.is_committed() {
            continue;
        }
        let Some(order) = seen.order(&saga.id).and_then(|order| orders.get(order)) else {
            found(into, "I3", Some(&saga.id), "committed, and nothing is seen of its order".to_owned());
            continue;
        };
        cents += order.cents;
        items += order.items;
        // The tip is the only step that may be missing from a committed order; a cent, if the journal says that it was given.
        if order.fate.is_defined() {
            cents += 1;
        }
        if order.fate == Fate::Tips {
            let given = saga.steps().iter().filter(|step| step.last == Last::Done).count();
            cents += i64::from(given == 3);
        }
    }

    let charged: i64 = history.charges.iter().filter(|charge| charge.refunds == 0).map(|charge| charge.cents).sum();
    // What is parked may be half undone.
    if charged != cents && !parked {
        found(into, "I1", None, format!("{charged} cents are charged, and committed orders cost {cents}"));
    }
    for charge in history.charges.iter().filter(|charge| charge.refunds > 1) {
        found(into, "I1", Some(&charge.saga), format!("refunded {} times", charge.refunds));
    }

    let gone = history.stock_at_first - history.on_hand;
    if gone != items && !parked {
        found(into, "I2", None, format!("{gone} items are gone from the stock, and committed orders took {items}"));
    }
    for hold in &history.holds {
        if hold.state == "open" && !seen.may_be_parked(&hold.saga) {
            found(into, "I2", Some(&hold.saga), format!("a hold on {} items is left", hold.items));
        }
    }
    let taken: i64 = history.holds.iter().filter(|hold| hold.state == "taken").map(|hold| hold.items).sum();
    if taken != items && !parked {
        found(into, "I2", None, format!("{taken} items are taken, and committed orders took {items}"));
    }
}
