//! What can be asked of the file.

use std::{collections::BTreeSet, path::Path};

use rusqlite::{Connection, Params, types::Value};

use super::{
    super::{Entry, Filter, JournalError, Needs, Record, SagaRow},
    failed, record, row,
    row::Found,
    schema::unfinished,
    write::Trouble,
};
use crate::step::SagaId;

type Answer<T> = Result<T, Trouble>;

/// Asks several things of one state of the file.
pub(super) fn at_once<T>(
    connection: &Connection,
    path: &Path,
    ask: impl FnOnce(&Connection) -> Answer<T>,
) -> Result<T, JournalError> {
    let ask = || {
        let transaction = rusqlite::Transaction::new_unchecked(connection, rusqlite::TransactionBehavior::Deferred)?;
        ask(&transaction)
    };
    ask().map_err(|trouble| match trouble {
        Trouble::Store(error) => failed(path, "can't be read", &error),
        Trouble::Damaged(error) => error,
    })
}

pub(super) fn saga(connection: &Connection, id: SagaId) -> Answer<Option<SagaRow>> {
    Ok(found(connection, id)?.map(|(row, _)| row))
}

pub(super) fn found(connection: &Connection, id: SagaId) -> Answer<Option<Found>> {
    let sql = with_columns("SELECT {} FROM saga WHERE id = ?1");
    Ok(rows(connection, &sql, [id.as_bytes()])?.pop())
}

pub(super) fn by_key(connection: &Connection, scope_key: &str) -> Answer<Option<SagaRow>> {
    let sql = with_columns("SELECT {} FROM saga WHERE scope_key = ?1");
    Ok(rows(connection, &sql, [scope_key])?.pop().map(|(row, _)| row))
}

pub(super) fn records(connection: &Connection, id: SagaId) -> Answer<Vec<Record>> {
    let last = match found(connection, id)? {
        Some((_, last)) => last,
        None => None,
    };
    chain(connection, id, last)
}

/// All records of a saga, from its last one back to its first, in the order in which they were written.
pub(super) fn chain(connection: &Connection, saga: SagaId, last: Option<i64>) -> Answer<Vec<Record>> {
    let mut records = Vec::new();
    let sql = format!("SELECT {} FROM journal WHERE lsn = ?1", record::COLUMNS);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut next = last;
    while let Some(lsn) = next {
        let damaged = |problem: &str| {
            Trouble::Damaged(JournalError::new(format!(
                "saga {saga}: its record at lsn {lsn} can't be read: {problem}"
            )))
        };
        let mut rows = statement.query([lsn])?;
        let row = rows.next()?.ok_or_else(|| damaged("it isn't there"))?;
        let (record, prev) = record::decode(row, saga).map_err(|problem| damaged(&problem))?;
        // Otherwise a damaged file could send us round in circles.
        if prev.is_some_and(|prev| prev >= lsn) {
            return Err(damaged("the record before it comes after it"));
        }
        records.push(record);
        next = prev;
    }
    records.reverse();
    Ok(records)
}

pub(super) fn list(connection: &Connection, filter: &Filter) -> Answer<Vec<SagaRow>> {
    let mut sql = format!("SELECT {} FROM saga ", row::COLUMNS);
    let mut values = Vec::<Value>::new();
    // The few that are unfinished are not looked for among all that are.
    match filter.state {
        Some(state) if !state.is_final() => {
            sql.push_str(concat!("INDEXED BY saga_unfinished WHERE ", unfinished!()));
        }
        _ => sql.push_str("WHERE true"),
    }
    let mut wanted = |condition: &str, value: Value| {
        sql.push_str(condition);
        values.push(value);
    };
    if let Some(state) = filter.state {
        wanted(" AND state = ?", i64::from(state as u8).into());
    }
    if let Some(before) = filter.before {
        wanted(" AND id < ?", before.as_bytes().to_vec().into());
    }
    if let Some(name) = &filter.name {
        wanted(" AND name = ?", name.clone().into());
    }
    wanted(" ORDER BY id DESC LIMIT ?", i64::from(filter.limit).into());
    let rows = rows(connection, &sql, rusqlite::params_from_iter(values))?;
    Ok(rows.into_iter().map(|(row, _)| row).collect())
}

pub(super) fn needs(connection: &Connection) -> Answer<Needs> {
    let mut calls = BTreeSet::new();
    let mut definitions = BTreeSet::new();
    let sql = with_columns(concat!("SELECT {} FROM saga INDEXED BY saga_unfinished WHERE ", unfinished!()));
    for (row, last) in rows(connection, &sql, [])? {
        for record in chain(connection, row.id, last)? {
            if let Entry::Intent { undo: Some(call), .. } | Entry::Then { call, .. } = record.entry {
                calls.insert(call.call.to_string());
            }
        }
        if row.version > 0 {
            definitions.insert((row.name.to_string(), row.version));
        }
    }
    Ok(Needs { calls: calls.into_iter().collect(), definitions: definitions.into_iter().collect() })
}

fn rows(connection: &Connection, sql: &str, params: impl Params) -> Answer<Vec<Found>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(row::decode(row).map_err(|problem| Trouble::Damaged(JournalError::new(problem)))?);
    }
    Ok(found)
}

fn with_columns(sql: &str) -> String {
    sql.replace("{}", row::COLUMNS)
}
