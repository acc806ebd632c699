//! A record, to and from its columns.

use bytes::Bytes;
use rusqlite::{Connection, Row};

use super::{
    super::{Action, Entry, Invocation, Record},
    row::{bytes, get, state, time, to_sql},
};
use crate::step::SagaId;

/// In the order in which [`decode`] reads them.
pub(super) const COLUMNS: &str = "prev, saga, seq, at, kind, n, step, call, x, note, body";

const INSERT: &str = "INSERT INTO journal (lsn, prev, saga, seq, epoch, at, kind, n, step, call, x, note, body) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";

// The numbers are in every file there is.
const BEGUN: i64 = 1;
const INTENT: i64 = 2;
const DONE: i64 = 3;
const REFUSED: i64 = 4;
const UNKNOWN: i64 = 5;
const THEN: i64 = 6;
const COMMIT: i64 = 7;
const UNDO: i64 = 8;
const UNDONE: i64 = 9;
const CALLED: i64 = 10;
const FAILED: i64 = 11;
const PARKED: i64 = 12;
const OPERATOR: i64 = 13;
const TAKEOVER: i64 = 14;
const END: i64 = 15;

/// What differs from entry to entry.
#[derive(Default)]
struct Columns<'a> {
    kind: i64,
    step: Option<&'a str>,
    call: Option<&'a str>,
    x: Option<i64>,
    note: Option<&'a str>,
    body: Option<&'a Bytes>,
}

pub(super) struct Place {
    pub(super) lsn: i64,
    pub(super) prev: Option<i64>,
    pub(super) saga: SagaId,
    pub(super) epoch: u64,
}

pub(super) fn insert(connection: &Connection, place: &Place, record: &Record) -> rusqlite::Result<()> {
    let columns = encode(&record.entry);
    connection.prepare_cached(INSERT)?.execute(rusqlite::params![
        place.lsn,
        place.prev,
        place.saga.as_bytes(),
        record.seq,
        to_sql(place.epoch),
        to_sql(record.at),
        columns.kind,
        record.entry.number(),
        columns.step,
        columns.call,
        columns.x,
        columns.note,
        columns.body.map(|body| &**body),
    ])?;
    Ok(())
}

fn encode(entry: &Entry) -> Columns<'_> {
    let kind = |kind| Columns { kind, ..Columns::default() };
    let noted = |kind, note| Columns { kind, note: Some(note), ..Columns::default() };
    match entry {
        Entry::Begun { input } => Columns { body: Some(input), ..kind(BEGUN) },
        Entry::Intent { number: _, step, undo, settle } => Columns {
            step: Some(step.as_str()),
            call: undo.as_ref().map(|undo| undo.call.as_str()),
            body: undo.as_ref().map(|undo| &undo.args),
            x: Some(i64::from(*settle)),
            ..kind(INTENT)
        },
        Entry::Done { number: _, output } => Columns { body: output.as_ref(), ..kind(DONE) },
        Entry::Refused { number: _, reason } => noted(REFUSED, reason),
        Entry::Unknown { number: _, reason } => noted(UNKNOWN, reason),
        Entry::Then { number: _, call } => {
            Columns { call: Some(call.call.as_str()), body: Some(&call.args), ..kind(THEN) }
        }
        Entry::Commit => kind(COMMIT),
        Entry::Undo { reason } => noted(UNDO, reason),
        Entry::Undone { number: _ } => kind(UNDONE),
        Entry::Called { number: _ } => kind(CALLED),
        Entry::Failed { number: _, attempt, reason } => {
            Columns { x: Some(i64::from(*attempt)), ..noted(FAILED, reason) }
        }
        Entry::Parked { number: _, reason } => noted(PARKED, reason),
        Entry::Operator { action, number: _, note } => {
            let action = match action {
                Action::Retry => 0,
                Action::Skip => 1,
                Action::Abandon => 2,
            };
            Columns { x: Some(action), ..noted(OPERATOR, note) }
        }
        Entry::Takeover { owner, epoch } => Columns { x: Some(to_sql(*epoch)), ..noted(TAKEOVER, owner) },
        Entry::End { state } => Columns { x: Some(i64::from(*state as u8)), ..kind(END) },
    }
}

/// The record in these columns and where the one before it is, or what is wrong with it.
pub(super) fn decode(row: &Row<'_>, saga: SagaId) -> Result<(Record, Option<i64>), String> {
    if get::<[u8; 16]>(row, 1)? != *saga.as_bytes() {
        return Err("it is another saga's".to_owned());
    }
    let record = Record { seq: get(row, 2)?, at: time(row, 3)?.ok_or("its time is missing")?, entry: entry(row)? };
    Ok((record, get(row, 0)?))
}

fn entry(row: &Row<'_>) -> Result<Entry, String> {
    let number = || get::<u32>(row, 5);
    let reason = || get::<String>(row, 9);
    let body = || bytes(row, 10);
    let invocation = || {
        let call: Option<String> = get(row, 7)?;
        let invocation = call.map(|call| {
            let args = body()?.ok_or_else(|| format!("the arguments of {call} are missing"))?;
            Ok::<_, String>(Invocation { call: call.into(), args })
        });
        invocation.transpose()
    };
    Ok(match get::<i64>(row, 4)? {
        BEGUN => Entry::Begun { input: body()?.ok_or("its input is missing")? },
        INTENT => Entry::Intent {
            number: number()?,
            step: get::<String>(row, 6)?.into(),
            undo: invocation()?,
            settle: get(row, 8)?,
        },
        DONE => Entry::Done { number: number()?, output: body()? },
        REFUSED => Entry::Refused { number: number()?, reason: reason()? },
        UNKNOWN => Entry::Unknown { number: number()?, reason: reason()? },
        THEN => Entry::Then { number: number()?, call: invocation()?.ok_or("its call is missing")? },
        COMMIT => Entry::Commit,
        UNDO => Entry::Undo { reason: reason()? },
        UNDONE => Entry::Undone { number: number()? },
        CALLED => Entry::Called { number: number()? },
        FAILED => Entry::Failed { number: number()?, attempt: get(row, 8)?, reason: reason()? },
        PARKED => Entry::Parked { number: number()?, reason: reason()? },
        OPERATOR => Entry::Operator { action: action(get(row, 8)?)?, number: get(row, 5)?, note: reason()? },
        TAKEOVER => Entry::Takeover { owner: reason()?, epoch: time(row, 8)?.ok_or("its epoch is missing")? },
        END => Entry::End { state: state(get(row, 8)?)? },
        unknown => return Err(format!("{unknown} is no kind of record")),
    })
}

fn action(number: i64) -> Result<Action, String> {
    match number {
        0 => Ok(Action::Retry),
        1 => Ok(Action::Skip),
        2 => Ok(Action::Abandon),
        _ => Err(format!("{number} is nothing that an operator can do")),
    }
}
