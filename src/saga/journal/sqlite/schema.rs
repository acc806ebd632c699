//! The tables, and how a file comes to have them.

use std::path::Path;

use rusqlite::{Connection, Row};

use super::{JournalError, SqliteOptions, failed};

/// `SAGA`: tells our files from any other SQLite database.
const APPLICATION: i32 = 0x5341_4741;

/// What makes each version from the one before; the first from an empty file. Never changed, only added to.
const MIGRATIONS: [&str; 1] = [include_str!("v1.sql")];

/// The states that are not final, as the indexes and every statement that wants to use them must put it.
macro_rules! unfinished {
    () => {
        "state IN (0, 1, 2, 5)"
    };
}
pub(super) use unfinished;

pub(super) fn prepare(connection: &Connection, path: &Path, options: &SqliteOptions) -> Result<(), JournalError> {
    let failed = |error| failed(path, "can't be opened", &error);
    let version = version(connection, path)?;
    settle(connection, path, options)?;
    for (number, migration) in (1..).zip(MIGRATIONS).skip(version) {
        tracing::debug!(path = %path.display(), version = number, "saga journal: migrating");
        let script = format!("BEGIN IMMEDIATE; {migration}; PRAGMA user_version = {number}; COMMIT;");
        connection.execute_batch(&script).map_err(failed)?;
    }
    crate::failpoint::hit("C20");
    // A log that begins anew is found to be one, and holds nothing that an earlier process left.
    let (busy, frames) =
        to_the_end(connection, "PRAGMA wal_checkpoint(TRUNCATE)", |row| Ok((row.get(0)?, row.get(1)?)))
            .map_err(failed)?
            .unwrap_or((0, NO_LOG));
    let refused = |problem: &str| Err(JournalError::new(format!("{} {problem}", path.display())));
    match (busy, frames) {
        (0, NO_LOG) => refused("has no write-ahead log; put it on a local file system that can have one"),
        (0, _) => Ok(()),
        _ => refused("is being read by another program; let that end first"),
    }
}

/// What SQLite says instead of a number of frames.
const NO_LOG: i64 = -1;

/// Runs a pragma that gives a row and then does something more, and may fail in that: what ends with its row ends without
/// that error.
fn to_the_end<T>(
    connection: &Connection,
    sql: &str,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let first = rows.next()?.map(read).transpose()?;
    while rows.next()?.is_some() {}
    Ok(first)
}

/// Which version the file is of; 0 for an empty one.
fn version(connection: &Connection, path: &Path) -> Result<usize, JournalError> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let ask = || {
        let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
        Ok((pragma("application_id")?, pragma("user_version")?, tables))
    };
    let (application, version, tables) = ask().map_err(|error| failed(path, "can't be read", &error))?;
    let refused = |problem: String| Err(JournalError::new(format!("{} {problem}", path.display())));
    let newest = MIGRATIONS.len();
    match usize::try_from(version) {
        Ok(0) if tables == 0 => Ok(0),
        _ if application != APPLICATION => {
            refused("is a database, but no journal of sagas; name another file, or one that isn't there yet".to_owned())
        }
        Ok(version) if version > newest => refused(format!(
            "has the journal format {version}, and this version of buttress knows up to {newest}; use the version that \
             wrote it, or a later one"
        )),
        Ok(version) => Ok(version),
        Err(_) => refused(format!("has the journal format {version}, which never was one")),
    }
}

fn settle(connection: &Connection, path: &Path, options: &SqliteOptions) -> Result<(), JournalError> {
    let synchronous = options.planted_synchronous.unwrap_or("FULL");
    // The page size before the mode: it can't be changed in WAL mode. `fullfsync` is for macOS, where an fsync alone
    // doesn't reach the disk.
    let before = format!("PRAGMA page_size = 8192; PRAGMA application_id = {APPLICATION};");
    let after = format!(
        "PRAGMA synchronous = {synchronous};
         PRAGMA fullfsync = ON;
         PRAGMA checkpoint_fullfsync = ON;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA temp_store = MEMORY;
         PRAGMA trusted_schema = OFF;
         PRAGMA cache_size = -{};",
        options.cache_kib
    );
    let settle = || {
        connection.execute_batch(&before)?;
        to_the_end(connection, "PRAGMA journal_mode = WAL", |_| Ok(()))?;
        connection.execute_batch(&after)
    };
    settle().map_err(|error| failed(path, "can't be opened", &error))
}
