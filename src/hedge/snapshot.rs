//! What can be seen of a hedge.

use std::time::Duration;

use crate::name::Name;

/// What a hedge has done so far. Each number only ever grows, but for the last.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HedgeSnapshot {
    /// The policy's name.
    pub name: Name,
    /// How long an answer is waited for before the request is sent again; `None` if too little was observed to know.
    pub after: Option<Duration>,
    /// Calls whose request was sent more than once.
    pub hedged: u64,
    /// Requests sent besides the first of each call.
    pub hedges: u64,
    /// Hedges whose answer was handed on before the first attempt had one, and was no failure.
    pub won: u64,
    /// Hedges that were dropped, or failed, because another attempt's answer was handed on. What of the hedges neither won
    /// nor lost is under way, or was dropped with its call.
    pub lost: u64,
    /// Requests whose body is larger than `replay_at_most`, and which could not be sent again whatever came.
    pub too_large: u64,
    /// Hedges not sent because the budget was exhausted.
    pub held_back_budget: u64,
    /// Hedges not sent because they would hardly have ended before the deadline.
    pub held_back_deadline: u64,
    /// Hedges not sent because the body was too large to be kept, or broke off itself.
    pub held_back_not_replayable: u64,
    /// Hedges not sent because an attempt was refused: by another policy of ours, or by a server that says not to try
    /// again.
    pub held_back_refused: u64,
    /// How many hedges the budget has right now.
    pub budget_available: u64,
}
