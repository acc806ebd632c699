//! A journal in memory that fails when it is told to, or holds what none should.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use buttress::{
    BoxError,
    saga::{
        BeforePivot, Call, SagaDefinition,
        journal::{
            ClaimScope, Entry, Filter, Journal, JournalError, Lookup, MemoryJournal, Needs, Record, SagaRow, State,
            Write, Written,
        },
    },
    step::SagaId,
};
use serde::{Deserialize, Serialize};
use tower::service_fn;

pub(super) const UNDO: Call<String> = Call::new("everything.undo");
pub(super) const TELL: Call<String> = Call::new("everything.tell");

/// Clones are the same journal.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    journal: MemoryJournal,
    orders: Arc<Orders>,
    is_alone: bool,
}

#[derive(Debug, Default)]
struct Orders {
    writes_fail: AtomicBool,
    trials_fail: AtomicBool,
    lookups_fail: AtomicBool,
    loses_renewals: AtomicBool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Trip {
    seat: u32,
}

/// Two steps, of which the first decides.
pub(super) fn definition() -> SagaDefinition<Trip, ()> {
    let gives = || service_fn(async |()| Ok::<u32, BoxError>(7));
    SagaDefinition::new("everything.defined", 1)
        .step("seat", gives(), |_: &Trip| (), |trip, seat: u32| trip.seat = seat)
        .pivot()
        .step("tell", gives(), |_: &Trip| (), |_, _: u32| {})
        .before_pivot(BeforePivot::Resume)
}

impl Told {
    /// One that a coordinator has to itself: what is in it is taken over at once.
    pub(super) fn alone() -> Self {
        Self { is_alone: true, ..Self::default() }
    }

    pub(super) fn fail_writes(&self) {
        self.orders.writes_fail.store(true, SeqCst);
    }

    pub(super) fn fail_trials(&self, fail: bool) {
        self.orders.trials_fail.store(fail, SeqCst);
    }

    pub(super) fn fail_lookups(&self) {
        self.orders.lookups_fail.store(true, SeqCst);
    }

    /// From now on its owner stands still, as far as others can see.
    pub(super) fn lose_renewals(&self) {
        self.orders.loses_renewals.store(true, SeqCst);
    }

    /// The same, in other hands that don't lose anything.
    pub(super) fn shared(&self) -> Self {
        Self { orders: Arc::default(), ..self.clone() }
    }

    /// As if so many coordinators had died of each.
    pub(super) fn accuse(&self, times: u32) {
        let rows = self.clone().list(&Filter { state: None, name: None, before: None, limit: 100 }).unwrap();
        for row in rows.iter().flat_map(|row| std::iter::repeat_n(row, times as usize)) {
            let claim = Write::Claim {
                owner: "dead".to_owned(),
                now: u64::MAX,
                lease_until: 0,
                scope: ClaimScope::One(row.id),
                limit: 1,
                most_takeovers: u32::MAX,
            };
            self.journal.clone().write(&[claim]).unwrap();
        }
    }

    /// Of a saga that has a record too few.
    pub(super) fn with_a_gap() -> Self {
        Self::holding("everything damaged", 0, State::Running, vec![(1, Entry::Begun { input: "{}".into() })])
    }

    /// Of a saga that was given this.
    pub(super) fn with_input_of(input: &'static str) -> Self {
        let begun = Entry::Begun { input: input.into() };
        Self::holding("everything.defined", 1, State::Running, vec![(0, begun)])
    }

    /// Of a saga whose last step gave this.
    pub(super) fn past_a_pivot_that_gave(output: &'static str) -> Self {
        let intent = |number, step: &'static str| Entry::Intent { number, step: step.into(), undo: None, settle: 0 };
        let done = |number, output: &'static str| Entry::Done { number, output: Some(output.into()) };
        let records = vec![
            (0, Entry::Begun { input: r#"{"seat":0}"#.into() }),
            (1, intent(0, "seat")),
            (2, done(0, "7")),
            (3, Entry::Commit),
            (4, intent(1, "tell")),
            (5, done(1, output)),
        ];
        Self::holding("everything.defined", 1, State::Committed, records)
    }

    fn holding(name: &'static str, version: u32, state: State, records: Vec<(u32, Entry)>) -> Self {
        let row = SagaRow {
            id: SagaId::new(),
            name: name.into(),
            version,
            scope_key: None,
            fingerprint: None,
            exclusive: None,
            state,
            owner: Some("dead".to_owned()),
            epoch: 1,
            lease_until: Some(0),
            wake_at: None,
            takeovers: 0,
            parent: None,
            deadline: None,
            trace: None,
            created_at: 0,
            ended_at: None,
            expires_at: None,
            answer: None,
        };
        let records = records.into_iter().map(|(seq, entry)| Record { seq, at: 0, entry }).collect();
        let told = Self::alone();
        told.journal.clone().write(&[Write::Open(Box::new(row), records)]).unwrap();
        told
    }

    fn ask(&self) -> Result<(), JournalError> {
        match self.orders.lookups_fail.load(SeqCst) {
            true => Err(JournalError::new("as it was told to")),
            false => Ok(()),
        }
    }
}

impl Journal for Told {
    fn write(&mut self, batch: &[Write]) -> Result<Vec<Written>, JournalError> {
        let is_trial = |write: &Write| matches!(write, Write::Claim { scope: ClaimScope::One(_), .. });
        let fails = self.orders.writes_fail.load(SeqCst)
            || (self.orders.trials_fail.load(SeqCst) && batch.iter().any(is_trial));
        let is_renewal = |write: &Write| matches!(write, Write::Renew { .. });
        if fails {
            return Err(JournalError::new("as it was told to"));
        }
        if self.orders.loses_renewals.load(SeqCst) && batch.iter().any(is_renewal) {
            return Ok(vec![Written::Ok; batch.len()]);
        }
        Journal::write(&mut self.journal, batch)
    }

    fn reader(&self) -> Result<Box<dyn Lookup + Send>, JournalError> {
        self.journal.reader()
    }

    fn is_exclusive(&self) -> bool {
        self.is_alone
    }
}

impl Lookup for Told {
    fn saga(&mut self, id: SagaId) -> Result<Option<SagaRow>, JournalError> {
        self.journal.saga(id)
    }

    fn by_key(&mut self, scope_key: &str) -> Result<Option<SagaRow>, JournalError> {
        self.ask()?;
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
