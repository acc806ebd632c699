//! One write, within the transaction of its batch.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    super::{Change, ClaimScope, Fence, JournalError, Millis, Record, SagaRow, Write, Written},
    read,
    record::{self, Place},
    row::{self, to_sql},
    schema::unfinished,
};
use crate::step::SagaId;

/// Why a batch can't be written, or a question not be answered.
pub(super) enum Trouble {
    Store(rusqlite::Error),
    /// What the file holds can't be read.
    Damaged(JournalError),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error)
    }
}

type Answer<T> = Result<T, Trouble>;

const FENCE: &str = concat!("SELECT lsn FROM saga WHERE id = ?1 AND owner = ?2 AND epoch = ?3 AND ", unfinished!());

/// What most appends change. None of it is in an index, which is why there are two statements.
const GO_ON: &str =
    "UPDATE saga SET lsn = ?2, wake_at = ?3, takeovers = CASE WHEN ?4 THEN 0 ELSE takeovers END WHERE id = ?1";

const CHANGE: &str = "UPDATE saga SET lsn = ?2, wake_at = ?3, takeovers = CASE WHEN ?4 THEN 0 ELSE takeovers END, \
     state = coalesce(?5, state), owner = CASE WHEN ?6 THEN NULL ELSE owner END, \
     lease_until = CASE WHEN ?6 THEN NULL ELSE lease_until END, ended_at = coalesce(?7, ended_at), \
     expires_at = coalesce(?8, expires_at), answer = coalesce(?9, answer), \
     scope_key = CASE WHEN ?10 THEN NULL ELSE scope_key END WHERE id = ?1";

const CLAIMABLE_EXPIRED: &str = concat!(
    "SELECT id FROM saga INDEXED BY saga_unfinished WHERE ",
    unfinished!(),
    " AND state <> 5 AND owner IS NOT ?1 AND (lease_until IS NULL OR lease_until < ?2)",
    " AND (owner IS NOT NULL OR wake_at IS NULL OR wake_at <= ?2) ORDER BY id LIMIT ?3"
);
const CLAIMABLE_ALL: &str = concat!(
    "SELECT id FROM saga INDEXED BY saga_unfinished WHERE ",
    unfinished!(),
    " AND state <> 5 AND owner IS NOT ?1 AND (owner IS NOT NULL OR wake_at IS NULL OR wake_at <= ?2)",
    " ORDER BY id LIMIT ?3"
);
const CLAIMABLE_ONE: &str = concat!(
    "SELECT id FROM saga WHERE id = ?4 AND ",
    unfinished!(),
    " AND (owner = ?1 OR lease_until IS NULL OR lease_until < ?2) LIMIT ?3"
);
const CLAIM: &str = "UPDATE saga SET owner = ?2, epoch = epoch + 1, lease_until = ?3, \
     takeovers = CASE WHEN owner IS NULL THEN min(takeovers, ?4) ELSE takeovers + (takeovers < ?4) END WHERE id = ?1";

const RENEW: &str =
    concat!("UPDATE saga INDEXED BY saga_unfinished SET lease_until = ?2 WHERE ", unfinished!(), " AND owner = ?1");
const RELEASE: &str = concat!(
    "UPDATE saga INDEXED BY saga_unfinished SET owner = NULL, lease_until = NULL, wake_at = NULL WHERE ",
    unfinished!(),
    " AND owner = ?1"
);

const OVER: &str = concat!(
    "SELECT id, lsn FROM saga INDEXED BY saga_expires WHERE expires_at IS NOT NULL AND expires_at <= ?1 AND NOT ",
    unfinished!(),
    " ORDER BY expires_at, id LIMIT ?2"
);

pub(super) struct Writing<'a> {
    pub(super) connection: &'a Connection,
    pub(super) next_lsn: i64,
}

/// Where the next record goes.
pub(super) fn next_lsn(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT coalesce(max(lsn), 0) + 1 FROM journal", [], |row| row.get(0))
}

impl Writing<'_> {
    pub(super) fn write(&mut self, write: &Write) -> Answer<Written> {
        match write {
            Write::Open(row, records) => self.open(row, records),
            Write::Append { fence, records, change } => self.append(fence, records, change),
            Write::Claim { owner, now, lease_until, scope, limit, most_takeovers } => {
                let ids = self.claimable(owner, *now, scope, *limit)?;
                self.claim(ids, owner, *lease_until, *most_takeovers)
            }
            Write::Renew { owner, lease_until } => {
                self.connection.prepare_cached(RENEW)?.execute(params![owner, to_sql(*lease_until)])?;
                Ok(Written::Ok)
            }
            Write::Release { owner } => {
                self.connection.prepare_cached(RELEASE)?.execute([owner])?;
                Ok(Written::Ok)
            }
            Write::Prune { now, limit } => self.prune(*now, *limit),
        }
    }

    fn open(&mut self, row: &SagaRow, records: &[Record]) -> Answer<Written> {
        let last = (!records.is_empty()).then(|| self.next_lsn + records.len() as i64 - 1);
        if row::insert(self.connection, row, last)? {
            self.add(row.id, row.epoch, None, records)?;
            return Ok(Written::Ok);
        }
        if let Some(key) = &row.scope_key
            && let Some(taken) = read::by_key(self.connection, key)?
        {
            return Ok(Written::KeyTaken(Box::new(taken)));
        }
        const EXCLUSIVE: &str = concat!("SELECT id FROM saga WHERE exclusive = ?1 AND ", unfinished!());
        let mut statement = self.connection.prepare_cached(EXCLUSIVE)?;
        let wanted = row.exclusive.as_ref().filter(|_| !row.state.is_final());
        let taken = statement.query_row([wanted], |row| row.get::<_, [u8; 16]>(0)).optional()?;
        // If neither, the id itself is taken: it isn't this owner's to begin.
        Ok(taken.map_or(Written::Fenced, |id| Written::ExclusiveTaken(SagaId::from_bytes(id))))
    }

    fn append(&mut self, fence: &Fence, records: &[Record], change: &Change) -> Answer<Written> {
        let id = fence.saga.as_bytes();
        let mut statement = self.connection.prepare_cached(FENCE)?;
        let held = statement.query_row(params![id, fence.owner, to_sql(fence.epoch)], |row| row.get(0));
        let Some(prev) = held.optional()? else { return Ok(Written::Fenced) };
        let last = self.add(fence.saga, fence.epoch, prev, records)?;
        let wake_at = change.wake_at.map(to_sql);
        let Change { state, progress, let_go, ended, answer, release_key, wake_at: _ } = change;
        if state.is_none() && !let_go && ended.is_none() && answer.is_none() && !release_key {
            self.connection.prepare_cached(GO_ON)?.execute(params![id, last, wake_at, progress])?;
        } else {
            let (ended_at, expires_at) = ended.map(|(ended, expires)| (to_sql(ended), to_sql(expires))).unzip();
            self.connection.prepare_cached(CHANGE)?.execute(params![
                id,
                last,
                wake_at,
                progress,
                state.map(|state| state as u8),
                let_go,
                ended_at,
                expires_at,
                answer.as_deref(),
                release_key
            ])?;
        }
        Ok(Written::Ok)
    }

    /// Adds records to a saga whose last one is `prev`, and says which is now.
    fn add(&mut self, saga: SagaId, epoch: u64, prev: Option<i64>, records: &[Record]) -> Answer<Option<i64>> {
        let mut prev = prev;
        for record in records {
            let place = Place { lsn: self.next_lsn, prev, saga, epoch };
            record::insert(self.connection, &place, record)?;
            prev = Some(place.lsn);
            self.next_lsn += 1;
        }
        Ok(prev)
    }

    fn claimable(&self, owner: &str, now: Millis, scope: &ClaimScope, limit: u32) -> Answer<Vec<[u8; 16]>> {
        let (sql, one) = match scope {
            ClaimScope::Expired => (CLAIMABLE_EXPIRED, None),
            ClaimScope::All => (CLAIMABLE_ALL, None),
            ClaimScope::One(id) => (CLAIMABLE_ONE, Some(id.as_bytes())),
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        let named: [(&str, &dyn rusqlite::ToSql); 4] =
            [("?1", &owner), ("?2", &to_sql(now)), ("?3", &limit), ("?4", &one)];
        // Not each statement has all of them.
        let named: Vec<_> =
            named.into_iter().filter(|(name, _)| matches!(statement.parameter_index(name), Ok(Some(_)))).collect();
        Ok(statement.query_map(&*named, |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
    }

    fn claim(&self, ids: Vec<[u8; 16]>, owner: &str, lease_until: Millis, most_takeovers: u32) -> Answer<Written> {
        let mut claimed = Vec::with_capacity(ids.len());
        for id in ids {
            let mut statement = self.connection.prepare_cached(CLAIM)?;
            statement.execute(params![id, owner, to_sql(lease_until), most_takeovers])?;
            let id = SagaId::from_bytes(id);
            if let Some((row, last)) = read::found(self.connection, id)? {
                claimed.push((row, read::chain(self.connection, id, last)?));
            }
        }
        Ok(Written::Claimed(claimed))
    }

    fn prune(&mut self, now: Millis, limit: u32) -> Answer<Written> {
        let mut statement = self.connection.prepare_cached(OVER)?;
        let over = statement.query_map(params![to_sql(now), limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let over: Vec<([u8; 16], Option<i64>)> = over.collect::<rusqlite::Result<_>>()?;
        let mut back =
            self.connection.prepare_cached("DELETE FROM journal WHERE lsn = ?1 AND saga = ?2 RETURNING prev")?;
        let mut forget = self.connection.prepare_cached("DELETE FROM saga WHERE id = ?1")?;
        for (id, last) in &over {
            let mut next = *last;
            while let Some(lsn) = next {
                // A chain that is broken ends there; what it led to can't be found any more.
                next = back.query_row(params![lsn, id], |row| row.get(0)).optional()?.flatten();
            }
            forget.execute([id])?;
        }
        if !over.is_empty() {
            crate::failpoint::hit("C20");
        }
        Ok(Written::Pruned(over.len() as u32))
    }
}
