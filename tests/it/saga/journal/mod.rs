//! What every journal must do, over all that we have; and what only a file can do.

mod file;
mod model;
mod rules;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use buttress::{
    saga::journal::{
        Change, ClaimScope, Entry, Fence, Filter, Invocation, Journal, Lookup, MemoryJournal, Record, SagaRow,
        SqliteJournal, SqliteOptions, State, Write, Written,
    },
    step::SagaId,
};
use bytes::Bytes;

/// A folder that is gone when this is.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("journal-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("sagas.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs `check` over an empty journal of each kind.
fn each(check: impl Fn(&mut dyn Journal)) {
    check(&mut MemoryJournal::new());
    let folder = Folder::new();
    check(&mut SqliteJournal::open(folder.file()).unwrap());
}

fn id(number: u8) -> SagaId {
    SagaId::from_bytes([number; 16])
}

/// A saga of `owner`'s that has just begun.
fn row(number: u8, owner: &str) -> SagaRow {
    SagaRow {
        id: id(number),
        name: "place-order".into(),
        version: 0,
        scope_key: None,
        fingerprint: None,
        exclusive: None,
        state: State::Running,
        owner: Some(owner.to_owned()),
        epoch: 1,
        lease_until: Some(1000),
        wake_at: None,
        takeovers: 0,
        parent: None,
        deadline: None,
        trace: None,
        created_at: 100,
        ended_at: None,
        expires_at: None,
        answer: None,
    }
}

fn open(row: &SagaRow) -> Write {
    Write::Open(Box::new(row.clone()), vec![intent(0)])
}

fn intent(seq: u32) -> Record {
    let undo = Invocation { call: "payments.refund".into(), args: Bytes::from_static(b"{\"cents\":1}") };
    let entry = Entry::Intent { number: seq, step: "charge".into(), undo: Some(undo), settle: 5 };
    Record { seq, at: 200 + u64::from(seq), entry }
}

fn commit(seq: u32) -> Record {
    Record { seq, at: 300, entry: Entry::Commit }
}

fn fence(number: u8, owner: &str, epoch: u64) -> Fence {
    Fence { saga: id(number), owner: owner.to_owned(), epoch }
}

fn append(fence: Fence, records: Vec<Record>, change: Change) -> Write {
    Write::Append { fence, records, change }
}

/// What ends a saga at 500, to be forgotten from 900 on.
fn end() -> Change {
    Change { state: Some(State::Done), let_go: true, ended: Some((500, 900)), ..Change::default() }
}

fn claim(owner: &str, now: u64, scope: ClaimScope) -> Write {
    counting_to(10, owner, now, scope)
}

/// A claim that counts takeovers up to `most_takeovers`.
fn counting_to(most_takeovers: u32, owner: &str, now: u64, scope: ClaimScope) -> Write {
    Write::Claim { owner: owner.to_owned(), now, lease_until: now + 1000, scope, limit: 100, most_takeovers }
}

fn everything() -> Filter {
    Filter { state: None, name: None, before: None, limit: u32::MAX }
}

fn one(journal: &mut dyn Journal, write: Write) -> Written {
    let mut written = journal.write(std::slice::from_ref(&write)).unwrap();
    assert_eq!(written.len(), 1);
    written.remove(0)
}

fn claimed(written: Written) -> Vec<SagaId> {
    let Written::Claimed(claimed) = written else { panic!("{written:?} is no claim") };
    claimed.into_iter().map(|(row, _)| row.id).collect()
}

/// Every kind of record, so that each is seen to come back as it went.
fn all_entries() -> Vec<Entry> {
    use buttress::saga::journal::Action;
    let call = Invocation { call: "mail.receipt".into(), args: Bytes::new() };
    let reason = || "it said \"no\"\0, naïvely".to_owned();
    vec![
        Entry::Begun { input: Bytes::from_static(b"{}") },
        Entry::Intent { number: 0, step: "a".into(), undo: None, settle: 0 },
        Entry::Intent { number: u32::MAX, step: "b".into(), undo: Some(call.clone()), settle: u32::MAX },
        Entry::Done { number: 0, output: None },
        Entry::Done { number: 0, output: Some(Bytes::new()) },
        Entry::Done { number: 0, output: Some(Bytes::from(vec![255; 70_000])) },
        Entry::Refused { number: 1, reason: reason() },
        Entry::Unknown { number: 2, reason: String::new() },
        Entry::Then { number: 3, call },
        Entry::Commit,
        Entry::Undo { reason: reason() },
        Entry::Undone { number: 4 },
        Entry::Called { number: 5 },
        Entry::Failed { number: 6, attempt: 7, reason: reason() },
        Entry::Parked { number: 7, reason: reason() },
        Entry::Operator { action: Action::Retry, number: Some(8), note: reason() },
        Entry::Operator { action: Action::Skip, number: None, note: reason() },
        Entry::Operator { action: Action::Abandon, number: None, note: reason() },
        Entry::Takeover { owner: "b".into(), epoch: 9 },
        Entry::End { state: State::Undone },
    ]
}
