//! The table, and what is asked of it.

use std::{borrow::Cow, time::Duration};

use sqlx::{Database, Pool, Transaction};

use crate::step::{Op, StepKey};

/// The table and its index in SQLite. For a service that has migrations of its own; [`create_table`] applies it.
///
/// [`create_table`]: super::BarrierLayer::create_table
pub const SQLITE_TABLE: &str = "\
CREATE TABLE IF NOT EXISTS saga_barrier(
  saga BLOB NOT NULL, step TEXT NOT NULL, number INTEGER NOT NULL, op INTEGER NOT NULL,
  epoch INTEGER NOT NULL, placed_by INTEGER NOT NULL, answer BLOB, at INTEGER NOT NULL,
  PRIMARY KEY(saga, step, number, op)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS saga_barrier_at ON saga_barrier(at) WHERE op = 2;";

/// The table and its index in PostgreSQL. For a service that has migrations of its own; [`create_table`] applies it.
///
/// [`create_table`]: super::BarrierLayer::create_table
pub const POSTGRES_TABLE: &str = "\
CREATE TABLE IF NOT EXISTS saga_barrier(
  saga BYTEA NOT NULL, step TEXT NOT NULL, number BIGINT NOT NULL, op BIGINT NOT NULL,
  epoch BIGINT NOT NULL, placed_by BIGINT NOT NULL, answer BYTEA, at BIGINT NOT NULL,
  PRIMARY KEY(saga, step, number, op));
CREATE INDEX IF NOT EXISTS saga_barrier_at ON saga_barrier(at) WHERE op = 2;";

/// How long a lock is waited for: SQLite's by sqlx's own default, PostgreSQL's by `lock_timeout`.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Who placed a row, and so what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlacedBy {
    /// It happened, and this was its answer.
    Effect = 0,
    /// It was undone before it came.
    Undo = 1,
    /// It was refused, and this is how.
    Refusal = 2,
}

/// What a row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub(super) placed_by: PlacedBy,
    pub(super) answer: Option<Vec<u8>>,
}

impl Row {
    /// The numbers are those of [`PlacedBy`]; another is from a later version, and says at least that something was here.
    #[cfg_attr(not(any(feature = "barrier-sqlite", feature = "barrier-postgres")), allow(dead_code))]
    fn read((placed_by, answer): (i64, Option<Vec<u8>>)) -> Result<Self, sqlx::Error> {
        let placed_by = match placed_by {
            0 => PlacedBy::Effect,
            1 => PlacedBy::Undo,
            2 => PlacedBy::Refusal,
            other => {
                return Err(sqlx::Error::Protocol(format!("saga_barrier.placed_by is {other}, and 0 to 2 are known")));
            }
        };
        Ok(Self { placed_by, answer })
    }
}

/// Where in the table. The row of a whole saga, which holds its epoch and orders all that is done to it, is that of no
/// step, and of an `op` of its own.
#[derive(Debug)]
pub struct Place<'a> {
    saga: &'a [u8],
    step: Cow<'a, str>,
    number: i64,
    op: i64,
}

impl<'a> Place<'a> {
    pub(super) fn of_step(saga: &'a [u8; 16], key: &'a StepKey, op: Op) -> Self {
        let op = match op {
            Op::Act => 0,
            Op::Undo => 1,
        };
        Self { saga, step: key.step().as_str().into(), number: key.number().into(), op }
    }

    pub(super) fn of_saga(saga: &'a [u8; 16]) -> Self {
        Self { saga, step: "".into(), number: 0, op: 2 }
    }
}

/// A database that a [`Barrier`](super::Barrier) can be kept in: `sqlx::Sqlite` and `sqlx::Postgres` are, with the
/// features `barrier-sqlite` and `barrier-postgres`.
///
/// Sealed, for whether this is right depends on how the database locks, to the letter.
#[allow(async_fn_in_trait, reason = "sealed, and each function says itself that its future is Send")]
pub trait Store: Database + sealed::Sealed {
    /// What the table is made by.
    #[doc(hidden)]
    const TABLE: &'static str;

    /// Begins a transaction that writes.
    #[doc(hidden)]
    fn begin(pool: &Pool<Self>) -> impl Future<Output = sqlx::Result<Transaction<'static, Self>>> + Send;

    /// Notes the saga's epoch and holds its row till the end of the transaction; false if a later one was noted before.
    #[doc(hidden)]
    fn enter(
        db: &mut Self::Connection,
        saga: Place<'_>,
        epoch: i64,
        at: i64,
    ) -> impl Future<Output = sqlx::Result<bool>> + Send;

    /// Places a row; false if there is one.
    #[doc(hidden)]
    fn place(
        db: &mut Self::Connection,
        place: &Place<'_>,
        epoch: i64,
        row: &Row,
        at: i64,
    ) -> impl Future<Output = sqlx::Result<bool>> + Send;

    /// The row at this place.
    #[doc(hidden)]
    fn find(db: &mut Self::Connection, place: &Place<'_>) -> impl Future<Output = sqlx::Result<Row>> + Send;

    /// Gives the row at this place its answer.
    #[doc(hidden)]
    fn answer(
        db: &mut Self::Connection,
        place: &Place<'_>,
        answer: &[u8],
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Takes the row away: the planted mistake.
    #[doc(hidden)]
    fn forget(db: &mut Self::Connection, place: &Place<'_>) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Makes the table.
    #[doc(hidden)]
    fn create_table(pool: &Pool<Self>) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Forgets at most so many sagas of which nothing was heard since `before`; how many rows that were.
    #[doc(hidden)]
    fn prune(pool: &Pool<Self>, before: i64, sagas: i64) -> impl Future<Output = sqlx::Result<u64>> + Send;
}

mod sealed {
    pub trait Sealed {}
    #[cfg(feature = "barrier-sqlite")]
    impl Sealed for sqlx::Sqlite {}
    #[cfg(feature = "barrier-postgres")]
    impl Sealed for sqlx::Postgres {}
}

/// The statements are the same in both, but for those that are given.
#[cfg_attr(not(any(feature = "barrier-sqlite", feature = "barrier-postgres")), allow(unused_macros))]
macro_rules! store {
    ($db:ty, table: $table:expr, begin: $begin:expr, prune: $prune:expr $(,)?) => {
        impl Store for $db {
            const TABLE: &'static str = $table;

            async fn begin(pool: &Pool<Self>) -> sqlx::Result<Transaction<'static, Self>> {
                pool.begin_with($begin).await
            }

            async fn enter(db: &mut Self::Connection, saga: Place<'_>, epoch: i64, at: i64) -> sqlx::Result<bool> {
                let done = sqlx::query(
                    "INSERT INTO saga_barrier(saga, step, number, op, epoch, placed_by, answer, at) \
                     VALUES ($1, $2, $3, $4, $5, 0, NULL, $6) \
                     ON CONFLICT (saga, step, number, op) DO UPDATE SET epoch = excluded.epoch, at = excluded.at \
                     WHERE saga_barrier.epoch <= excluded.epoch",
                );
                let done = done.bind(saga.saga).bind(&*saga.step).bind(saga.number).bind(saga.op).bind(epoch).bind(at);
                Ok(done.execute(db).await?.rows_affected() == 1)
            }

            async fn place(
                db: &mut Self::Connection,
                place: &Place<'_>,
                epoch: i64,
                row: &Row,
                at: i64,
            ) -> sqlx::Result<bool> {
                let done = sqlx::query(
                    "INSERT INTO saga_barrier(saga, step, number, op, epoch, placed_by, answer, at) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (saga, step, number, op) DO NOTHING",
                );
                let done = done.bind(place.saga).bind(&*place.step).bind(place.number).bind(place.op);
                let done = done.bind(epoch).bind(row.placed_by as i64).bind(row.answer.as_deref()).bind(at);
                Ok(done.execute(db).await?.rows_affected() == 1)
            }

            async fn find(db: &mut Self::Connection, place: &Place<'_>) -> sqlx::Result<Row> {
                let found = sqlx::query_as(
                    "SELECT placed_by, answer FROM saga_barrier \
                     WHERE saga = $1 AND step = $2 AND number = $3 AND op = $4",
                );
                let found = found.bind(place.saga).bind(&*place.step).bind(place.number).bind(place.op);
                Row::read(found.fetch_one(db).await?)
            }

            async fn answer(db: &mut Self::Connection, place: &Place<'_>, answer: &[u8]) -> sqlx::Result<()> {
                let done = sqlx::query(
                    "UPDATE saga_barrier SET answer = $5 WHERE saga = $1 AND step = $2 AND number = $3 AND op = $4",
                );
                let done = done.bind(place.saga).bind(&*place.step).bind(place.number).bind(place.op).bind(answer);
                // Gone is gone only if the effect ended the transaction itself.
                let rows = done.execute(db).await?.rows_affected();
                if rows == 1 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
            }

            async fn forget(db: &mut Self::Connection, place: &Place<'_>) -> sqlx::Result<()> {
                let done = sqlx::query(
                    "DELETE FROM saga_barrier WHERE saga = $1 AND step = $2 AND number = $3 AND op = $4",
                );
                let done = done.bind(place.saga).bind(&*place.step).bind(place.number).bind(place.op);
                done.execute(db).await.map(drop)
            }

            async fn create_table(pool: &Pool<Self>) -> sqlx::Result<()> {
                sqlx::raw_sql(Self::TABLE).execute(pool).await.map(drop)
            }

            async fn prune(pool: &Pool<Self>, before: i64, sagas: i64) -> sqlx::Result<u64> {
                let mut tx = Self::begin(pool).await?;
                let done = sqlx::query($prune).bind(before).bind(sagas).execute(&mut *tx).await?;
                tx.commit().await?;
                Ok(done.rows_affected())
            }
        }
    };
}

// A transaction that begins by reading and then writes can be refused for what another wrote in between, so it asks for
// the write lock at once.
#[cfg(feature = "barrier-sqlite")]
store! {
    sqlx::Sqlite,
    table: SQLITE_TABLE,
    begin: "BEGIN IMMEDIATE",
    prune: "DELETE FROM saga_barrier WHERE saga IN \
            (SELECT saga FROM saga_barrier WHERE op = 2 AND at < $1 ORDER BY at LIMIT $2)",
}

// READ COMMITTED whatever the database's default: a statement that has waited for another transaction sees what that one
// wrote, and isn't refused for it. A saga that is being heard of right now is skipped, and pruned some other time.
#[cfg(feature = "barrier-postgres")]
store! {
    sqlx::Postgres,
    table: POSTGRES_TABLE,
    begin: "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = '5s'",
    prune: "WITH old AS MATERIALIZED (SELECT saga FROM saga_barrier WHERE op = 2 AND at < $1 \
            ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED) \
            DELETE FROM saga_barrier WHERE saga IN (SELECT saga FROM old)",
}
