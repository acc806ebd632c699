//! A journal in memory that counts what is written, and fails when it is told to.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use buttress::{
    saga::journal::{
        Entry, Filter, Journal, JournalError, Lookup, MemoryJournal, Needs, Record, SagaRow, Write, Written,
    },
    step::SagaId,
};

#[derive(Debug, Clone, Default)]
pub(crate) struct Counting {
    inner: MemoryJournal,
    writes: Arc<AtomicUsize>,
    committed: Arc<AtomicUsize>,
    failing: Arc<AtomicBool>,
}

impl Counting {
    pub(crate) fn writes(&self) -> usize {
        self.writes.load(SeqCst)
    }

    /// How many sagas are committed.
    pub(crate) fn committed(&self) -> usize {
        self.committed.load(SeqCst)
    }

    /// From now on every write fails.
    pub(crate) fn fail(&self) {
        self.failing.store(true, SeqCst);
    }
}

impl Journal for Counting {
    fn write(&mut self, batch: &[Write]) -> Result<Vec<Written>, JournalError> {
        if self.failing.load(SeqCst) {
            return Err(JournalError::new("no space left on the device"));
        }
        // Leases are renewed as time goes by.
        let counted = batch.iter().filter(|write| !matches!(write, Write::Renew { .. } | Write::Claim { .. }));
        self.writes.fetch_add(counted.count(), SeqCst);
        let records = batch.iter().flat_map(|write| match write {
            Write::Open(_, records) | Write::Append { records, .. } => records.as_slice(),
            _ => &[],
        });
        let commits = records.filter(|record| record.entry == Entry::Commit).count();
        let written = self.inner.write(batch);
        self.committed.fetch_add(commits, SeqCst);
        written
    }

    fn reader(&self) -> Result<Box<dyn Lookup + Send>, JournalError> {
        self.inner.reader()
    }
}

impl Lookup for Counting {
    fn saga(&mut self, id: SagaId) -> Result<Option<SagaRow>, JournalError> {
        self.inner.saga(id)
    }

    fn by_key(&mut self, scope_key: &str) -> Result<Option<SagaRow>, JournalError> {
        self.inner.by_key(scope_key)
    }

    fn records(&mut self, id: SagaId) -> Result<Vec<Record>, JournalError> {
        self.inner.records(id)
    }

    fn list(&mut self, filter: &Filter) -> Result<Vec<SagaRow>, JournalError> {
        self.inner.list(filter)
    }

    fn needs(&mut self) -> Result<Needs, JournalError> {
        self.inner.needs()
    }
}
