//! What a journal holds: sagas, and what happened in each, in order.

use bytes::Bytes;

use crate::{name::Name, step::SagaId};

/// Milliseconds since the Unix epoch.
pub type Millis = u64;

/// A saga, as its row says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SagaRow {
    /// Which.
    pub id: SagaId,
    /// What kind of saga it is.
    pub name: Name,
    /// The version of its definition; 0 for one that has none.
    pub version: u32,
    /// Whose request it answers, and with which idempotency key. One saga has a key at a time.
    pub scope_key: Option<String>,
    /// What that request asked for.
    pub fingerprint: Option<Bytes>,
    /// What no other unfinished saga may work on.
    pub exclusive: Option<String>,
    /// How far it is.
    pub state: State,
    /// The coordinator that works on it.
    pub owner: Option<String>,
    /// How often it changed hands; what an earlier owner writes is refused.
    pub epoch: u64,
    /// Until when nobody else may take it over.
    pub lease_until: Option<Millis>,
    /// When it is to be looked at again, if it waits.
    pub wake_at: Option<Millis>,
    /// How often it was taken over from an owner who hadn't let go of it, since it last got anywhere.
    pub takeovers: u32,
    /// The saga of which it is a step, and which.
    pub parent: Option<(SagaId, String)>,
    /// When it is to be undone if it hasn't committed.
    pub deadline: Option<Millis>,
    /// The trace it belongs to, as in a `traceparent` header.
    pub trace: Option<String>,
    /// When it began.
    pub created_at: Millis,
    /// When it came to rest.
    pub ended_at: Option<Millis>,
    /// When it may be forgotten.
    pub expires_at: Option<Millis>,
    /// What the request with its idempotency key was answered.
    pub answer: Option<Bytes>,
}

/// How far a saga is.
///
/// ```text
/// Running => Committed => Done
///    |           |
///    |           => Parked => (Committed | Undoing | Abandoned)
///    v           |
/// Undoing    => Undone
/// ```
///
/// Done, undone and abandoned are for ever; all others are unfinished. The numbers are those in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum State {
    /// Its steps are being carried out.
    Running = 0,
    /// It is decided; calls that were promised are yet to be made.
    Committed = 1,
    /// It is decided the other way; steps are being undone.
    Undoing = 2,
    /// Committed, and nothing is left to be done.
    Done = 3,
    /// Everything it did is undone.
    Undone = 4,
    /// Something could not be done however often it was tried: somebody must look at it.
    Parked = 5,
    /// Somebody looked at it, and gave it up.
    Abandoned = 6,
}

/// One thing that happened in a saga.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// Its place in the saga: 0, 1, 2, without gaps.
    pub seq: u32,
    /// When.
    pub at: Millis,
    /// What.
    pub entry: Entry,
}

/// A call that is to be made: to whom, and with what. Both survive a restart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Invocation {
    /// The name of the [`Call`](crate::saga::Call).
    pub call: Name,
    /// Its arguments, as JSON.
    pub args: Bytes,
}

/// What happened. Steps and promised calls are numbered together, in the order in which they were begun or promised.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Entry {
    /// A saga of a definition begins, and this is what it was given.
    Begun {
        /// As JSON.
        input: Bytes,
    },
    /// A step is about to be carried out; this is how it is undone.
    Intent {
        /// Which step.
        number: u32,
        /// Its name.
        step: Name,
        /// What undoes it, if anything has to.
        undo: Option<Invocation>,
        /// How long to wait, in milliseconds, before what may have happened is undone: until a late action of a
        /// participant without a barrier can't arrive any more.
        settle: u32,
    },
    /// It happened, and this was the result, where that is needed to go on.
    Done {
        /// Which step.
        number: u32,
        /// What it gave, as JSON.
        output: Option<Bytes>,
    },
    /// It certainly didn't happen.
    Refused {
        /// Which step.
        number: u32,
        /// Why.
        reason: String,
    },
    /// It may have happened.
    Unknown {
        /// Which step.
        number: u32,
        /// Why nothing more is known.
        reason: String,
    },
    /// A call was promised for after the commit.
    Then {
        /// Its number.
        number: u32,
        /// The call.
        call: Invocation,
    },
    /// From here on the saga only goes forward.
    Commit,
    /// From here on the saga only goes back.
    Undo {
        /// Why.
        reason: String,
    },
    /// A step is undone.
    Undone {
        /// Which step.
        number: u32,
    },
    /// A promised call was made.
    Called {
        /// Which call.
        number: u32,
    },
    /// An undo or a promised call didn't work; it will be tried again.
    Failed {
        /// Which step or call.
        number: u32,
        /// Which attempt it was, from 1 on.
        attempt: u32,
        /// Why.
        reason: String,
    },
    /// An undo or a promised call is not tried again until an operator says so.
    Parked {
        /// Which step or call.
        number: u32,
        /// Why.
        reason: String,
    },
    /// An operator decided.
    Operator {
        /// What.
        action: Action,
        /// About which step or call; `None` is the whole saga.
        number: Option<u32>,
        /// Why, in their words.
        note: String,
    },
    /// A coordinator took the saga over.
    Takeover {
        /// Which.
        owner: String,
        /// In which epoch.
        epoch: u64,
    },
    /// The saga is at rest. Nothing follows.
    End {
        /// Done, undone, or abandoned.
        state: State,
    },
}

/// What an operator can do about something that is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Try again.
    Retry,
    /// Take it as done: somebody saw to it by hand.
    Skip,
    /// Give the saga up as it stands.
    Abandon,
}

// ===== impl State =====

impl State {
    /// Every state.
    pub const ALL: [Self; 7] =
        [Self::Running, Self::Committed, Self::Undoing, Self::Done, Self::Undone, Self::Parked, Self::Abandoned];

    /// Whether the saga is at rest for ever.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Undone | Self::Abandoned)
    }

    /// As a label: `running`, `committed`, ...
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Committed => "committed",
            Self::Undoing => "undoing",
            Self::Done => "done",
            Self::Undone => "undone",
            Self::Parked => "parked",
            Self::Abandoned => "abandoned",
        }
    }
}

impl Entry {
    /// The step or call it is about.
    pub fn number(&self) -> Option<u32> {
        match self {
            Self::Intent { number, .. }
            | Self::Done { number, .. }
            | Self::Refused { number, .. }
            | Self::Unknown { number, .. }
            | Self::Then { number, .. }
            | Self::Undone { number }
            | Self::Called { number }
            | Self::Failed { number, .. }
            | Self::Parked { number, .. } => Some(*number),
            Self::Operator { number, .. } => *number,
            Self::Begun { .. } | Self::Commit | Self::Undo { .. } | Self::Takeover { .. } | Self::End { .. } => None,
        }
    }

    /// What happened, as a label: `intent`, `done`, ...
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Begun { .. } => "begun",
            Self::Intent { .. } => "intent",
            Self::Done { .. } => "done",
            Self::Refused { .. } => "refused",
            Self::Unknown { .. } => "unknown",
            Self::Then { .. } => "then",
            Self::Commit => "commit",
            Self::Undo { .. } => "undo",
            Self::Undone { .. } => "undone",
            Self::Called { .. } => "called",
            Self::Failed { .. } => "failed",
            Self::Parked { .. } => "parked",
            Self::Operator { .. } => "operator",
            Self::Takeover { .. } => "takeover",
            Self::End { .. } => "end",
        }
    }
}
