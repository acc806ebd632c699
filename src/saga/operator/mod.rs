//! What operators can see, and do about what is parked.

#[cfg(feature = "saga-admin")]
mod admin;
mod view;

pub use self::view::{SagaDetail, SagaSummary, Shown, ShownRecord};

use std::{error::Error, fmt, sync::Arc};

use crate::{
    saga::{
        Coordinator, SagaError,
        coordinator::{course::Course, keeper},
        definition::Found,
        event,
        journal::{Action, ClaimScope, Filter, JournalError, SagaRow, State, Write, Written},
        machine::{CannotDo, Machine},
    },
    step::SagaId,
};

/// The longest note, in characters.
const LONGEST_NOTE: usize = 1000;

/// An operator asked for what can't be done.
#[derive(Debug)]
#[non_exhaustive]
pub enum OperatorError {
    /// There is no such saga.
    Unknown(SagaId),
    /// It isn't parked, or what was named in it isn't.
    NotParked(String),
    /// A note is required, of at most 1,000 characters.
    Note,
    /// Somebody else works on the saga.
    Busy(SagaId),
    /// The journal failed. Whether it is done isn't known: look again.
    Journal(JournalError),
    /// The saga was lost while it was being done: look again.
    Lost(SagaError),
}

impl Coordinator {
    /// Sagas that match, the youngest first.
    ///
    /// # Errors
    ///
    /// The journal can't be read.
    pub async fn sagas(&self, filter: Filter) -> Result<Vec<SagaSummary>, JournalError> {
        let rows = self.hub().writer.ask(move |journal| journal.list(&filter)).await?;
        Ok(rows.into_iter().map(SagaSummary::of).collect())
    }

    /// A saga, and what happened in it. Arguments are redacted, unless their [`Call`](crate::saga::Call) says that they may be
    /// seen.
    ///
    /// # Errors
    ///
    /// The journal can't be read.
    pub async fn saga(&self, id: SagaId) -> Result<Option<SagaDetail>, JournalError> {
        let hub = self.hub();
        let read = hub.writer.ask(move |journal| Ok((journal.saga(id)?, journal.records(id)?))).await?;
        let (Some(row), records) = read else { return Ok(None) };
        let journal = records.into_iter().map(|record| ShownRecord::of(record, &hub.calls)).collect();
        Ok(Some(SagaDetail { saga: SagaSummary::of(row), journal }))
    }

    /// Has what is parked in a saga tried again: one step or call of it, or with `None` all. Returns when that is durable.
    ///
    /// # Errors
    ///
    /// See [`OperatorError`].
    pub async fn retry(&self, id: SagaId, number: Option<u32>) -> Result<(), OperatorError> {
        self.operate(id, Action::Retry, number, "").await
    }

    /// Takes a parked step as undone, or a parked call as made: somebody saw to it by hand, and says so in `note`.
    ///
    /// # Errors
    ///
    /// See [`OperatorError`].
    pub async fn skip(&self, id: SagaId, number: u32, note: &str) -> Result<(), OperatorError> {
        check_note(note)?;
        self.operate(id, Action::Skip, Some(number), note).await
    }

    /// Gives a parked saga up as it stands; `note` says why.
    ///
    /// # Errors
    ///
    /// See [`OperatorError`].
    pub async fn abandon(&self, id: SagaId, note: &str) -> Result<(), OperatorError> {
        check_note(note)?;
        self.operate(id, Action::Abandon, None, note).await
    }

    /// On a task of its own: cut off in between, it would leave a saga that nobody works on and nobody else may have.
    async fn operate(&self, id: SagaId, action: Action, number: Option<u32>, note: &str) -> Result<(), OperatorError> {
        let (this, note) = (self.clone(), note.to_owned());
        let operated = tokio::spawn(async move { this.operate_to_the_end(id, action, number, &note).await });
        match operated.await {
            Ok(operated) => operated,
            Err(cut) => match cut.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(OperatorError::Busy(id)),
            },
        }
    }

    async fn operate_to_the_end(
        &self,
        id: SagaId,
        action: Action,
        number: Option<u32>,
        note: &str,
    ) -> Result<(), OperatorError> {
        let hub = self.hub();
        // Two at once would take the saga from each other.
        let _one_at_a_time = hub.operator.lock().await;
        self.rehearse(id, action, number, note).await?;
        let claim = Write::Claim {
            owner: hub.owner.clone(),
            now: hub.clock.now(),
            lease_until: hub.lease_until(),
            scope: ClaimScope::One(id),
            limit: 1,
            most_takeovers: u32::MAX,
        };
        let claimed = hub.writer.write(claim).await.map_err(OperatorError::Journal)?;
        let (row, records) = match claimed {
            Written::Claimed(mut claimed) => claimed.pop().ok_or(OperatorError::Busy(id))?,
            _ => return Err(OperatorError::Busy(id)),
        };
        let machine = Machine::taken_over(&row, &records, hub.config.rules()).map_err(damaged)?;
        let at_work = hub.enter().ok_or(OperatorError::Busy(id))?;
        let course = Course::new(Arc::clone(hub), at_work, row.name.clone(), machine, row.created_at);
        let definition = hub.definition(row.name.as_str(), row.version);
        let operated = course.operate(action, number, note, definition.is_some()).await.map_err(OperatorError::Lost)?;
        operated.map_err(not_parked)?;
        event::operated(id, &row.name, action, number, note);
        hub.parked.look_again();
        course.conducted();
        if let Some(definition) = definition {
            let records = hub.writer.ask(move |journal| journal.records(id)).await.map_err(OperatorError::Journal)?;
            keeper::resume(definition, course, &records, Found::default());
        }
        Ok(())
    }

    /// Tries on a copy whether it can be done, so that a saga isn't taken over for nothing.
    async fn rehearse(
        &self,
        id: SagaId,
        action: Action,
        number: Option<u32>,
        note: &str,
    ) -> Result<SagaRow, OperatorError> {
        let hub = self.hub();
        let read = hub.writer.ask(move |journal| Ok((journal.saga(id)?, journal.records(id)?))).await;
        let (row, records) = read.map_err(OperatorError::Journal)?;
        let row = row.ok_or(OperatorError::Unknown(id))?;
        if row.state != State::Parked {
            return Err(OperatorError::NotParked(format!("saga {id} is {}, not parked", row.state.as_str())));
        }
        let mut machine = Machine::taken_over(&row, &records, hub.config.rules()).map_err(damaged)?;
        machine.operate(action, number, note, false, hub.clock.now()).map_err(not_parked)?;
        Ok(row)
    }
}

fn check_note(note: &str) -> Result<(), OperatorError> {
    let length = note.chars().count();
    if note.trim().is_empty() || length > LONGEST_NOTE { Err(OperatorError::Note) } else { Ok(()) }
}

fn damaged(inconsistent: crate::saga::machine::Inconsistent) -> OperatorError {
    OperatorError::Journal(JournalError::new(inconsistent.0))
}

fn not_parked(cannot: CannotDo) -> OperatorError {
    OperatorError::NotParked(cannot.0)
}

impl fmt::Display for OperatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(id) => write!(f, "there is no saga {id}"),
            Self::NotParked(problem) => f.write_str(problem),
            Self::Note => write!(f, "a note is required, of at most {LONGEST_NOTE} characters, that says why"),
            Self::Busy(id) => write!(f, "somebody else is working on saga {id}"),
            Self::Journal(error) => error.fmt(f),
            Self::Lost(error) => error.fmt(f),
        }
    }
}

impl Error for OperatorError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Lost(error) => error.source(),
            _ => None,
        }
    }
}
