//! Why a step isn't done, or not undone.

use std::{error::Error, fmt};

use http::StatusCode;
use serde::{Deserialize, Serialize};

#[cfg(feature = "tonic")]
use super::codes::status_of;
use super::{
    codes::{code_of, is_passing},
    kept::AnswerError,
};
use crate::{
    BoxError,
    protocol::grpc::Code,
    step::{InvalidStepHeaders, Op, StepKey, StepOutcome},
};

/// Why a step isn't done, or not undone. Whatever it is, nothing was changed.
///
/// It is an answer in axum and, as a `tonic::Status`, in tonic. What the coordinator makes of it is the point of each:
///
/// | | HTTP | gRPC | to the coordinator |
/// |---|---|---|---|
/// | refused by the effect | as the effect says | as the effect says | as the status says |
/// | undone before it came | 410 | `FAILED_PRECONDITION` | refused: it never will happen |
/// | a later epoch was heard of | 409 | `ABORTED` | unknown: the one that lost its saga must conclude nothing |
/// | not made in a step, or in one that can't be read | 400 | `INVALID_ARGUMENT` | refused |
/// | the database is busy or lost | 503 | `UNAVAILABLE` | unknown: a commit may have been its last act |
/// | an answer too large, or unreadable | 500 | `INTERNAL` | unknown: a stored answer that can't be read is of a step that happened |
/// | anything else | 500 | `INTERNAL` | unknown |
///
/// # Refusals are remembered
///
/// A refusal that the coordinator takes for one, such as a 422, is stored like an answer, and a repeated call gets it
/// again. Were it not, a call that was late could still happen: the first attempt is held up on the way, the second is
/// refused for want of stock, the coordinator concludes that the step didn't happen and undoes nothing, the stock comes in,
/// and so does the first attempt. A refusal that isn't the last word, such as a 409 or a 503, isn't stored: another attempt
/// may do better.
#[derive(Debug)]
#[non_exhaustive]
pub enum Stop {
    /// The effect says no.
    Refused(Refusal),
    /// The action was undone before it came.
    Undone,
    /// The saga has changed hands, and this came from a coordinator that had lost it.
    Fenced,
    /// The call wasn't made in a step of a saga, and the route is for those that are.
    NoStep,
    /// The call was made in a step of a saga, and doesn't say properly in which.
    Unreadable(InvalidStepHeaders),
    /// An undo was sent to where actions are done, or the other way round.
    WrongOp {
        /// What was sent.
        key: StepKey,
        /// What is done here.
        wanted: Op,
    },
    /// There is no [`BarrierLayer`](super::BarrierLayer) around the route.
    NoLayer,
    /// The database failed.
    Database(sqlx::Error),
    /// The answer can't be kept, or one that was kept can't be read.
    Answer(AnswerError),
    /// Anything else.
    Failed(BoxError),
}

/// How an effect says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    status: u16,
    code: i32,
    title: String,
}

/// How much of a title is kept.
const LONGEST_TITLE: usize = 1024;

impl Stop {
    /// The effect says no: what the answer's status is, and what it says.
    ///
    /// With a 4xx the coordinator takes the step for refused, unless it is 408, 409, 425 or 429. A status that isn't an
    /// error is replaced by a 500, for nothing happened.
    pub fn refuse(status: StatusCode, title: impl Into<String>) -> Self {
        let status = if status.is_client_error() || status.is_server_error() {
            status
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        };
        Self::refused(status, code_of(status), title.into())
    }

    /// Something failed of which nothing more is to be told. The coordinator takes the step for unknown.
    pub fn failed(error: impl Into<BoxError>) -> Self {
        Self::Failed(error.into())
    }

    fn refused(status: StatusCode, code: Code, mut title: String) -> Self {
        title.truncate(title.floor_char_boundary(LONGEST_TITLE));
        Self::Refused(Refusal { status: status.as_u16(), code: code as i32, title })
    }

    /// The status of the answer in HTTP.
    pub fn http_status(&self) -> StatusCode {
        match self {
            Self::Refused(refusal) => refusal.http_status(),
            Self::Undone => StatusCode::GONE,
            Self::Fenced => StatusCode::CONFLICT,
            Self::NoStep | Self::Unreadable(_) | Self::WrongOp { .. } => StatusCode::BAD_REQUEST,
            Self::Database(error) if is_passing(error) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Database(_) | Self::Answer(_) | Self::Failed(_) | Self::NoLayer => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The code of the answer in gRPC.
    pub fn grpc_code(&self) -> Code {
        match self {
            Self::Refused(refusal) => refusal.grpc_code(),
            other => code_of(other.http_status()),
        }
    }

    /// What the coordinator makes of it.
    pub fn outcome(&self) -> StepOutcome {
        StepOutcome::of_http_status(self.http_status())
    }

    /// Whether the effect refused, and the coordinator takes it for that.
    pub(super) fn is_last_word(&self) -> bool {
        matches!(self, Self::Refused(_)) && self.outcome() == StepOutcome::Refused
    }

    /// What a caller is told. Of what failed in here, no more than that: an error's text may hold what isn't for everybody.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Database(error) if is_passing(error) => "database busy or lost".to_owned(),
            Self::Database(_) | Self::Failed(_) => "failed".to_owned(),
            Self::Answer(AnswerError::Unwritable(_)) => "answer can't be kept".to_owned(),
            Self::Answer(AnswerError::Unreadable(_)) => "kept answer can't be read".to_owned(),
            other => other.to_string(),
        }
    }
}

impl Refusal {
    /// The status of the answer in HTTP.
    pub fn http_status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The code of the answer in gRPC.
    pub fn grpc_code(&self) -> Code {
        Code::of_number(self.code)
    }

    /// What it says.
    pub fn title(&self) -> &str {
        &self.title
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => f.write_str(&refusal.title),
            Self::Undone => f.write_str("undone before it came"),
            Self::Fenced => f.write_str("saga has changed hands"),
            Self::NoStep => f.write_str("not called in a step of a saga: idempotency-key and saga-epoch are missing"),
            Self::Unreadable(problem) => problem.fmt(f),
            Self::WrongOp { key, wanted } => write!(f, "{key} is sent to where the {wanted} is done"),
            Self::NoLayer => f.write_str("no BarrierLayer for this database around the route"),
            Self::Database(_) => f.write_str("database failed"),
            Self::Answer(error) => error.fmt(f),
            Self::Failed(_) => f.write_str("failed"),
        }
    }
}

impl Error for Stop {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Database(error) => Some(error),
            Self::Answer(error) => error.source(),
            Self::Failed(error) => Some(&**error),
            _ => None,
        }
    }
}

/// The database failed: the coordinator takes the step for unknown, as nobody can say whether the last commit was one.
impl From<sqlx::Error> for Stop {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<AnswerError> for Stop {
    fn from(error: AnswerError) -> Self {
        Self::Answer(error)
    }
}

/// The effect says no, as in [`Stop::refuse`].
impl<T: Into<String>> From<(StatusCode, T)> for Stop {
    fn from((status, title): (StatusCode, T)) -> Self {
        Self::refuse(status, title)
    }
}

/// The effect says no, or failed: by its code.
#[cfg(feature = "tonic")]
impl From<tonic::Status> for Stop {
    fn from(status: tonic::Status) -> Self {
        let code = match Code::of_number(status.code() as i32) {
            Code::Ok => Code::Internal,
            code => code,
        };
        Self::refused(status_of(code), code, status.message().to_owned())
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_error_is_never_told_as_a_success() {
        for status in [StatusCode::OK, StatusCode::SEE_OTHER, StatusCode::CONTINUE] {
            assert_eq!(Stop::refuse(status, "no").http_status(), 500);
        }
    }

    #[test]
    fn a_refusal_is_kept_within_bounds() {
        let Stop::Refused(refusal) = Stop::refuse(StatusCode::GONE, "ä".repeat(2_000)) else { unreachable!() };
        assert_eq!(refusal.title().len(), LONGEST_TITLE);
    }
}
