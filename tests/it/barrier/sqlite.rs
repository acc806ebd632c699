//! The suite on SQLite: a file for each test, and several connections to it.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

#[path = "suite/mod.rs"]
#[allow(clippy::duplicate_mod, reason = "the same suite on every database")]
mod suite;

pub(super) type Db = sqlx::Sqlite;

const ID: &str = "INTEGER PRIMARY KEY AUTOINCREMENT";

/// A database of its own, and what removes it.
pub(super) struct Database {
    pub(super) pool: SqlitePool,
    folder: PathBuf,
}

impl Database {
    pub(super) async fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("buttress-sqlite-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let options = SqliteConnectOptions::new()
            .filename(folder.join("shop.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await.unwrap();
        Some(Self { pool, folder })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
