//! A journal that is never written again once it failed.

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use tokio::time::Instant;

use super::{Journal, JournalError, Lookup, Write, Written};
use crate::{
    meter::Stopwatch,
    saga::{event, meter::Journaling},
};

/// A journal, and what went wrong with it.
///
/// After a failure nobody knows what is on the disk: the kernel may have dropped the pages that it couldn't write, and the
/// next fsync would call them good. So there is no next one. A panic is a failure: the journal may be in the middle
/// of anything.
pub(super) struct Store {
    journal: Box<dyn Journal>,
    watched: Journaling,
    failed: Option<JournalError>,
}

impl Store {
    pub(super) fn new(journal: Box<dyn Journal>, watched: Journaling) -> Self {
        Self { journal, watched, failed: None }
    }

    /// Writes the batch: one answer a write, or one error for all of them.
    pub(super) fn write(&mut self, batch: &[Write]) -> Result<Vec<Written>, JournalError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let begun = Stopwatch::started(Instant::now());
        let written = catch_unwind(AssertUnwindSafe(|| self.journal.write(batch)));
        let written = written.unwrap_or_else(|panic| Err(JournalError::new(panicked(&*panic))));
        let written = written.and_then(|written| match written.len() == batch.len() {
            true => Ok(written),
            false => Err(JournalError::new(format!("{} answers were given for {} writes", written.len(), batch.len()))),
        });
        let transactions = self.watched.get();
        transactions.writes.record(u32::try_from(batch.len()).unwrap_or(u32::MAX));
        transactions.seconds.since(begun);
        if let Err(error) = &written {
            transactions.failed.increment();
            event::journal_stopped(&self.watched.name, error, batch.len());
            let after = format!("nothing more is written, because an earlier write failed: {}", error.problem);
            self.failed = Some(JournalError::new(after));
        }
        written
    }

    /// Reading goes on whatever happened.
    pub(super) fn lookup(&mut self) -> &mut dyn Lookup {
        &mut *self.journal
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("failed", &self.failed).finish_non_exhaustive()
    }
}

pub(super) fn panicked(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", said.unwrap_or("with something that is no text"))
}
