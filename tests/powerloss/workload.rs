//! What is written, and by whom.

use std::{fs::OpenOptions, io::Write as _, path::Path};

use buttress::{
    saga::journal::{
        Change, Entry, Fence, Filter, Invocation, Journal, Lookup, MemoryJournal, Record, SagaRow, SqliteJournal,
        SqliteOptions, State, Write,
    },
    step::SagaId,
};
use bytes::Bytes;

pub(crate) const BATCHES: usize = 32;

const FOLDER: &str = "POWERLOSS_DIR";
pub(crate) const SEED: &str = "POWERLOSS_SEED";
pub(crate) const SYNCHRONOUS: &str = "POWERLOSS_SYNCHRONOUS";

/// All that a journal holds.
pub(crate) type Contents = Vec<(SagaRow, Vec<Record>)>;

/// Does nothing unless the environment says so. Tells in the file `acks`, line by line, which batch it begins, and which is
/// acknowledged. Goes on where an earlier process was cut off.
pub(crate) fn write_if_told() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let (seed, synchronous) = (std::env::var(SEED).unwrap(), std::env::var(SYNCHRONOUS).unwrap());
    let folder = Path::new(&folder);
    let mut acks = OpenOptions::new().create(true).append(true).open(folder.join("acks")).unwrap();
    let mut tell = |word: &str, number: usize| acks.write_all(format!("{word} {number}\n").as_bytes()).unwrap();
    let Ok(mut journal) = open(folder, Box::leak(synchronous.into_boxed_str())) else { return };
    let batches = batches(seed.parse().unwrap());
    let held = contents(&mut journal).unwrap();
    let already = after_each(&batches).iter().position(|contents| *contents == held).expect("what was written before");
    for (number, batch) in batches.iter().enumerate().skip(already) {
        tell("begun", number);
        if journal.write(batch).is_err() {
            // The disk may be well again by now; the journal may not.
            assert!(journal.write(batch).is_err());
            break;
        }
        tell("acked", number);
    }
    // Not closed: that would be one more chance to sync.
    std::process::exit(0);
}

pub(crate) fn open(folder: &Path, synchronous: &'static str) -> Result<SqliteJournal, String> {
    let mut options = SqliteOptions::default();
    options.planted_synchronous = Some(synchronous);
    // So that there are several within the run.
    options.checkpoint_pages = 24;
    SqliteJournal::open_with(folder.join("sagas.db"), options).map_err(|error| error.to_string())
}

pub(crate) fn contents(journal: &mut dyn Lookup) -> Result<Contents, String> {
    let all = Filter { state: None, name: None, before: None, limit: u32::MAX };
    let rows = journal.list(&all).map_err(|error| error.to_string())?;
    let held = rows.into_iter().map(|row| Ok((row.clone(), journal.records(row.id)?)));
    held.collect::<Result<_, buttress::saga::journal::JournalError>>().map_err(|error| error.to_string())
}

/// What memory holds after none of the batches, the first, the first two...
pub(crate) fn after_each(batches: &[Vec<Write>]) -> Vec<Contents> {
    let mut memory = MemoryJournal::new();
    let mut after = vec![vec![]];
    for batch in batches {
        memory.write(batch).unwrap();
        after.push(contents(&mut memory).unwrap());
    }
    after
}

/// Sagas that begin, go on, end and are forgotten; some batches are small, some take many pages. Each begins a saga, so that
/// no two states are alike.
pub(crate) fn batches(seed: u64) -> Vec<Vec<Write>> {
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut sagas: Vec<(SagaId, u32)> = Vec::new();
    let mut batches = Vec::new();
    for number in 0..BATCHES {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
        let id = SagaId::from_bytes(bytes);
        let mut batch = vec![Write::Open(Box::new(row(id)), vec![record(0, &mut chance)])];
        sagas.push((id, 1));
        for _ in 0..chance.usize(0..6) {
            let which = chance.usize(0..sagas.len());
            let (id, next) = &mut sagas[which];
            let fence = Fence { saga: *id, owner: "a".into(), epoch: 1 };
            let over = chance.u8(0..5) == 0;
            let ended = Change { state: Some(State::Done), ended: Some((1, 2)), ..Change::default() };
            let change = if over { ended } else { Change::default() };
            batch.push(Write::Append { fence, records: vec![record(*next, &mut chance)], change });
            *next += 1;
            if over {
                sagas.swap_remove(which);
                if sagas.is_empty() {
                    break;
                }
            }
        }
        if number % 8 == 7 {
            batch.push(Write::Prune { now: 2, limit: 5 });
        }
        batches.push(batch);
    }
    batches
}

fn row(id: SagaId) -> SagaRow {
    SagaRow {
        id,
        name: "place-order".into(),
        version: 0,
        scope_key: Some(id.to_string()),
        fingerprint: None,
        exclusive: None,
        state: State::Running,
        owner: Some("a".into()),
        epoch: 1,
        lease_until: Some(u64::from(u32::MAX)),
        wake_at: None,
        takeovers: 0,
        parent: None,
        deadline: None,
        trace: None,
        created_at: 1,
        ended_at: None,
        expires_at: None,
        answer: None,
    }
}

fn record(seq: u32, chance: &mut fastrand::Rng) -> Record {
    let length = if chance.u8(0..8) == 0 { 20_000 } else { chance.usize(0..600) };
    let args = Bytes::from_iter(std::iter::repeat_with(|| chance.u8(..)).take(length));
    let undo = Some(Invocation { call: "payments.refund".into(), args });
    Record { seq, at: 1, entry: Entry::Intent { number: seq, step: "charge".into(), undo, settle: 0 } }
}
