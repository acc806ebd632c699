//! How a service opens its own database.

use std::path::Path;
use std::time::Duration;

use buttress::BarrierLayer;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

/// How long a service remembers the steps it did: longer than any coordinator tries to undo one.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Which schemas these are: 2 is the first with sagas. There is nothing to be kept of earlier ones, so nothing migrates them.
const VERSION: i64 = 2;

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
    check_version(&pool, path).await?;
    sqlx::raw_sql(schema).execute(&pool).await?;
    let barrier = BarrierLayer::http(pool.clone());
    barrier.migrate().await?;
    barrier.prune(REMEMBERED).await?;
    Ok(pool)
}

/// Refuses what was made by another version, before anything of it is changed; and marks what is new.
async fn check_version(pool: &SqlitePool, path: &Path) -> sqlx::Result<()> {
    let (version, tables): (i64, i64) =
        sqlx::query_as("SELECT user_version, (SELECT COUNT(*) FROM sqlite_schema) FROM pragma_user_version")
            .fetch_one(pool)
            .await?;
    if tables > 0 && version != VERSION {
        let problem = format!(
            "{} was made by another version of the order system ({version}, this is {VERSION}); use another directory",
            path.display()
        );
        return Err(sqlx::Error::Configuration(problem.into()));
    }
    // A pragma takes no parameters.
    sqlx::query("PRAGMA user_version = 2").execute(pool).await?;
    Ok(())
}
