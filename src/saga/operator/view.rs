//! Sagas as operators see them: without what may be secret.

use serde::Serialize;

use crate::{
    name::Name,
    saga::{
        coordinator::registry::Registry,
        journal::{Action, Entry, Invocation, Millis, Record, SagaRow, State},
    },
    step::SagaId,
};

/// A saga among others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SagaSummary {
    /// Which.
    pub id: SagaId,
    /// What kind of saga it is.
    pub name: String,
    /// The version of its definition; 0 for one that has none.
    pub version: u32,
    /// How far it is.
    pub state: State,
    /// How often it changed hands.
    pub epoch: u64,
    /// How often it was taken over since it last got anywhere.
    pub takeovers: u32,
    /// The coordinator that works on it.
    pub owner: Option<String>,
    /// Whether it answers a request with an idempotency key. Which, isn't shown: it names who asked.
    pub has_key: bool,
    /// What no other unfinished saga may work on.
    pub exclusive: Option<String>,
    /// The trace it belongs to.
    pub trace: Option<String>,
    /// When it began, in milliseconds since the Unix epoch.
    pub created_at_ms: Millis,
    /// When it is to be undone if it hasn't committed.
    pub deadline_ms: Option<Millis>,
    /// When it is tried again, if it waits.
    pub wake_at_ms: Option<Millis>,
    /// When it came to rest.
    pub ended_at_ms: Option<Millis>,
    /// When it will be forgotten.
    pub expires_at_ms: Option<Millis>,
}

/// A saga, and what happened in it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SagaDetail {
    /// The saga.
    #[serde(flatten)]
    pub saga: SagaSummary,
    /// What happened, in order.
    pub journal: Vec<ShownRecord>,
}

/// One thing that happened in a saga.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ShownRecord {
    /// Its place in the saga.
    pub seq: u32,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: Millis,
    /// What: `intent`, `done`, `undo`, ...
    pub kind: &'static str,
    /// About which step or promised call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// The step's name, where it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The call that undoes the step, or that was promised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The call's arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Shown>,
    /// Which attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Why, or who, or an operator's note.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The arguments of a call.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Shown {
    /// As they are, for the call [says](crate::saga::Call::shown) that they may be seen.
    Value(serde_json::Value),
    /// Only how long they are.
    Redacted {
        /// In bytes.
        redacted_bytes: usize,
    },
}

impl SagaSummary {
    pub(crate) fn of(row: SagaRow) -> Self {
        Self {
            id: row.id,
            name: row.name.to_string(),
            version: row.version,
            state: row.state,
            epoch: row.epoch,
            takeovers: row.takeovers,
            owner: row.owner,
            has_key: row.scope_key.is_some(),
            exclusive: row.exclusive,
            trace: row.trace,
            created_at_ms: row.created_at,
            deadline_ms: row.deadline,
            wake_at_ms: row.wake_at,
            ended_at_ms: row.ended_at,
            expires_at_ms: row.expires_at,
        }
    }
}

impl ShownRecord {
    pub(crate) fn of(record: Record, calls: &Registry) -> Self {
        let mut shown = Self {
            seq: record.seq,
            at_ms: record.at,
            kind: record.entry.kind(),
            number: record.entry.number(),
            step: None,
            call: None,
            args: None,
            attempt: None,
            note: None,
        };
        match record.entry {
            Entry::Intent { step, undo, .. } => {
                shown.step = Some(step.to_string());
                shown.invocation(undo, calls);
            }
            Entry::Then { call, .. } => shown.invocation(Some(call), calls),
            Entry::Refused { reason, .. }
            | Entry::Unknown { reason, .. }
            | Entry::Undo { reason }
            | Entry::Parked { reason, .. } => shown.note = Some(reason),
            Entry::Failed { attempt, reason, .. } => (shown.attempt, shown.note) = (Some(attempt), Some(reason)),
            Entry::Operator { action, note, .. } => shown.note = Some(format!("{}: {note}", action.as_str())),
            Entry::Takeover { owner, epoch } => shown.note = Some(format!("by {owner} in epoch {epoch}")),
            Entry::End { state } => shown.note = Some(state.as_str().to_owned()),
            Entry::Begun { .. } | Entry::Done { .. } | Entry::Commit | Entry::Undone { .. } | Entry::Called { .. } => {}
        }
        shown
    }

    fn invocation(&mut self, invocation: Option<Invocation>, calls: &Registry) {
        let Some(Invocation { call, args }) = invocation else { return };
        self.args = Some(shown(&call, &args, calls));
        self.call = Some(call.to_string());
    }
}

fn shown(call: &Name, args: &[u8], calls: &Registry) -> Shown {
    let may_be_seen = calls.get(call.as_str()).is_some_and(|call| call.shown);
    match serde_json::from_slice(args) {
        Ok(value) if may_be_seen => Shown::Value(value),
        _ => Shown::Redacted { redacted_bytes: args.len() },
    }
}

impl Serialize for State {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Action {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Skip => "skip",
            Self::Abandon => "abandon",
        }
    }
}
