//! Why there is a fallback, and how its answer is marked.

use std::{error::Error, fmt};

use crate::{BoxError, deadline::Elapsed, name::Name, outcome::Fault, rejection::Rejection};

/// Why a call's own answer won't do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// Another policy of ours refused the call: nothing was sent.
    Rejected(Rejection),
    /// The time of an attempt ran out: it may have been carried out.
    Elapsed(Elapsed),
    /// The service failed, or said that it has too much to do.
    Failed(Fault),
}

impl Failure {
    /// Which of them it is, as a label of a metric: `rejected`, `elapsed`, `failed`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Rejected(_) => "rejected",
            Self::Elapsed(_) => "elapsed",
            Self::Failed(_) => "failed",
        }
    }

    pub(super) fn is_rejection(&self) -> bool {
        matches!(self, Self::Rejected(_))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejection) => rejection.fmt(f),
            Self::Elapsed(elapsed) => elapsed.fmt(f),
            Self::Failed(fault) => fault.cause.fmt(f),
        }
    }
}

/// The mark of a fallback's answer: who fell back, and why. In the extensions of an HTTP or gRPC response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FellBack {
    name: Name,
    failure: Failure,
    failed: bool,
}

impl FellBack {
    pub(super) fn new(name: Name, failure: Failure, failed: bool) -> Self {
        Self { name, failure, failed }
    }

    /// The policy's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// What became of the call itself.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    /// Whether the fallback failed too, and this answer is its failure.
    pub fn is_failed(&self) -> bool {
        self.failed
    }
}

/// The call failed, and so did its fallback: the error of the plain flavour.
///
/// Its [source](Error::source) is the call's own error; the fallback's is [`fallback`](Self::fallback). It is the other
/// way round where a policy refused the call and the fallback did more than that: a [`Rejection`] among the sources would
/// say that nothing was done.
#[derive(Debug)]
pub struct FallbackFailed {
    name: Name,
    failure: Failure,
    original: Option<BoxError>,
    fallback: BoxError,
}

impl FallbackFailed {
    pub(super) fn new(name: Name, failure: Failure, original: Option<BoxError>, fallback: BoxError) -> Self {
        Self { name, failure, original, fallback }
    }

    /// What became of the call itself.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    /// The fallback's own error.
    pub fn fallback(&self) -> &BoxError {
        &self.fallback
    }
}

impl fmt::Display for FallbackFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: fallback failed: {}", self.name, self.fallback)
    }
}

impl Error for FallbackFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let nothing_was_done = Rejection::find(&self.fallback).is_some();
        let source = match &self.original {
            Some(original) if !self.failure.is_rejection() || nothing_was_done => Some(original),
            Some(_) => Some(&self.fallback),
            None => None,
        };
        source.map(|source| &**source as &(dyn Error + 'static))
    }
}
