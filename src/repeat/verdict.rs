//! What an answer says of an attempt.

use std::time::Duration;

use crate::budget::Cost;

/// What an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[doc(hidden)]
pub enum Verdict {
    /// The attempt succeeded.
    Success,
    /// The attempt failed, and another would not help; or nothing is known.
    Final,
    /// It was refused: by another policy of ours, or by a server that says not to try again.
    Refused { by_server: bool },
    /// The attempt failed, and another may help.
    Failed(Failure),
}

/// Nobody has said what is safe.
#[derive(Debug)]
#[doc(hidden)]
pub struct Unsaid;

/// An attempt that failed, and may be worth another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    pub(crate) cost: Cost,
    pub(crate) ask: Option<Ask>,
    /// The request may have reached the service.
    pub(crate) sent: bool,
}

/// How long the server asks to be left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// `Retry-After`.
    About(Duration),
    /// `grpc-retry-pushback-ms`.
    Exactly(Duration),
}
