//! A saga's row, to and from its columns.

use bytes::Bytes;
use rusqlite::{Connection, Row, types::ValueRef};

use super::super::{SagaRow, State};
use crate::step::SagaId;

/// In the order of [`COLUMNS`].
pub(super) const COLUMNS: &str = "id, name, version, scope_key, fingerprint, exclusive, state, owner, epoch, lease_until, \
     wake_at, takeovers, parent, parent_step, deadline, trace, created_at, ended_at, expires_at, answer, lsn";

const INSERT: &str = "INSERT INTO saga (id, name, version, scope_key, fingerprint, exclusive, state, owner, epoch, \
     lease_until, wake_at, takeovers, parent, parent_step, deadline, trace, created_at, ended_at, expires_at, answer, lsn) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21) \
     ON CONFLICT DO NOTHING";

/// A row, and the number of its last record.
pub(super) type Found = (SagaRow, Option<i64>);

/// Whether it was inserted: no other row has its id, its key, or, unfinished, its exclusive key.
pub(super) fn insert(connection: &Connection, row: &SagaRow, last: Option<i64>) -> rusqlite::Result<bool> {
    let (parent, parent_step) = row.parent.as_ref().map(|(id, step)| (id.as_bytes(), step)).unzip();
    let inserted = connection.prepare_cached(INSERT)?.execute(rusqlite::params![
        row.id.as_bytes(),
        row.name.as_str(),
        row.version,
        row.scope_key,
        row.fingerprint.as_deref(),
        row.exclusive,
        row.state as u8,
        row.owner,
        to_sql(row.epoch),
        row.lease_until.map(to_sql),
        row.wake_at.map(to_sql),
        row.takeovers,
        parent,
        parent_step,
        row.deadline.map(to_sql),
        row.trace,
        to_sql(row.created_at),
        row.ended_at.map(to_sql),
        row.expires_at.map(to_sql),
        row.answer.as_deref(),
        last,
    ])?;
    Ok(inserted > 0)
}

/// The row in these columns, or what is wrong with it.
pub(super) fn decode(row: &Row<'_>) -> Result<Found, String> {
    let id: [u8; 16] = get(row, 0)?;
    let id = SagaId::from_bytes(id);
    let rest = || {
        let parent: Option<[u8; 16]> = get(row, 12)?;
        let parent_step: Option<String> = get(row, 13)?;
        let decoded = SagaRow {
            id,
            name: get::<String>(row, 1)?.into(),
            version: get(row, 2)?,
            scope_key: get(row, 3)?,
            fingerprint: bytes(row, 4)?,
            exclusive: get(row, 5)?,
            state: state(get(row, 6)?)?,
            owner: get(row, 7)?,
            epoch: time(row, 8)?.ok_or("the epoch is missing")?,
            lease_until: time(row, 9)?,
            wake_at: time(row, 10)?,
            takeovers: get(row, 11)?,
            parent: parent.map(SagaId::from_bytes).zip(parent_step),
            deadline: time(row, 14)?,
            trace: get(row, 15)?,
            created_at: time(row, 16)?.ok_or("the time it was created is missing")?,
            ended_at: time(row, 17)?,
            expires_at: time(row, 18)?,
            answer: bytes(row, 19)?,
        };
        Ok::<_, String>((decoded, get(row, 20)?))
    };
    rest().map_err(|problem| format!("saga {id}: its row can't be read: {problem}"))
}

/// Times and epochs as SQLite has them. What is beyond its range is as good as never: 292 million years from now.
pub(super) fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn get<T: rusqlite::types::FromSql>(row: &Row<'_>, column: usize) -> Result<T, String> {
    row.get(column).map_err(|error| error.to_string())
}

pub(super) fn time(row: &Row<'_>, column: usize) -> Result<Option<u64>, String> {
    let number: Option<i64> = get(row, column)?;
    number.map(|number| u64::try_from(number).map_err(|_| format!("{number} is no time and no epoch"))).transpose()
}

pub(super) fn bytes(row: &Row<'_>, column: usize) -> Result<Option<Bytes>, String> {
    match row.get_ref(column).map_err(|error| error.to_string())? {
        ValueRef::Null => Ok(None),
        ValueRef::Blob(bytes) => Ok(Some(Bytes::copy_from_slice(bytes))),
        other => Err(format!("column {column} is {}, and should be a blob", other.data_type())),
    }
}

pub(super) fn state(number: i64) -> Result<State, String> {
    let known = State::ALL.into_iter().find(|state| i64::from(*state as u8) == number);
    known.ok_or_else(|| format!("{number} is no state"))
}
