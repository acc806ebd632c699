//! What can be set about a journal in a file.

use std::time::Duration;

/// Settings of an [`SqliteJournal`](super::SqliteJournal). How durable it is can't be set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// How long to wait for another program that locks the file for a moment, a backup for example. Default 5 s. The
    /// writer waits as long, and then fails for good.
    pub busy_timeout: Duration,
    /// Memory for pages, in KiB, for each of the two connections. Default 16 MiB.
    pub cache_kib: u32,
    /// How long the write-ahead log may grow, in pages of 8 KiB, before it is moved into the file. Default 2,048, which is
    /// 16 MiB. More means rarer and longer pauses, and a longer start after a crash.
    pub checkpoint_pages: u32,
    /// For tests that must see what becomes of sagas without it.
    #[doc(hidden)]
    pub planted_synchronous: Option<&'static str>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            busy_timeout: Duration::from_secs(5),
            cache_kib: 16 * 1024,
            checkpoint_pages: 2048,
            planted_synchronous: None,
        }
    }
}
