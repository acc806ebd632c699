//! A journal in a file, for one process.
//!
//! SQLite in WAL mode with `synchronous=FULL`: what is acknowledged survives the loss of power, not only of the process.
//! One connection writes, on the writer's thread; another reads meanwhile.
//!
//! Each record points back to its saga's record before it, and the saga's row to its last one. So records are appended
//! at the end of one table without any index, and a saga is still read without looking at others.

mod disk;
mod lock;
mod options;
mod read;
mod record;
mod row;
mod schema;
mod write;

use std::{
    cell::Cell,
    fmt,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, config::DbConfig, hooks::Wal};

use self::lock::Lock;
pub use self::options::SqliteOptions;
use super::{Filter, Journal, JournalError, Lookup, Needs, Record, SagaRow, Write, Written};
use crate::{failpoint, step::SagaId};

thread_local! {
    /// How many pages the write-ahead log held after this thread's last commit. SQLite's hook carries no state of ours.
    static PAGES: Cell<u32> = const { Cell::new(0) };
}

/// A journal in an SQLite file, which one process has to itself.
///
/// Beside the file there are three more while it is open: SQLite's `-wal` and `-shm`, and a `.lock`, which stays. Copy
/// all of them or none, and don't write to the file with other tools while a coordinator runs; reading is fine.
///
/// A write that fails is the last one: the file must be opened anew, and is then what a restart of the process would
/// find. Reading goes on.
pub struct SqliteJournal {
    /// Before the lock: fields are dropped in order, and the file must be closed before another may open it.
    connection: Connection,
    path: PathBuf,
    options: SqliteOptions,
    next_lsn: i64,
    /// In the write-ahead log, after the last commit.
    pages: u32,
    failed: Option<JournalError>,
    _lock: Lock,
}

/// The second connection.
struct SqliteReader {
    connection: Connection,
    path: PathBuf,
}

impl SqliteJournal {
    /// Opens `path`, and makes what is missing.
    ///
    /// # Errors
    ///
    /// Another process has it open, or this one has; it holds something else, or was made by a newer version of this
    /// crate; or it can't be read or written. The error names the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        Self::open_with(path, SqliteOptions::default())
    }

    /// As [`open`](Self::open), with other settings.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self, JournalError> {
        let path = lock::resolve(path.as_ref())?;
        let lock = Lock::take(&path)?;
        disk::write_log_again(&path)?;
        let failed = |error| failed(&path, "can't be opened", &error);
        let connection = connect(&path, &options).map_err(failed)?;
        schema::prepare(&connection, &path, &options)?;
        let next_lsn = write::next_lsn(&connection).map_err(failed)?;
        connection.wal_hook(Some(note_pages));
        disk::sync_folder(&path)?;
        Ok(Self { connection, path, options, next_lsn, pages: 0, failed: None, _lock: lock })
    }

    fn transaction(&mut self, batch: &[Write]) -> rusqlite::Result<Result<Vec<Written>, JournalError>> {
        // At the start of a batch, not at the end of one: nobody's acknowledgement waits for it, or is spoiled by it.
        if self.pages >= self.options.checkpoint_pages {
            failpoint::hit("C20");
            self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
            failpoint::hit("C20");
            self.pages = 0;
        }
        let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        let mut writing = write::Writing { connection: &transaction, next_lsn: self.next_lsn };
        let written = batch.iter().map(|write| writing.write(write)).collect::<Result<Vec<_>, _>>();
        let next_lsn = writing.next_lsn;
        let written = match written {
            Ok(written) => written,
            Err(write::Trouble::Store(error)) => return Err(error),
            Err(write::Trouble::Damaged(error)) => return Ok(Err(error)),
        };
        PAGES.set(self.pages);
        failpoint::hit("C2");
        transaction.commit()?;
        self.next_lsn = next_lsn;
        self.pages = PAGES.get();
        Ok(Ok(written))
    }
}

impl Journal for SqliteJournal {
    fn write(&mut self, batch: &[Write]) -> Result<Vec<Written>, JournalError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let written = match self.transaction(batch) {
            Ok(written) => written,
            Err(error) => Err(failed(&self.path, "can't be written", &error)),
        };
        if let Err(error) = &written {
            self.failed = Some(error.clone());
            // Closing would otherwise write, and fsync, once more.
            let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
        written
    }

    fn reader(&self) -> Result<Box<dyn Lookup + Send>, JournalError> {
        let connect = || {
            let connection = connect(&self.path, &self.options)?;
            connection.pragma_update(None, "query_only", true)?;
            // Only the journal itself ever moves the log into the file.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            Ok(connection)
        };
        let connection = connect().map_err(|error| failed(&self.path, "can't be opened for reading", &error))?;
        Ok(Box::new(SqliteReader { connection, path: self.path.clone() }))
    }

    /// The lock says so: whoever had the file open before is gone.
    fn is_exclusive(&self) -> bool {
        true
    }
}

macro_rules! lookup_by_connection {
    ($type:ty) => {
        impl Lookup for $type {
            fn saga(&mut self, id: SagaId) -> Result<Option<SagaRow>, JournalError> {
                read::at_once(&self.connection, &self.path, |connection| read::saga(connection, id))
            }

            fn by_key(&mut self, scope_key: &str) -> Result<Option<SagaRow>, JournalError> {
                read::at_once(&self.connection, &self.path, |connection| read::by_key(connection, scope_key))
            }

            fn records(&mut self, id: SagaId) -> Result<Vec<Record>, JournalError> {
                read::at_once(&self.connection, &self.path, |connection| read::records(connection, id))
            }

            fn list(&mut self, filter: &Filter) -> Result<Vec<SagaRow>, JournalError> {
                read::at_once(&self.connection, &self.path, |connection| read::list(connection, filter))
            }

            fn needs(&mut self) -> Result<Needs, JournalError> {
                read::at_once(&self.connection, &self.path, read::needs)
            }
        }
    };
}

lookup_by_connection!(SqliteJournal);
lookup_by_connection!(SqliteReader);

impl fmt::Debug for SqliteJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteJournal").field("path", &self.path).field("failed", &self.failed).finish_non_exhaustive()
    }
}

fn connect(path: &Path, options: &SqliteOptions) -> rusqlite::Result<Connection> {
    // Without the flag for URIs, and without a mutex: a connection belongs to one thread at a time.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(options.busy_timeout)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn note_pages(_: &Wal, pages: std::ffi::c_int) -> rusqlite::Result<()> {
    PAGES.set(u32::try_from(pages).unwrap_or(0));
    Ok(())
}

fn failed(path: &Path, what: &str, error: &rusqlite::Error) -> JournalError {
    JournalError::new(format!("{} {what}: {error}", path.display()))
}
