//! The checker finds what is wrong: in a history that is right, each invariant is violated, one at a time.

use super::check;
use crate::{
    history::{Asked, Charged, Effect, Entry, History, Hold, Rec, SagaSeen, SagaState, Told},
    shop::{Answered, Fate, Order},
};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("checker_finds_nothing_wrong_with_what_is_right", || assert_eq!(check(&right()), [])),
    ("checker_finds_money_that_nobody_owed", || finds("I1", |history| history.charges[0].cents += 1)),
    ("checker_finds_a_charge_that_was_refunded_twice", || finds("I1", |history| history.charges[1].refunds = 2)),
    ("checker_finds_stock_that_is_gone", || finds("I2", |history| history.on_hand -= 1)),
    ("checker_finds_a_hold_that_was_left", || finds("I2", |history| history.holds[1].state = "open".to_owned())),
    ("checker_finds_an_effect_that_was_not_undone", || {
        finds("I3", |history| history.effects.retain(|effect| !(effect.undo && effect.number == 1)));
    }),
    ("checker_finds_a_committed_step_that_is_not_in_effect", || {
        finds("I3", |history| history.effects.retain(|effect| effect.saga != PLACED || effect.number != 1));
    }),
    ("checker_finds_an_effect_that_the_journal_does_not_know", || {
        finds("I3", |history| history.sagas[0].records.retain(|record| record.number != 1));
    }),
    ("checker_finds_a_saga_that_the_journal_does_not_know", || finds("I3", |history| drop(history.sagas.pop()))),
    ("checker_finds_an_effect_that_took_place_twice", || {
        finds("I4", |history| history.effects.insert(0, history.effects[0].clone()));
    }),
    ("checker_finds_what_is_not_at_rest", || finds("I5", |history| history.sagas[0].state = SagaState::Unfinished)),
    ("checker_finds_what_is_parked_for_nothing", || finds("I5", |history| history.sagas[1].state = SagaState::Parked)),
    ("checker_finds_a_lease_that_was_kept", || finds("I5", |history| history.sagas[0].is_held = true)),
    ("checker_finds_a_2xx_that_is_not_committed", || {
        finds("I6", |history| history.asked[1].answers = vec![told(201, "declined", UNDONE)]);
    }),
    ("checker_finds_a_failure_that_is_committed", || {
        finds("I6", |history| history.asked[0].answers = vec![told(422, "placed", PLACED)]);
    }),
    ("checker_finds_two_answers_to_one_key", || {
        finds("I6", |history| history.asked[0].answers.push(told(201, "placed", "another")));
    }),
    ("checker_finds_an_answer_that_was_somebody_elses", || {
        finds("I6", |history| history.asked[1].answers = vec![told(422, "placed", UNDONE)]);
    }),
    ("checker_finds_a_fresh_key_that_was_refused", || {
        finds("I6", |history| history.asked[1].answers = vec![Told { status: 422, said: None }]);
    }),
    ("checker_finds_a_used_key_that_was_not_refused", || {
        finds("I6", |history| history.misused.push(told(201, "placed", PLACED)));
    }),
    ("checker_finds_an_order_that_was_placed_twice", || {
        finds("I6", |history| {
            let again = |saga: &str| if saga == PLACED { "again".to_owned() } else { saga.to_owned() };
            let mut saga = history.sagas[0].clone();
            saga.id = again(&saga.id);
            history.sagas.push(saga);
            let effects: Vec<_> = history.effects.iter().filter(|effect| effect.saga == PLACED).cloned().collect();
            history.effects.extend(effects.into_iter().map(|effect| Effect { saga: again(&effect.saga), ..effect }));
        });
    }),
    ("checker_finds_a_question_that_was_never_answered", || finds("I6", |history| history.asked[0].answers.clear())),
    ("checker_finds_a_promise_that_was_not_kept", || {
        finds("I7", |history| history.effects.retain(|effect| effect.step != "money.receipt"));
    }),
    ("checker_finds_a_promise_that_was_kept_though_it_should_not", || {
        finds("I7", |history| history.receipts.push(UNDONE.to_owned()));
    }),
    ("checker_finds_a_gap_in_the_journal", || {
        finds("I8", |history| history.sagas[1].records.retain(|record| record.seq != 2));
    }),
    ("checker_finds_an_epoch_that_fell", || finds("I8", |history| history.sagas[0].records[0].epoch = 2)),
    ("checker_finds_a_record_after_the_end", || {
        finds("I8", |history| {
            let seq = history.sagas[0].records.len() as u32;
            history.sagas[0].records.push(Rec { seq, epoch: 1, number: 0, entry: Entry::Failed });
        });
    }),
    ("checker_finds_a_row_that_says_another_thing_than_its_records", || {
        finds("I8", |history| history.sagas[1].state = SagaState::Abandoned);
    }),
    ("checker_finds_an_effect_of_an_epoch_that_is_over", || finds("I9", |history| history.effects[0].epoch = 2)),
    ("checker_finds_a_late_effect_though_it_names_no_epoch", late),
    ("checker_finds_an_undo_in_the_order_of_the_steps", || {
        finds("I10", |history| {
            let times = history.effects.iter_mut().filter(|effect| effect.undo).map(|effect| &mut effect.at);
            let [first, second] = times.collect::<Vec<_>>().try_into().unwrap();
            std::mem::swap(first, second);
        });
    }),
    ("checker_finds_an_undo_that_was_journaled_in_the_order_of_the_steps", || {
        finds("I10", |history| {
            let undone = history.sagas[1].records.iter_mut().filter(|record| record.entry == Entry::Undone);
            let [first, second] = undone.map(|record| &mut record.number).collect::<Vec<_>>().try_into().unwrap();
            std::mem::swap(first, second);
        });
    }),
];

const PLACED: &str = "placed-saga";
const UNDONE: &str = "undone-saga";

/// Breaks a history that was right.
fn finds(invariant: &str, break_it: impl FnOnce(&mut History)) {
    let mut history = right();
    break_it(&mut history);
    let found = check(&history);
    assert!(found.iter().any(|violation| violation.invariant == invariant), "{invariant} isn't among {found:?}");
}

/// An order that was placed, and one that was declined at the end; both after two steps.
fn right() -> History {
    use Entry::{Called, Commit, Done, End, Then, Undo, Undone};
    let step = Entry::Intent { has_undo: true };
    let both = [(0, step), (0, Done), (1, step), (1, Done)];
    let placed = [(2, Then), (3, Then), (0, Commit), (2, Called), (3, Called), (0, End(SagaState::Done))];
    let undone = [(2, Then), (3, Then), (0, Undo), (1, Undone), (0, Undone), (0, End(SagaState::Undone))];
    let effect = |saga: &str, at_stock, step: &str, number, undo, at| Effect {
        at_stock,
        saga: saga.to_owned(),
        step: step.to_owned(),
        number,
        undo,
        epoch: 1,
        order: if saga == PLACED { "placed" } else { "declined" }.to_owned(),
        at,
    };
    let hold = |saga: &str, state: &str| Hold { saga: saga.to_owned(), items: 3, state: state.to_owned() };
    let charge = |saga: &str, refunds| Charged { saga: saga.to_owned(), cents: 500, refunds };
    let order = |id: &str, fate| Order { id: id.to_owned(), items: 3, cents: 500, fate };
    History {
        stock_at_first: 10,
        on_hand: 7,
        holds: vec![hold(PLACED, "taken"), hold(UNDONE, "released")],
        charges: vec![charge(PLACED, 0), charge(UNDONE, 1)],
        receipts: vec![PLACED.to_owned()],
        effects: vec![
            effect(PLACED, true, "reserve", 0, false, 1),
            effect(PLACED, true, "stock.take", 2, false, 5),
            effect(UNDONE, true, "reserve", 0, false, 2),
            effect(UNDONE, true, "reserve", 0, true, 8),
            effect(PLACED, false, "charge", 1, false, 3),
            effect(PLACED, false, "money.receipt", 3, false, 6),
            effect(UNDONE, false, "charge", 1, false, 4),
            effect(UNDONE, false, "charge", 1, true, 7),
        ],
        sagas: vec![saga(PLACED, SagaState::Done, both, placed), saga(UNDONE, SagaState::Undone, both, undone)],
        asked: vec![
            Asked { order: order("placed", Fate::Commits), answers: vec![told(201, "placed", PLACED)], left: false },
            Asked {
                order: order("declined", Fate::Declines),
                answers: vec![told(422, "declined", UNDONE)],
                left: false,
            },
        ],
        ..History::default()
    }
}

fn saga<const N: usize, const M: usize>(
    id: &str,
    state: SagaState,
    steps: [(u32, Entry); N],
    rest: [(u32, Entry); M],
) -> SagaSeen {
    let entries = steps.into_iter().chain(rest).enumerate();
    let records = entries.map(|(seq, (number, entry))| Rec { seq: seq as u32, epoch: 1, number, entry });
    SagaSeen { id: id.to_owned(), state, is_held: false, records: records.collect() }
}

fn told(status: u16, order: &str, saga: &str) -> Told {
    let [order, saga] = [order, saga].map(str::to_owned);
    Told { status, said: Some(Answered { order, saga, says: String::new() }) }
}

/// The coordinator died with a step under way that nothing undoes; the step takes effect when all else is undone.
fn late() {
    use Entry::{Done, End, Intent, Takeover, Undo, Undone};
    finds("I9", |history| {
        let mut saga = saga(
            UNDONE,
            SagaState::Undone,
            [(0, Intent { has_undo: true }), (0, Done), (5, Intent { has_undo: false })],
            [(0, Takeover), (0, Undo), (0, Undone), (0, End(SagaState::Undone))],
        );
        saga.records.iter_mut().skip(3).for_each(|record| record.epoch = 2);
        history.sagas[1] = saga;
        history.effects.retain(|effect| effect.saga != UNDONE || effect.number != 1);
        let late = Effect { step: "label".to_owned(), number: 5, undo: false, at: 9, ..history.effects[3].clone() };
        history.effects.push(late);
    });
}
