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
    migrate(connection, path, &MIGRATIONS, version).map_err(failed)?;
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

/// Carries out what comes after `version`, each in a transaction of its own: whoever dies in it finds the version before.
fn migrate(connection: &Connection, path: &Path, migrations: &[&str], version: usize) -> rusqlite::Result<()> {
    for (number, migration) in (1..).zip(migrations).skip(version) {
        tracing::debug!(policy = "saga_journal", path = %path.display(), version = number, "saga journal: migrating");
        let script = format!("BEGIN IMMEDIATE; {migration}; PRAGMA user_version = {number}; COMMIT;");
        connection.execute_batch(&script)?;
    }
    Ok(())
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

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use std::{
        path::PathBuf,
        process::{Command, Stdio},
    };

    use super::*;
    use crate::saga::journal::SqliteJournal;

    /// As a later version of this crate might change the tables: a column for all that is there, and one for what comes.
    const LATER: &str = "ALTER TABLE saga ADD COLUMN colour TEXT; UPDATE saga SET colour = 'red' || version;
                         CREATE TABLE more (a INTEGER) STRICT; INSERT INTO more SELECT version FROM saga";
    /// Where to migrate, by how many migrations, and after how many of SQLite's operations to die.
    const DIE: &str = "BUTTRESS_TEST_DIE_IN_MIGRATION";
    const SAGAS: i64 = 300;

    /// A folder that is gone when this is.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("buttress-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// Migrates `file` in a process of its own, which dies after `operations`. Returns whether it got to the end.
    fn migrates(file: &Path, migrations: usize, operations: i32) -> bool {
        let order = format!("{}\n{migrations}\n{operations}", file.display());
        let test =
            "saga::journal::sqlite::schema::tests::a_process_that_dies_in_a_migration_leaves_the_version_before_it";
        let mut process = Command::new(std::env::current_exe().unwrap());
        process.args(["--exact", test]).env(DIE, order).stdout(Stdio::null()).stderr(Stdio::null());
        process.status().unwrap().success()
    }

    fn migrate_and_die(order: &str) {
        let mut order = order.lines();
        let mut next = || order.next().unwrap();
        let (path, migrations, operations): (PathBuf, usize, i32) =
            (next().into(), next().parse().unwrap(), next().parse().unwrap());
        let connection = Connection::open(&path).unwrap();
        let version = version(&connection, &path).unwrap();
        settle(&connection, &path, &SqliteOptions::default()).unwrap();
        // As `kill -9` would, between two operations of SQLite's: nothing is rolled back, nothing is closed.
        connection.progress_handler(operations, Some(|| std::process::abort())).unwrap();
        migrate(&connection, &path, &[MIGRATIONS[0], LATER][..migrations], version).unwrap();
        // Nothing is left for SQLite to do in closing.
        connection.progress_handler(0, None::<fn() -> bool>).unwrap();
    }

    /// The file's version, and how many sagas are in it.
    fn seen(path: &Path) -> (i64, i64) {
        let connection = Connection::open(path).unwrap();
        let number = |sql: &str| connection.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap(), "ok");
        let version = number("PRAGMA user_version");
        (version, if version == 0 { 0 } else { number("SELECT count(*) FROM saga") })
    }

    #[test]
    fn a_process_that_dies_in_a_migration_leaves_the_version_before_it() {
        if let Ok(order) = std::env::var(DIE) {
            return migrate_and_die(&order);
        }
        let folder = Folder::new("migration");
        let old = folder.0.join("old.db");
        drop(SqliteJournal::open(&old).unwrap());
        let fill = format!(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {SAGAS})
             INSERT INTO saga(id, name, version, state, epoch, takeovers, created_at)
             SELECT randomblob(16), 'place-order', n, 3, 1, 0, n FROM n"
        );
        Connection::open(&old).unwrap().execute_batch(&fill).unwrap();
        assert_eq!(seen(&old), (1, SAGAS));

        for (from, migrations) in [(None, 1), (Some(&old), 2)] {
            let (mut deaths, mut operations) = (0, 1);
            loop {
                let file = folder.0.join(format!("{migrations}-{operations}.db"));
                if let Some(from) = from {
                    std::fs::copy(from, &file).unwrap();
                }
                if migrates(&file, migrations, operations) {
                    let sagas = if from.is_some() { SAGAS } else { 0 };
                    assert_eq!(seen(&file), (migrations as i64, sagas));
                    break;
                }
                deaths += 1;
                let before = (migrations as i64 - 1, if from.is_some() { SAGAS } else { 0 });
                assert_eq!(seen(&file), before, "after {operations} operations");
                // Whoever opens it next begins again, and comes to the end.
                drop(SqliteJournal::open(&file).unwrap());
                assert!(migrates(&file, migrations, i32::MAX));
                let connection = Connection::open(&file).unwrap();
                if from.is_some() {
                    let sql = "SELECT count(*) FROM saga JOIN more ON version = a WHERE colour = 'red' || version";
                    assert_eq!(connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap(), SAGAS);
                }
                operations += 1 + operations / 2;
            }
            println!("{deaths} deaths in migration {migrations}, the last before operation {operations}");
            assert!(deaths > 5, "it hardly died: {deaths}");
        }
    }
}
