//! How a service opens its own database.

use std::path::Path;
use std::time::Duration;

use buttress::BarrierLayer;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

/// How long a service remembers the steps it did: longer than any coordinator tries to undo one.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Begins a transaction that writes: one that starts by reading and then writes can be refused.
pub(crate) const WRITE: &str = "BEGIN IMMEDIATE";

/// Opens the file, makes it if need be, and applies the schema. Every service takes part in sagas, so each has the table in
/// which its steps are noted.
///
/// One connection on purpose: SQLite has one writer, and waiters queue here more fairly than at its lock. What is
/// committed survives a loss of power, for a coordinator that was told so doesn't ask again.
pub(crate) async fn open(path: &Path, schema: &'static str) -> sqlx::Result<SqlitePool> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
        .foreign_keys(true);
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(5))
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options)
        .await?;
    sqlx::raw_sql(schema).execute(&pool).await?;
    let barrier = BarrierLayer::http(pool.clone());
    barrier.migrate().await?;
    barrier.prune(REMEMBERED).await?;
    Ok(pool)
}
