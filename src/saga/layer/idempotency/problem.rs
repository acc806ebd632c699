//! What can be wrong with an idempotency key.

use http::StatusCode;

use super::claim::{LONGEST_KEY, NAME};
use crate::{
    protocol::grpc::Code,
    saga::layer::protocol::{COME_BACK, Said},
};

/// What can be wrong with an idempotency key, or with asking for it.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyProblem {
    /// There is none, and there has to be.
    Missing,
    /// It isn't one.
    Unreadable,
    /// It was used for something else.
    Mismatch,
    /// What it was used for goes on.
    Running,
    /// What it was used for is done, and the answer was too large to be kept.
    NotKept,
    /// The request's body is larger than what is read to compare it.
    TooLarge { limit: usize },
    /// The request's body broke off.
    Broken,
    /// The journal can't be asked.
    Journal,
}

impl KeyProblem {
    pub(crate) fn said(self) -> Said {
        use StatusCode as Http;
        match self {
            Self::Missing => Said::new(
                Http::BAD_REQUEST,
                Code::InvalidArgument,
                "idempotency_key_missing",
                format!(
                    "{NAME} is missing: send a new one with each new request, and the same one with its repetitions"
                ),
            ),
            Self::Unreadable => Said::new(
                Http::BAD_REQUEST,
                Code::InvalidArgument,
                "idempotency_key_unreadable",
                format!("{NAME} can't be read: it takes one of 1 to {LONGEST_KEY} visible ASCII characters"),
            ),
            Self::Mismatch => Said::new(
                Http::UNPROCESSABLE_ENTITY,
                Code::InvalidArgument,
                "idempotency_key_reused",
                format!("{NAME} was used for another request"),
            ),
            Self::Running => Said::new(
                Http::CONFLICT,
                Code::Aborted,
                "idempotency_key_running",
                format!("the request with this {NAME} is being carried out"),
            )
            .again(COME_BACK),
            Self::NotKept => Said::new(
                Http::CONFLICT,
                Code::AlreadyExists,
                "answer_not_kept",
                format!("the request with this {NAME} was carried out, and its answer was too large to be kept"),
            ),
            Self::TooLarge { limit } => Said::new(
                Http::PAYLOAD_TOO_LARGE,
                Code::OutOfRange,
                "body_too_large",
                format!("the request's body is larger than {limit} bytes"),
            ),
            Self::Broken => {
                Said::new(Http::BAD_REQUEST, Code::Cancelled, "body_broke_off", "the request's body broke off")
            }
            Self::Journal => Said::new(
                Http::SERVICE_UNAVAILABLE,
                Code::Unavailable,
                "journal_failed",
                format!("whether this {NAME} was used can't be looked up; nothing was begun"),
            )
            .again(COME_BACK),
        }
    }
}
