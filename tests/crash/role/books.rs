//! What a participant keeps: its tables, and what it did in which order.

use std::{path::Path, time::Duration, time::SystemTime};

use buttress::{
    BarrierLayer,
    barrier::{Barrier, Stop, Tx},
    step::StepKey,
};
use sqlx::{
    Sqlite, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

/// Every effect, in the transaction in which it took effect. `epoch` is what the call said.
const EFFECTS: &str = "\
CREATE TABLE IF NOT EXISTS effects(
  id INTEGER PRIMARY KEY, saga TEXT NOT NULL, step TEXT NOT NULL, number INTEGER NOT NULL, op TEXT NOT NULL,
  epoch INTEGER NOT NULL, ord TEXT NOT NULL, at INTEGER NOT NULL);";

/// Opens a participant's database, and makes its tables.
pub(super) async fn open(dir: &Path, name: &str, tables: &'static str) -> SqlitePool {
    // What is tested here is the end of a process, not of the machine: the operating system keeps what was written.
    let options = SqliteConnectOptions::new()
        .filename(dir.join(name))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(Duration::from_secs(5));
    let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await.unwrap();
    BarrierLayer::create_table(&pool).await.unwrap();
    sqlx::raw_sql(EFFECTS).execute(&pool).await.unwrap();
    sqlx::raw_sql(tables).execute(&pool).await.unwrap();
    pool
}

/// Notes that the step takes effect now.
pub(super) async fn note(tx: &mut Tx<Sqlite>, key: &StepKey, epoch: u64, order: &str) -> Result<(), Stop> {
    let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let done = sqlx::query("INSERT INTO effects(saga, step, number, op, epoch, ord, at) VALUES (?, ?, ?, ?, ?, ?, ?)");
    let done = done.bind(key.saga().to_string()).bind(key.step().as_str()).bind(key.number()).bind(key.op().as_str());
    done.bind(epoch as i64).bind(order).bind(at.as_nanos() as i64).execute(&mut **tx).await?;
    Ok(())
}

/// The step that a call is made in.
pub(super) fn step(barrier: &Barrier<Sqlite>) -> Result<StepKey, Stop> {
    barrier.key().cloned().ok_or(Stop::NoStep)
}
