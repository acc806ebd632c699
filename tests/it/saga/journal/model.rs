//! Memory is the slow, obvious version: the file must give the same answers, and hold the same in the end.

use proptest::{collection, option, prelude::*};

use super::*;

const OWNERS: [&str; 3] = ["a", "b", "c"];

fn owner() -> impl Strategy<Value = String> {
    prop::sample::select(&OWNERS[..]).prop_map(str::to_owned)
}

/// A few keys, so that they clash.
fn key() -> impl Strategy<Value = Option<String>> {
    option::of("[kl]")
}

fn time() -> impl Strategy<Value = u64> {
    0..20_u64
}

fn state() -> impl Strategy<Value = State> {
    prop::sample::select(&State::ALL[..])
}

fn some_row() -> impl Strategy<Value = SagaRow> {
    let who = ((0..12_u8, 0..4_u32), owner(), any::<bool>(), 0..3_u64, 0..3_u32, option::of(time()));
    let what = (key(), key(), state(), option::of(time()), option::of(time()));
    (who, what).prop_map(|(who, (scope, exclusive, state, wake, expires))| {
        let ((number, takeovers), owner, owned, epoch, version, lease) = who;
        SagaRow {
            owner: owned.then_some(owner),
            epoch,
            version,
            lease_until: lease,
            takeovers,
            scope_key: scope,
            exclusive,
            state,
            wake_at: wake,
            expires_at: expires,
            ..row(number, "")
        }
    })
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let record = (0..5_u32, time(), prop::sample::select(all_entries()));
    collection::vec(record.prop_map(|(seq, at, entry)| Record { seq, at, entry }), 0..3)
}

fn change() -> impl Strategy<Value = Change> {
    let ended = option::of((time(), time()));
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let answer = option::of(collection::vec(any::<u8>(), 0..3));
    let state = prop_oneof![2 => Just(None), 1 => state().prop_map(Some)];
    (state, flags, ended, answer, option::of(time())).prop_map(
        |(state, (progress, let_go, release_key), ended, answer, wake_at)| Change {
            state,
            progress,
            let_go,
            ended,
            answer: answer.map(Bytes::from),
            release_key,
            wake_at,
        },
    )
}

fn some_write() -> impl Strategy<Value = Write> {
    let scope = prop_oneof![
        Just(ClaimScope::Expired),
        Just(ClaimScope::All),
        (0..12_u8).prop_map(|number| ClaimScope::One(id(number)))
    ];
    prop_oneof![
        4 => (some_row(), records()).prop_map(|(row, records)| Write::Open(Box::new(row), records)),
        6 => (0..12_u8, owner(), 0..4_u64, records(), change())
            .prop_map(|(number, owner, epoch, records, change)| append(fence(number, &owner, epoch), records, change)),
        2 => (owner(), (time(), time()), scope, 0..5_u32, 0..4_u32).prop_map(
            |(owner, (now, lease_until), scope, limit, most_takeovers)| {
                Write::Claim { owner, now, lease_until, scope, limit, most_takeovers }
            }
        ),
        1 => (owner(), time()).prop_map(|(owner, lease_until)| Write::Renew { owner, lease_until }),
        1 => owner().prop_map(|owner| Write::Release { owner }),
        1 => (time(), 0..4_u32).prop_map(|(now, limit)| Write::Prune { now, limit }),
    ]
}

fn held(journal: &mut dyn Journal) -> Vec<(SagaRow, Vec<Record>)> {
    let rows = journal.list(&everything()).unwrap();
    rows.into_iter().map(|row| (row.clone(), journal.records(row.id).unwrap())).collect()
}

/// What it answers doesn't depend on the disk, which would be most of the time.
fn reopen(folder: &Folder) -> SqliteJournal {
    let mut options = SqliteOptions::default();
    options.planted_synchronous = Some("OFF");
    SqliteJournal::open_with(folder.file(), options).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_file_answers_and_holds_what_memory_does(
        batches in collection::vec(collection::vec(some_write(), 1..8), 1..16),
        reopened in any::<prop::sample::Index>(),
        list in (option::of(state()), option::of(0..12_u8), 0..12_u32),
    ) {
        let folder = Folder::new();
        let mut memory = MemoryJournal::new();
        let mut file = reopen(&folder);
        for (number, batch) in batches.iter().enumerate() {
            if number == reopened.index(batches.len()) {
                drop(file);
                file = reopen(&folder);
            }
            prop_assert_eq!(file.write(batch).unwrap(), memory.write(batch).unwrap());
        }
        prop_assert_eq!(held(&mut file), held(&mut memory));
        prop_assert_eq!(file.needs().unwrap(), memory.needs().unwrap());
        for key in ["k", "l"] {
            prop_assert_eq!(file.by_key(key).unwrap(), memory.by_key(key).unwrap());
        }
        let (state, before, limit) = list;
        let filter = Filter { state, before: before.map(id), limit, name: None };
        prop_assert_eq!(file.list(&filter).unwrap(), memory.list(&filter).unwrap());
    }
}
