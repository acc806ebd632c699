//! I6: what clients were told.

use std::collections::BTreeMap;

use super::{Seen, Violation, found};
use crate::{history::Asked, shop::Fate};

pub(super) fn check(seen: &Seen<'_>, into: &mut Vec<Violation>) {
    // Which sagas of an order committed.
    let mut committed: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut known = BTreeMap::new();
    for saga in seen.sagas.values() {
        let Some(order) = seen.order(&saga.id) else { continue };
        known.insert(order, saga.id.as_str());
        if saga.is_committed() {
            committed.entry(order).or_default().push(&saga.id);
        }
    }
    for asked in &seen.history.asked {
        let id = asked.order.id.as_str();
        let committed = committed.get(id).map_or(&[] as &[&str], Vec::as_slice);
        known.remove(id);
        if committed.len() > 1 {
            found(into, "I6", Some(committed[1]), format!("order {id} was placed {} times", committed.len()));
        }
        if !committed.is_empty() && !asked.order.fate.may_commit() {
            found(
                into,
                "I6",
                Some(committed[0]),
                format!("order {id} committed, and was to be {:?}", asked.order.fate),
            );
        }
        if asked.answers.is_empty() && !asked.left && asked.order.fate != Fate::Panics {
            found(into, "I6", None, format!("order {id} was never answered for good"));
        }
        answers(asked, committed, into);
    }
    for told in seen.history.misused.iter().filter(|told| told.status != 422 || told.said.is_some()) {
        found(into, "I6", None, format!("a key was used for another order, and that was answered {told:?}"));
    }
    for (order, saga) in known {
        found(into, "I6", Some(saga), format!("order {order} took effect, and nobody had its key for it"));
    }
}

fn answers(asked: &Asked, committed: &[&str], into: &mut Vec<Violation>) {
    let id = &asked.order.id;
    for told in &asked.answers {
        if let Some(said) = &told.said
            && said.order != *id
        {
            let what = format!("who asked for order {id} was given the answer of {}", said.order);
            found(into, "I6", Some(&said.saga), what);
        }
        if told.said.is_none() && told.is_final_failure() {
            let what = format!("order {id} was refused by its key alone, which nobody had used: {}", told.status);
            found(into, "I6", None, what);
        }
        let saga = told.said.as_ref().map(|said| said.saga.as_str());
        // A definition doesn't say which saga it was.
        let names_it = |saga: &str| saga.is_empty() && !committed.is_empty() || committed.contains(&saga);
        if told.commits() && !saga.is_some_and(names_it) {
            found(into, "I6", saga, format!("order {id} was answered {}, and isn't committed", told.status));
        }
        if told.is_final_failure() && !committed.is_empty() {
            found(into, "I6", saga, format!("order {id} was answered {}, and is committed", told.status));
        }
    }
    let mut last_words = asked.answers.iter().filter(|told| told.commits() || told.is_final_failure());
    if let Some(first) = last_words.next()
        && let Some(other) = last_words.find(|told| *told != first)
    {
        let saga = other.said.as_ref().map(|said| said.saga.as_str());
        let what = format!("order {id} was answered {first:?}, and then {other:?}");
        found(into, "I6", saga, what);
    }
}
