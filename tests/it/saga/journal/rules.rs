//! The rules, each over every journal.

use super::*;

#[test]
fn a_saga_reads_back_as_it_was_written() {
    each(|journal| {
        let full = SagaRow {
            version: 3,
            scope_key: Some("alice|/orders|k1".into()),
            fingerprint: Some(Bytes::from_static(&[0, 1, 2])),
            exclusive: Some("order 7".into()),
            state: State::Undoing,
            wake_at: Some(7),
            takeovers: 2,
            parent: Some((id(9), "nested".into())),
            deadline: Some(8),
            trace: Some("00-abc".into()),
            ended_at: Some(9),
            expires_at: Some(10),
            answer: Some(Bytes::new()),
            ..row(1, "a")
        };
        assert_eq!(one(journal, open(&full)), Written::Ok);
        let bare = SagaRow { owner: None, lease_until: None, ..row(2, "a") };
        assert_eq!(one(journal, open(&bare)), Written::Ok);
        assert_eq!(journal.saga(id(1)).unwrap(), Some(full.clone()));
        assert_eq!(journal.saga(id(2)).unwrap(), Some(bare));
        assert_eq!(journal.saga(id(3)).unwrap(), None);
        assert_eq!(journal.by_key("alice|/orders|k1").unwrap(), Some(full));
        assert_eq!(journal.by_key("alice|/orders|k").unwrap(), None);
    });
}

#[test]
fn every_kind_of_record_reads_back_as_it_was_written_and_in_order() {
    each(|journal| {
        let records = all_entries().into_iter().zip(0..).map(|(entry, seq)| Record { seq, at: u64::from(seq), entry });
        let records: Vec<Record> = records.collect();
        let (first, rest) = records.split_at(3);
        one(journal, Write::Open(Box::new(row(1, "a")), first.to_vec()));
        one(journal, open(&row(2, "a")));
        one(journal, append(fence(1, "a", 1), rest.to_vec(), Change::default()));
        assert_eq!(journal.records(id(1)).unwrap(), records);
        assert_eq!(journal.records(id(2)).unwrap(), [intent(0)]);
        assert_eq!(journal.records(id(3)).unwrap(), []);
        assert_eq!(journal.reader().unwrap().records(id(1)).unwrap(), records, "the reader sees what is written");
    });
}

#[test]
fn an_idempotency_key_belongs_to_one_saga_until_it_is_released_or_the_saga_forgotten() {
    each(|journal| {
        let keyed = |number| SagaRow { scope_key: Some("k".into()), ..row(number, "a") };
        assert_eq!(one(journal, open(&keyed(1))), Written::Ok);
        assert_eq!(one(journal, open(&keyed(2))), Written::KeyTaken(Box::new(keyed(1))));
        assert_eq!(journal.saga(id(2)).unwrap(), None);
        assert_eq!(journal.records(id(2)).unwrap(), []);

        one(journal, append(fence(1, "a", 1), vec![], Change { release_key: true, ..Change::default() }));
        assert_eq!(journal.by_key("k").unwrap(), None);
        assert_eq!(one(journal, open(&keyed(2))), Written::Ok);

        one(journal, append(fence(2, "a", 1), vec![], end()));
        assert!(matches!(one(journal, open(&keyed(3))), Written::KeyTaken(_)), "an answer is kept for its key's life");
        assert_eq!(one(journal, Write::Prune { now: 900, limit: 10 }), Written::Pruned(1));
        assert_eq!(one(journal, open(&keyed(3))), Written::Ok);
    });
}

#[test]
fn an_exclusive_key_belongs_to_one_unfinished_saga() {
    each(|journal| {
        let exclusive = |number| SagaRow { exclusive: Some("order 7".into()), ..row(number, "a") };
        assert_eq!(one(journal, open(&exclusive(1))), Written::Ok);
        for state in [State::Committed, State::Parked, State::Undoing] {
            one(journal, append(fence(1, "a", 1), vec![], Change { state: Some(state), ..Change::default() }));
            assert_eq!(one(journal, open(&exclusive(2))), Written::ExclusiveTaken(id(1)), "{state:?}");
        }
        for (number, state) in [(1, State::Undone), (2, State::Done), (3, State::Abandoned)] {
            one(journal, append(fence(number, "a", 1), vec![], Change { state: Some(state), ..end() }));
            assert_eq!(one(journal, open(&exclusive(number + 1))), Written::Ok, "{state:?}");
        }
        let over = SagaRow { state: State::Done, ..exclusive(9) };
        assert_eq!(one(journal, open(&over)), Written::Ok, "one at rest works on nothing");
    });
}

#[test]
fn a_key_that_is_taken_is_told_before_an_exclusive_one() {
    each(|journal| {
        one(journal, open(&SagaRow { exclusive: Some("e".into()), ..row(1, "a") }));
        one(journal, open(&SagaRow { scope_key: Some("k".into()), ..row(2, "a") }));
        let both = SagaRow { exclusive: Some("e".into()), scope_key: Some("k".into()), ..row(3, "a") };
        assert!(matches!(one(journal, open(&both)), Written::KeyTaken(taken) if taken.id == id(2)));
    });
}

#[test]
fn an_id_is_begun_once() {
    each(|journal| {
        one(journal, open(&row(1, "a")));
        assert_eq!(one(journal, open(&row(1, "b"))), Written::Fenced);
        assert_eq!(journal.saga(id(1)).unwrap(), Some(row(1, "a")));
    });
}

#[test]
fn who_does_not_hold_the_saga_writes_nothing_and_spoils_nothing() {
    each(|journal| {
        one(journal, open(&row(1, "a")));
        let change = || Change { state: Some(State::Undoing), ..Change::default() };
        let written = journal.write(&[
            open(&row(2, "a")),
            append(fence(1, "b", 1), vec![intent(1)], change()),
            append(fence(1, "a", 2), vec![intent(1)], change()),
            append(fence(1, "a", 0), vec![intent(1)], change()),
            append(fence(7, "a", 1), vec![intent(1)], change()),
            open(&row(1, "b")),
            append(fence(1, "a", 1), vec![commit(1)], Change::default()),
        ]);
        use Written::{Fenced, Ok};
        assert_eq!(written.unwrap(), [Ok, Fenced, Fenced, Fenced, Fenced, Fenced, Ok]);
        assert_eq!(journal.saga(id(1)).unwrap(), Some(row(1, "a")));
        assert_eq!(journal.records(id(1)).unwrap(), [intent(0), commit(1)]);
        assert_eq!(journal.saga(id(2)).unwrap(), Some(row(2, "a")));
        assert_eq!(journal.records(id(7)).unwrap(), []);
    });
}

#[test]
fn nothing_follows_the_end() {
    each(|journal| {
        one(journal, open(&row(1, "a")));
        let over = Change { let_go: false, ..end() };
        assert_eq!(one(journal, append(fence(1, "a", 1), vec![], over)), Written::Ok);
        assert_eq!(one(journal, append(fence(1, "a", 1), vec![intent(1)], Change::default())), Written::Fenced);
        assert_eq!(journal.records(id(1)).unwrap(), [intent(0)]);
    });
}

#[test]
fn a_change_changes_what_it_names_and_the_wake_up_always() {
    each(|journal| {
        let begun = SagaRow { takeovers: 2, wake_at: Some(50), scope_key: Some("k".into()), ..row(1, "a") };
        one(journal, open(&begun));
        let mut expected = begun;
        let changes = [
            Change { progress: true, wake_at: Some(60), ..Change::default() },
            Change { state: Some(State::Committed), wake_at: Some(60), ..Change::default() },
            Change { answer: Some(Bytes::from_static(b"201")), ..Change::default() },
            Change::default(),
            Change { release_key: true, ..Change::default() },
            end(),
        ];
        for change in changes {
            assert_eq!(one(journal, append(fence(1, "a", 1), vec![], change.clone())), Written::Ok);
            change.apply(&mut expected);
            assert_eq!(journal.saga(id(1)).unwrap().as_ref(), Some(&expected), "{change:?}");
        }
    });
}

/// 1 expired, 2 held, 3 mine, 4 parked, 5 done, 6 without an owner.
fn six(journal: &mut dyn Journal) {
    one(journal, open(&SagaRow { lease_until: Some(400), ..row(1, "x") }));
    one(journal, open(&SagaRow { lease_until: Some(500), ..row(2, "x") }));
    one(journal, open(&SagaRow { lease_until: Some(400), ..row(3, "a") }));
    one(journal, open(&SagaRow { state: State::Parked, owner: None, lease_until: None, ..row(4, "x") }));
    one(journal, open(&SagaRow { state: State::Done, owner: None, lease_until: None, ..row(5, "x") }));
    one(journal, open(&SagaRow { owner: None, lease_until: None, ..row(6, "x") }));
}

#[test]
fn what_has_run_out_is_claimed_with_its_records_and_fences_its_former_owner_off() {
    each(|journal| {
        six(journal);
        let Written::Claimed(taken) = one(journal, claim("a", 500, ClaimScope::Expired)) else { panic!("no claim") };
        let held =
            |row: SagaRow| SagaRow { owner: Some("a".into()), epoch: 2, lease_until: Some(1500), takeovers: 1, ..row };
        let let_go_of = SagaRow { takeovers: 0, ..held(row(6, "x")) };
        assert_eq!(taken, [(held(row(1, "x")), vec![intent(0)]), (let_go_of, vec![intent(0)])]);
        assert_eq!(journal.saga(id(1)).unwrap(), Some(held(row(1, "x"))));
        assert_eq!(one(journal, append(fence(1, "x", 1), vec![intent(1)], Change::default())), Written::Fenced);
        assert_eq!(one(journal, append(fence(1, "a", 2), vec![intent(1)], Change::default())), Written::Ok);
        assert_eq!(claimed(one(journal, claim("b", 1500, ClaimScope::Expired))), [id(2), id(3)], "not yet run out");
        assert_eq!(claimed(one(journal, claim("b", 1501, ClaimScope::Expired))), [id(1), id(6)]);
        assert_eq!(journal.saga(id(1)).unwrap().unwrap().epoch, 3);
    });
}

#[test]
fn all_that_others_left_is_claimed_by_who_is_alone() {
    each(|journal| {
        six(journal);
        assert_eq!(claimed(one(journal, claim("a", 0, ClaimScope::All))), [id(1), id(2), id(6)]);
        assert_eq!(claimed(one(journal, claim("a", 0, ClaimScope::All))), []);
    });
}

#[test]
fn a_claim_takes_the_oldest_first_and_no_more_than_it_may() {
    each(|journal| {
        for number in [3, 1, 2] {
            one(journal, open(&SagaRow { owner: None, lease_until: None, ..row(number, "x") }));
        }
        let some = |most| match claim("a", 0, ClaimScope::All) {
            Write::Claim { owner, now, lease_until, scope, most_takeovers, .. } => {
                Write::Claim { owner, now, lease_until, scope, limit: most, most_takeovers }
            }
            other => other,
        };
        assert_eq!(claimed(one(journal, some(0))), []);
        assert_eq!(claimed(one(journal, some(2))), [id(1), id(2)]);
        assert_eq!(claimed(one(journal, some(2))), [id(3)]);
    });
}

#[test]
fn takeovers_are_counted_up_to_a_limit_where_there_was_an_owner_and_come_down_to_it_where_there_was_none() {
    each(|journal| {
        let counted = [(1, 0, 1), (2, 3, 4), (3, 4, 4), (4, 5, 5)];
        let let_go_of = [(5, 0, 0), (6, 3, 3), (7, 4, 4), (8, 5, 4)];
        for (number, takeovers, _) in counted {
            one(journal, open(&SagaRow { takeovers, ..row(number, "x") }));
        }
        for (number, takeovers, _) in let_go_of {
            one(journal, open(&SagaRow { takeovers, owner: None, lease_until: None, ..row(number, "x") }));
        }
        one(journal, counting_to(4, "a", 2000, ClaimScope::Expired));
        for (number, before, after) in counted.into_iter().chain(let_go_of) {
            let row = journal.saga(id(number)).unwrap().unwrap();
            assert_eq!((row.owner.as_deref(), row.takeovers), (Some("a"), after), "{number}: from {before}");
        }
        // One's own is counted like everybody's, and so is what only its claimant is left to take.
        one(journal, counting_to(u32::MAX, "a", 2000, ClaimScope::One(id(4))));
        assert_eq!(journal.saga(id(4)).unwrap().unwrap().takeovers, 6);
        one(journal, counting_to(4, "b", 0, ClaimScope::All));
        assert_eq!([1, 4, 8].map(|number| journal.saga(id(number)).unwrap().unwrap().takeovers), [2, 6, 4]);
    });
}

#[test]
fn what_was_let_go_of_to_wait_is_claimed_when_its_time_has_come_and_what_has_an_owner_at_once() {
    each(|journal| {
        for (number, wake_at) in [(1, None), (2, Some(499)), (3, Some(500)), (4, Some(501))] {
            one(journal, open(&SagaRow { owner: None, lease_until: None, wake_at, takeovers: 2, ..row(number, "x") }));
        }
        one(journal, open(&SagaRow { lease_until: Some(400), wake_at: Some(9000), ..row(5, "x") }));
        assert_eq!(claimed(one(journal, claim("a", 500, ClaimScope::Expired))), [1, 2, 3, 5].map(id));
        assert_eq!(claimed(one(journal, claim("b", 500, ClaimScope::All))), [1, 2, 3, 5].map(id), "whose lease runs");
        assert_eq!(
            claimed(one(journal, claim("b", 500, ClaimScope::One(id(4))))),
            [id(4)],
            "who names it needn't wait"
        );

        let wait = Change { let_go: true, wake_at: Some(600), ..Change::default() };
        assert_eq!(one(journal, append(fence(4, "b", 2), vec![], wait)), Written::Ok);
        for (now, expected) in [(599, vec![]), (600, vec![id(4)])] {
            assert_eq!(claimed(one(journal, claim("b", now, ClaimScope::All))), expected, "{now}");
        }
        assert_eq!(journal.saga(id(4)).unwrap().unwrap().takeovers, 2, "nobody died of it");
    });
}

#[test]
fn what_is_released_waits_for_nothing_and_what_was_let_go_of_before_keeps_its_time() {
    each(|journal| {
        for number in [1, 2] {
            one(journal, open(&row(number, "a")));
            let change = Change { let_go: number == 2, wake_at: Some(900), ..Change::default() };
            one(journal, append(fence(number, "a", 1), vec![], change));
        }
        one(journal, Write::Release { owner: "a".into() });
        assert_eq!([1, 2].map(|number| journal.saga(id(number)).unwrap().unwrap().wake_at), [None, Some(900)]);
        assert_eq!(claimed(one(journal, claim("b", 500, ClaimScope::Expired))), [id(1)]);
    });
}

#[test]
fn one_saga_is_claimed_parked_or_not_unless_another_holds_it_or_it_is_over() {
    each(|journal| {
        six(journal);
        for (number, expected) in [(1, true), (2, false), (3, true), (4, true), (5, false), (6, true), (7, false)] {
            let claimed = claimed(one(journal, claim("a", 500, ClaimScope::One(id(number)))));
            assert_eq!(claimed.contains(&id(number)), expected, "{number}");
        }
        assert_eq!(journal.saga(id(3)).unwrap().unwrap().epoch, 2, "one's own begins anew too");
    });
}

#[test]
fn a_lease_is_renewed_and_released_for_all_that_one_holds_and_nothing_else() {
    each(|journal| {
        for (number, owner) in [(1, "a"), (2, "a"), (3, "b"), (4, "a")] {
            one(journal, open(&row(number, owner)));
        }
        one(journal, append(fence(4, "a", 1), vec![], Change { let_go: false, ..end() }));
        assert_eq!(one(journal, Write::Renew { owner: "a".into(), lease_until: 7000 }), Written::Ok);
        let lease = |journal: &mut dyn Journal, number| {
            let row = journal.saga(id(number)).unwrap().unwrap();
            (row.owner, row.lease_until, row.epoch)
        };
        let held = |owner: &str, until| (Some(owner.to_owned()), Some(until), 1);
        assert_eq!([1, 2, 3].map(|number| lease(journal, number)), [held("a", 7000), held("a", 7000), held("b", 1000)]);
        assert_eq!(lease(journal, 4), held("a", 1000), "at rest, it needs none");

        assert_eq!(one(journal, Write::Release { owner: "a".into() }), Written::Ok);
        assert_eq!([1, 2, 3].map(|number| lease(journal, number)), [(None, None, 1), (None, None, 1), held("b", 1000)]);
        assert_eq!(one(journal, append(fence(1, "a", 1), vec![intent(1)], Change::default())), Written::Fenced);
        assert_eq!(claimed(one(journal, claim("c", 0, ClaimScope::Expired))), [id(1), id(2)]);
    });
}

#[test]
fn what_is_at_rest_is_forgotten_in_small_batches_and_the_unfinished_never() {
    each(|journal| {
        for (number, expires) in [(1, 800), (2, 700), (3, 900), (4, 901)] {
            one(journal, open(&row(number, "a")));
            let over = Change { ended: Some((500, expires)), ..end() };
            one(journal, append(fence(number, "a", 1), vec![commit(1)], over));
        }
        one(journal, open(&SagaRow { expires_at: Some(1), ..row(5, "a") }));
        one(journal, open(&SagaRow { state: State::Done, ..row(6, "a") }));
        let left = |journal: &mut dyn Journal| -> Vec<SagaId> {
            journal.list(&everything()).unwrap().into_iter().rev().map(|row| row.id).collect()
        };
        assert_eq!(one(journal, Write::Prune { now: 900, limit: 1 }), Written::Pruned(1));
        assert_eq!(left(journal), [1, 3, 4, 5, 6].map(id), "the longest over first");
        assert_eq!(one(journal, Write::Prune { now: 900, limit: 10 }), Written::Pruned(2));
        assert_eq!(one(journal, Write::Prune { now: 900, limit: 10 }), Written::Pruned(0));
        assert_eq!(left(journal), [4, 5, 6].map(id));
        assert_eq!(journal.records(id(1)).unwrap(), []);
        assert_eq!(journal.records(id(4)).unwrap(), [intent(0), commit(1)]);
    });
}

#[test]
fn a_list_has_the_youngest_first_and_goes_on_where_a_page_ended() {
    each(|journal| {
        for number in 1..=6 {
            let state = if number % 2 == 0 { State::Parked } else { State::Done };
            let name = if number <= 4 { "place-order" } else { "refund" };
            one(journal, open(&SagaRow { state, name: name.into(), ..row(number, "a") }));
        }
        let mut list =
            |filter| -> Vec<SagaId> { journal.list(&filter).unwrap().into_iter().map(|row| row.id).collect() };
        assert_eq!(list(everything()), [6, 5, 4, 3, 2, 1].map(id));
        assert_eq!(list(Filter { limit: 2, ..everything() }), [6, 5].map(id));
        assert_eq!(list(Filter { limit: 2, before: Some(id(5)), ..everything() }), [4, 3].map(id));
        assert_eq!(list(Filter { limit: 0, ..everything() }), []);
        assert_eq!(list(Filter { state: Some(State::Parked), ..everything() }), [6, 4, 2].map(id));
        assert_eq!(list(Filter { state: Some(State::Done), before: Some(id(4)), ..everything() }), [3, 1].map(id));
        assert_eq!(list(Filter { state: Some(State::Running), ..everything() }), []);
        assert_eq!(list(Filter { name: Some("refund".into()), ..everything() }), [6, 5].map(id));
        let both = Filter { name: Some("place-order".into()), state: Some(State::Parked), ..everything() };
        assert_eq!(list(both), [4, 2].map(id));
    });
}

#[test]
fn what_the_unfinished_need_is_known_before_any_is_claimed() {
    each(|journal| {
        let call = |name: &'static str| Invocation { call: name.into(), args: Bytes::new() };
        let then = |seq, name| Record { seq, at: 0, entry: Entry::Then { number: seq, call: call(name) } };
        let begun = SagaRow { version: 2, ..row(1, "a") };
        one(journal, Write::Open(Box::new(begun), vec![intent(0), then(1, "mail.receipt"), intent(2)]));
        let parked = SagaRow { state: State::Parked, version: 1, ..row(2, "b") };
        one(journal, Write::Open(Box::new(parked), vec![then(0, "audit")]));
        let over = SagaRow { state: State::Done, version: 9, ..row(3, "a") };
        one(journal, Write::Open(Box::new(over), vec![then(0, "forgotten")]));
        one(journal, Write::Open(Box::new(row(4, "a")), vec![]));
        let needs = journal.needs().unwrap();
        assert_eq!(needs.calls, ["audit", "mail.receipt", "payments.refund"]);
        assert_eq!(needs.definitions, [("place-order".to_owned(), 1), ("place-order".to_owned(), 2)]);
    });
}
