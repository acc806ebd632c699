//! A journal in memory that does as it is told: it counts, holds up, fails, and loses renewals.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Duration,
};

use buttress::{
    saga::journal::{
        Entry, Filter, Journal, JournalError, Lookup, MemoryJournal, Needs, Record, SagaRow, Write, Written,
    },
    step::SagaId,
};

/// How long anybody waits for the other side before the test has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A journal in memory. Clones are the same journal: one is given away, and another is what it is told through.
#[derive(Debug, Clone, Default)]
pub(crate) struct Controlled {
    pub(crate) journal: MemoryJournal,
    control: Arc<(Mutex<Control>, Condvar)>,
}

#[derive(Debug, Default)]
struct Control {
    /// What becomes of the next batches, one each.
    orders: VecDeque<Order>,
    /// What becomes of a batch without an order.
    otherwise: Order,
    /// Its owner stands still, as far as others can see.
    loses_renewals: bool,
    /// How large the batches were that came, and haven't been asked for.
    came: VecDeque<usize>,
    batches: usize,
    writes: usize,
    commits: usize,
}

/// What becomes of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Order {
    #[default]
    Write,
    /// It waits for an order.
    Hold,
    Fail,
    Panic,
    AnswerTooFew,
}

impl Controlled {
    pub(crate) fn over(journal: &MemoryJournal) -> Self {
        Self { journal: journal.clone(), ..Self::default() }
    }

    /// One whose every batch waits for an order.
    pub(crate) fn held() -> Self {
        let held = Self::default();
        held.henceforth(Order::Hold);
        held
    }

    // ===== what it is told =====

    /// What becomes of every batch for which there is no other order.
    pub(crate) fn henceforth(&self, order: Order) {
        self.lock().otherwise = order;
        self.control.1.notify_all();
    }

    /// What becomes of the batch that waits, or of the next.
    pub(crate) fn order(&self, order: Order) {
        self.lock().orders.push_back(order);
        self.control.1.notify_all();
    }

    /// Waits for a batch, says what becomes of it, and gives how large it is.
    pub(crate) fn next(&self, order: Order) -> usize {
        let waited = self.control.1.wait_timeout_while(self.lock(), PATIENCE, |control| control.came.is_empty());
        let size = waited.unwrap().0.came.pop_front().expect("a batch");
        self.order(order);
        size
    }

    pub(crate) fn lose_renewals(&self) {
        self.lock().loses_renewals = true;
    }

    // ===== what it tells =====

    /// Waits in a task for a batch to come, and gives how large it is.
    pub(crate) async fn came(&self) -> usize {
        loop {
            if let Some(size) = self.try_came() {
                return size;
            }
            tokio::task::yield_now().await;
        }
    }

    /// How large the next batch that came was, if one did.
    pub(crate) fn try_came(&self) -> Option<usize> {
        self.lock().came.pop_front()
    }

    /// How many batches came, whatever became of them.
    pub(crate) fn batches(&self) -> usize {
        self.lock().batches
    }

    /// How much was written, but for leases: those are renewed as time goes by.
    pub(crate) fn writes(&self) -> usize {
        self.lock().writes
    }

    /// How many sagas are committed.
    pub(crate) fn commits(&self) -> usize {
        self.lock().commits
    }

    /// Whether nobody else holds it.
    pub(crate) fn is_let_go(&self) -> bool {
        Arc::strong_count(&self.control) == 1
    }

    fn lock(&self) -> MutexGuard<'_, Control> {
        self.control.0.lock().unwrap()
    }

    /// What becomes of this batch.
    fn ask(&self, batch: &[Write]) -> Order {
        let mut control = self.lock();
        control.batches += 1;
        control.came.push_back(batch.len());
        self.control.1.notify_all();
        let waits = |control: &mut Control| control.orders.is_empty() && control.otherwise == Order::Hold;
        let (mut control, waited) = self.control.1.wait_timeout_while(control, PATIENCE, waits).unwrap();
        let otherwise = control.otherwise;
        let order = control.orders.pop_front().unwrap_or(otherwise);
        drop(control);
        assert!(!waited.timed_out(), "nobody said what becomes of a batch");
        order
    }
}

impl Journal for Controlled {
    fn write(&mut self, batch: &[Write]) -> Result<Vec<Written>, JournalError> {
        match self.ask(batch) {
            Order::Write | Order::Hold => {}
            Order::Fail => return Err(JournalError::new("no space left")),
            Order::Panic => panic!("out of its depth"),
            Order::AnswerTooFew => return Ok(vec![]),
        }
        let is_renewal = batch.iter().any(|write| matches!(write, Write::Renew { .. }));
        if is_renewal && self.lock().loses_renewals {
            return Ok(vec![Written::Ok; batch.len()]);
        }
        let written = Journal::write(&mut self.journal, batch)?;
        let records = batch.iter().flat_map(|write| match write {
            Write::Open(_, records) | Write::Append { records, .. } => records.as_slice(),
            _ => &[],
        });
        let mut control = self.lock();
        control.commits += records.filter(|record| record.entry == Entry::Commit).count();
        control.writes +=
            batch.iter().filter(|write| !matches!(write, Write::Renew { .. } | Write::Claim { .. })).count();
        Ok(written)
    }

    fn reader(&self) -> Result<Box<dyn Lookup + Send>, JournalError> {
        self.journal.reader()
    }
}

impl Lookup for Controlled {
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
