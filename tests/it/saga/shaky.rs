//! A journal that can be told to fail, or to lose a coordinator's lease.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
};

use buttress::{
    saga::journal::{Filter, Journal, JournalError, Lookup, MemoryJournal, Needs, Record, SagaRow, Write, Written},
    step::SagaId,
};

#[derive(Clone, Debug, Default)]
pub(crate) struct Shaky {
    pub(crate) journal: MemoryJournal,
    pub(crate) faults: Arc<Faults>,
}

#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Its owner stands still, as far as others can see.
    pub(crate) no_renewals: AtomicBool,
    /// Every write fails.
    pub(crate) broken: AtomicBool,
    pub(crate) writes: AtomicU32,
}

impl Shaky {
    pub(crate) fn over(journal: &MemoryJournal) -> Self {
        Self { journal: journal.clone(), faults: Arc::default() }
    }
}

impl Journal for Shaky {
    fn write(&mut self, batch: &[Write]) -> Result<Vec<Written>, JournalError> {
        self.faults.writes.fetch_add(1, SeqCst);
        if self.faults.broken.load(SeqCst) {
            return Err(JournalError::new("no space left on device"));
        }
        let is_renewal = batch.iter().any(|write| matches!(write, Write::Renew { .. }));
        if is_renewal && self.faults.no_renewals.load(SeqCst) {
            return Ok(vec![Written::Ok; batch.len()]);
        }
        Journal::write(&mut self.journal, batch)
    }

    fn reader(&self) -> Result<Box<dyn Lookup + Send>, JournalError> {
        self.journal.reader()
    }
}

impl Lookup for Shaky {
    fn saga(&mut self, id: SagaId) -> Result<Option<SagaRow>, JournalError> {
        self.journal.saga(id)
    }

    fn by_key(&mut self, scope_key: &str) -> Result<Option<SagaRow>, JournalError> {
        self.journal.by_key(scope_key)
    }

    fn records(&mut self, id: SagaId) -> Result<Vec<Record>, JournalError> {
        self.journal.records(id)
    }

    fn list(&mut self, filter: &Filter) -> Result<Vec<SagaRow>, JournalError> {
        self.journal.list(filter)
    }

    fn needs(&mut self) -> Result<Needs, JournalError> {
        self.journal.needs()
    }
}
