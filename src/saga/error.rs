//! Why a saga can't go on.

use std::{error::Error, fmt};

use crate::{BoxError, name::Name, saga::journal::JournalError, step::StepOutcome};

/// Why a step, or a whole saga, didn't happen.
///
/// Of a step that was carried out and failed it is what the step's own future gave, as its
/// [source](Error::source), and [`downcast_ref`](Self::downcast_ref) finds it; `E: From<SagaError>` lets a handler's own
/// error type take it by `?`.
#[derive(Debug)]
pub struct SagaError {
    kind: Kind,
    source: Option<BoxError>,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A step failed.
    Step {
        /// Its name.
        step: Name,
        /// Refused if it certainly didn't happen, otherwise unknown.
        outcome: StepOutcome,
    },
    /// A step or call was described so that it can't be journaled: its name, a call that isn't registered, arguments that
    /// are no JSON or too large. The step was not begun.
    Invalid,
    /// The saga was decided before the step began.
    Over,
    /// The saga has as many steps as a saga may have.
    TooManySteps,
    /// A step that can only go forward was tried as often as it may be, and waits for somebody to look at it.
    Parked {
        /// Its name.
        step: Name,
    },
    /// Its deadline passed before it was decided.
    DeadlinePassed,
    /// Another coordinator has taken the saga over; what becomes of it is decided there.
    TakenOver,
    /// Another unfinished saga works on what this one wants for itself.
    Exclusive,
    /// The idempotency key was taken by another saga in the meantime.
    KeyTaken,
    /// The journal failed: what becomes of the saga is decided when it is read again.
    Journal,
    /// The coordinator is shutting down, and begins nothing new.
    Draining,
}

impl SagaError {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, source: None }
    }

    pub(crate) fn with_source(kind: Kind, source: impl Into<BoxError>) -> Self {
        Self { kind, source: Some(source.into()) }
    }

    /// What went wrong.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The step that failed, if it was one.
    pub fn step(&self) -> Option<&Name> {
        match &self.kind {
            Kind::Step { step, .. } | Kind::Parked { step } => Some(step),
            _ => None,
        }
    }

    /// What the step itself failed with, if it is an `E`.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.source.as_ref()?.downcast_ref()
    }

    /// What the step itself failed with, if it is an `E`.
    ///
    /// # Errors
    ///
    /// This error, if it isn't.
    pub fn downcast<E: Error + 'static>(self) -> Result<E, Self> {
        match self.source.map(|source| source.downcast::<E>()) {
            Some(Ok(error)) => Ok(*error),
            Some(Err(source)) => Err(Self { kind: self.kind, source: Some(source) }),
            None => Err(Self { kind: self.kind, source: None }),
        }
    }
}

impl From<JournalError> for SagaError {
    fn from(error: JournalError) -> Self {
        Self::with_source(Kind::Journal, error)
    }
}

impl fmt::Display for SagaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Step { step, outcome: StepOutcome::Refused } => write!(f, "step {step} was refused"),
            Kind::Step { step, .. } => write!(f, "step {step} may or may not have happened"),
            Kind::Parked { step } => {
                write!(f, "step {step} can't be carried out, and waits for somebody to look at it")
            }
            Kind::DeadlinePassed => f.write_str("the saga's deadline passed"),
            Kind::Invalid => f.write_str("the step can't be journaled"),
            Kind::Over => f.write_str("the saga is over"),
            Kind::TooManySteps => f.write_str("the saga has too many steps"),
            Kind::TakenOver => f.write_str("the saga was taken over by another coordinator"),
            Kind::Exclusive => f.write_str("another saga is working on the same"),
            Kind::KeyTaken => f.write_str("another saga has the idempotency key"),
            Kind::Journal => f.write_str("the saga's journal failed"),
            Kind::Draining => f.write_str("the coordinator is shutting down"),
        }
    }
}

impl Error for SagaError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn Error + 'static))
    }
}
