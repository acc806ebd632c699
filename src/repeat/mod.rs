//! Whether a request may be sent again, how it is kept for that, and what its answers say.
//!
//! Whoever sends a request more than once, after a failure as a [retry](crate::retry) does or beside the first, has the
//! same questions: may it be carried out twice ([`RetryResult`], [`RetryHead`], [`RetryStatus`])? How is its body kept
//! ([`replay`])? Did the attempt fail, and would another help ([`protocol`])? They are answered here, and say nothing of
//! when there is another attempt.

mod attempt;
mod peek;
pub mod protocol;
pub mod replay;
pub(crate) mod rules;
pub(crate) mod verdict;

pub use self::{
    attempt::{Attempt, GRPC_PREVIOUS_ATTEMPTS, HTTP_PREVIOUS_ATTEMPTS},
    peek::{FIRST_FRAME_WITHIN, PeekedBody},
    replay::ReplayBody,
    rules::{
        IDEMPOTENCY_KEY, Idempotent, OnCodes, OnMethods, RetryHead, RetryIf, RetryResult, RetryStatus, SafeWhen, Stock,
        is_idempotent, is_transient,
    },
};
