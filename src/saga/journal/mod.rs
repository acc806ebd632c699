//! Where sagas are written down: what they did, what they meant to do, and how each is undone.
//!
//! A [`Journal`] is written in batches, each one transaction that is durable when it returns, by one writer on a thread
//! of its own: a store that can promise that (SQLite, PostgreSQL) is wrapped by implementing two traits.
//!
//! Every write but the first of a saga is *fenced*: it carries the owner and the epoch in which the coordinator holds the
//! saga, and writes nothing if that isn't what the saga's row says. A coordinator that was paused for longer than its
//! lease can't write any more when it wakes.
//!
//! # Writing a journal of your own
//!
//! For PostgreSQL, say, which several coordinators share. What the types don't say, and a store must keep:
//!
//! - **A batch is a transaction**, and each write in it sees those before it. What is fenced off, or finds its key taken, is
//!   an answer and no error: `INSERT ... ON CONFLICT DO NOTHING`, and appends that insert by selecting from the saga's row
//!   `WHERE id = .. AND owner = .. AND epoch = ..` and an unfinished state. A unique index over saga and `seq` guards what is
//!   appended twice.
//! - **A claim locks what it takes**, in the order of ids, so that two don't wait for each other:
//!   `SELECT .. ORDER BY id LIMIT .. FOR UPDATE SKIP LOCKED`. [`ClaimScope::One`] doesn't skip. Renewing and releasing touch
//!   many rows; have them lock in that order too, or two batches can end in a deadlock, which is an error for both.
//! - **A claim counts takeovers**, where there was an owner, up to [`most_takeovers`](Write::Claim::most_takeovers):
//!   `CASE WHEN owner IS NULL THEN least(takeovers, $most) WHEN takeovers < $most THEN takeovers + 1 ELSE takeovers END`.
//!   Sagas that kill their coordinators are told from others by that; see
//!   [`CoordinatorConfig::takeovers`](crate::saga::CoordinatorConfig::takeovers).
//! - **Leases go by one clock**, the database's. The times in a write are the coordinator's: take `lease_until` less `now` of
//!   a claim as how long it is, remember it for renewals, and compare with `now()`. By the coordinators' clocks, one that is
//!   ahead by a lease takes living sagas over. The epoch keeps that harmless to the journal, not to the sagas.
//! - **A commit whose answer was lost** may have happened. Connect anew, and look for what the batch appended by saga, `seq`
//!   and epoch: if it is there, the batch happened, for it is one transaction. If neither can be found out, the answer is an
//!   error, after which the journal isn't written any more: don't write it again blindly.
//! - **What waits is left alone**: a claim, but for [`ClaimScope::One`], skips what has no owner and a `wake_at` after the
//!   claim's `now`. What has an owner is claimed whatever its `wake_at`, and releasing clears it. By clocks that differ such
//!   a saga is only tried sooner or later; compare it with the claim's `now`, or with the database's.
//! - **What is let go of is announced**, if another coordinator is to begin with it at once, and not when it next looks,
//!   within a sixth of a lease: `NOTIFY` in the transaction of a [`Write::Release`] (and of an append that lets go of what is
//!   neither at rest nor parked, and has no `wake_at`), and a task that `LISTEN`s and [tells](Releases::tell) the
//!   [`releases`](Journal::releases); also when it had to connect anew, for it may have missed one.
//!
//! [`is_exclusive`](Journal::is_exclusive) is `false` for such a store. What it answers can be held against a
//! [`MemoryJournal`], write by write: that is how the one in a file is tested.

mod memory;
mod record;
mod releases;
#[cfg(feature = "saga-sqlite")]
mod sqlite;
mod store;
mod threads;
mod writer;

use std::fmt;

#[cfg(feature = "saga-sqlite")]
pub use self::sqlite::{SqliteJournal, SqliteOptions};
/// Public for the benchmarks only: a [`Coordinator`](crate::saga::Coordinator) has one of its own.
#[doc(hidden)]
pub use self::writer::{Ack, Room, Writer};
pub use self::{
    memory::MemoryJournal,
    record::{Action, Entry, Invocation, Millis, Record, SagaRow, State},
    releases::Releases,
};
use crate::step::SagaId;

/// A store for sagas that is durable when it says so.
///
/// It is driven from one thread, so it needs no lock of its own. It may block.
pub trait Journal: Lookup + Send + 'static {
    /// Carries `batch` out in one transaction, in order, and returns when it is durable: one answer a write.
    ///
    /// A write that is fenced off, or finds its key taken, is an answer, and must leave the rest of the batch alone.
    ///
    /// # Errors
    ///
    /// The store failed, and whether the batch is durable is not known. The writer then never writes again: a page that
    /// an fsync could not write may be dropped by the kernel, and the next fsync would call it good.
    fn write(&mut self, batch: &[Write]) -> Result<Vec<Written>, JournalError>;

    /// Reads from another thread, while this one waits for the disk.
    ///
    /// # Errors
    ///
    /// The store can't be opened a second time.
    fn reader(&self) -> Result<Box<dyn Lookup + Send>, JournalError>;

    /// Whether whoever owned the unfinished sagas is known to be dead when the journal is opened, so that their leases
    /// need not be waited for: a file that only one process can open.
    fn is_exclusive(&self) -> bool {
        false
    }

    /// What tells when somebody lets go of sagas, for a journal that several coordinators share: it is asked for once, when a
    /// coordinator opens the journal. With `None`, which this answers unless a store knows better, they are found when the
    /// coordinator next looks, within a sixth of a lease.
    fn releases(&self) -> Option<Releases> {
        None
    }
}

/// What can be asked of a journal.
pub trait Lookup {
    /// A saga by its id.
    ///
    /// # Errors
    ///
    /// The store failed.
    fn saga(&mut self, id: SagaId) -> Result<Option<SagaRow>, JournalError>;

    /// The saga that has an idempotency key.
    ///
    /// # Errors
    ///
    /// The store failed.
    fn by_key(&mut self, scope_key: &str) -> Result<Option<SagaRow>, JournalError>;

    /// What happened in a saga, in order.
    ///
    /// # Errors
    ///
    /// The store failed, or what it holds can't be read.
    fn records(&mut self, id: SagaId) -> Result<Vec<Record>, JournalError>;

    /// Sagas that match, the youngest first: at most `limit` of them, older than `before`.
    ///
    /// # Errors
    ///
    /// The store failed.
    fn list(&mut self, filter: &Filter) -> Result<Vec<SagaRow>, JournalError>;

    /// What the unfinished sagas need to go on: the calls that they name, and the definitions.
    ///
    /// # Errors
    ///
    /// The store failed.
    fn needs(&mut self) -> Result<Needs, JournalError>;
}

/// Which sagas to [list](Lookup::list).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// In this state; `None` is any.
    pub state: Option<State>,
    /// Of this name; `None` is any.
    pub name: Option<String>,
    /// Older than this one, to go on from the last page.
    pub before: Option<SagaId>,
    /// At most so many.
    pub limit: u32,
}

/// What unfinished sagas need to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// The calls that they name, for undo or for after the commit.
    pub calls: Vec<String>,
    /// The definitions, by name and version, of those that have one.
    pub definitions: Vec<(String, u32)>,
}

/// One thing to write.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Write {
    /// A saga begins: its row and its first records. Boxed, for most writes are appends.
    Open(Box<SagaRow>, Vec<Record>),
    /// A saga goes on.
    Append {
        /// Who writes.
        fence: Fence,
        /// What happened since.
        records: Vec<Record>,
        /// What changes in its row.
        change: Change,
    },
    /// A coordinator takes over what is unfinished and nobody holds a lease on; parked sagas are left alone, and so are those
    /// that were let go of to wait, until their [`wake_at`](SagaRow::wake_at). It counts as a takeover if there was an owner,
    /// who then died of it or of something else; not if the saga was let go of.
    Claim {
        /// Who.
        owner: String,
        /// The time; leases that end before it have run out, and what waits until then, or waited for less, is due.
        now: Millis,
        /// Until when the sagas are held.
        lease_until: Millis,
        /// Which.
        scope: ClaimScope,
        /// At most so many, the oldest first.
        limit: u32,
        /// Takeovers are counted up to here. A count that is there already, or above, stays; but of a saga that was let go
        /// of, whose owner then lived, it comes down to here.
        most_takeovers: u32,
    },
    /// A coordinator holds on to all that it holds.
    Renew {
        /// Who.
        owner: String,
        /// Until when.
        lease_until: Millis,
    },
    /// A coordinator lets go of all that it holds, so that others needn't wait: also not for what it would have waited for
    /// itself, so `wake_at` is cleared. What it let go of before keeps its time.
    Release {
        /// Who.
        owner: String,
    },
    /// Forgets sagas at rest whose time is over.
    Prune {
        /// The time.
        now: Millis,
        /// At most so many sagas.
        limit: u32,
    },
}

/// Which sagas a coordinator takes over.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClaimScope {
    /// Those of others whose lease has run out.
    Expired,
    /// All unfinished ones of others: nobody else is alive.
    All,
    /// This one, parked or not, if its lease has run out or it is the claimant's own.
    One(SagaId),
}

/// In whose name is written. The row must say the same, or nothing is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The saga.
    pub saga: SagaId,
    /// Its owner.
    pub owner: String,
    /// Its epoch.
    pub epoch: u64,
}

/// What an append changes in a saga's row. `None` leaves it as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Change {
    /// How far it is.
    pub state: Option<State>,
    /// It got somewhere: takeovers are counted from zero again.
    pub progress: bool,
    /// It needs no owner now: it is at rest, or parked, or waits until [`wake_at`](Self::wake_at).
    pub let_go: bool,
    /// When it came to rest, and when it may be forgotten.
    pub ended: Option<(Millis, Millis)>,
    /// What its request was answered.
    pub answer: Option<bytes::Bytes>,
    /// Its idempotency key may be used anew.
    pub release_key: bool,
    /// When it is to be looked at again; unlike the others, `None` says that it isn't waiting.
    pub wake_at: Option<Millis>,
}

/// What became of a [`Write`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Written {
    /// It is written.
    Ok,
    /// Nothing was: another coordinator holds the saga.
    Fenced,
    /// Nothing was: this saga has the idempotency key.
    KeyTaken(Box<SagaRow>),
    /// Nothing was: this unfinished saga works on what the new one wants for itself.
    ExclusiveTaken(SagaId),
    /// These were taken over: rows as they are now, and all their records.
    Claimed(Vec<(SagaRow, Vec<Record>)>),
    /// So many were forgotten.
    Pruned(u32),
}

/// The store failed, or can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalError {
    problem: std::sync::Arc<str>,
}

impl JournalError {
    /// What was wrong, and what would be right.
    pub fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into().into() }
    }
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "saga journal: {}", self.problem)
    }
}

impl std::error::Error for JournalError {}

impl Change {
    /// What the row is afterwards.
    pub fn apply(&self, row: &mut SagaRow) {
        if let Some(state) = self.state {
            row.state = state;
        }
        if self.progress {
            row.takeovers = 0;
        }
        if self.let_go {
            (row.owner, row.lease_until) = (None, None);
        }
        if let Some((ended_at, expires_at)) = self.ended {
            (row.ended_at, row.expires_at) = (Some(ended_at), Some(expires_at));
        }
        if let Some(answer) = &self.answer {
            row.answer = Some(answer.clone());
        }
        if self.release_key {
            row.scope_key = None;
        }
        row.wake_at = self.wake_at;
    }
}

impl Write {
    /// About how many bytes it takes, for batches to be bounded by.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Open(row, records) => 256 + row.answer.as_ref().map_or(0, bytes::Bytes::len) + sizes(records),
            Self::Append { records, change, .. } => {
                change.answer.as_ref().map_or(0, bytes::Bytes::len) + sizes(records)
            }
            Self::Claim { .. } | Self::Renew { .. } | Self::Release { .. } | Self::Prune { .. } => 64,
        }
    }
}

fn sizes(records: &[Record]) -> usize {
    records.iter().map(Record::size).sum()
}

impl Record {
    fn size(&self) -> usize {
        64 + match &self.entry {
            Entry::Intent { undo: Some(invocation), .. } | Entry::Then { call: invocation, .. } => {
                invocation.args.len()
            }
            Entry::Begun { input: output } | Entry::Done { output: Some(output), .. } => output.len(),
            Entry::Refused { reason, .. }
            | Entry::Unknown { reason, .. }
            | Entry::Undo { reason }
            | Entry::Failed { reason, .. }
            | Entry::Parked { reason, .. } => reason.len(),
            Entry::Operator { note, .. } => note.len(),
            _ => 0,
        }
    }
}
