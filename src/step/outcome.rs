//! What became of a call, by its answer.

use http::StatusCode;

/// What became of a call, as far as can be told from its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepOutcome {
    /// It happened.
    Done,
    /// It certainly did not happen: it wasn't sent, or was refused.
    Refused,
    /// It may have happened: timed out, cut off, cancelled, or failed on the other side.
    Unknown,
}

impl StepOutcome {
    /// What an HTTP status says: 2xx that it happened, 4xx that it didn't, but for 408, 409, 425 and 429, which are no last
    /// word: the same request may have happened before, or may yet happen. Everything else is [`Unknown`](Self::Unknown).
    pub fn of_http_status(status: StatusCode) -> Self {
        match status.as_u16() {
            200..300 => Self::Done,
            408 | 409 | 425 | 429 => Self::Unknown,
            400..500 => Self::Refused,
            _ => Self::Unknown,
        }
    }

    /// What a gRPC status code says; `tonic::Code` is one, as is its number.
    ///
    /// `INVALID_ARGUMENT`, `NOT_FOUND`, `ALREADY_EXISTS`, `FAILED_PRECONDITION`, `OUT_OF_RANGE`, `PERMISSION_DENIED`,
    /// `UNAUTHENTICATED` and `UNIMPLEMENTED` say that it didn't happen, `OK` that it did. Everything else is
    /// [`Unknown`](Self::Unknown), `RESOURCE_EXHAUSTED` as HTTP's 429.
    pub fn of_grpc_code(code: impl Into<i32>) -> Self {
        match code.into() {
            0 => Self::Done,
            3 | 5 | 6 | 7 | 9 | 11 | 12 | 16 => Self::Refused,
            _ => Self::Unknown,
        }
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use super::*;
    use crate::protocol::grpc::Code;

    #[test]
    fn of_http_only_a_last_word_of_the_caller_s_fault_is_a_refusal() {
        for status in (100..1000).map(|status| StatusCode::from_u16(status).unwrap()) {
            let expected = match status.as_u16() {
                408 | 409 | 425 | 429 => StepOutcome::Unknown,
                _ if status.is_success() => StepOutcome::Done,
                _ if status.is_client_error() => StepOutcome::Refused,
                _ => StepOutcome::Unknown,
            };
            assert_eq!(StepOutcome::of_http_status(status), expected, "{status}");
        }
    }

    #[test]
    fn of_grpc_eight_codes_are_refusals() {
        use Code::*;
        let refusals = [
            InvalidArgument,
            NotFound,
            AlreadyExists,
            FailedPrecondition,
            OutOfRange,
            PermissionDenied,
            Unauthenticated,
            Unimplemented,
        ];
        for code in refusals {
            assert_eq!(StepOutcome::of_grpc_code(code as i32), StepOutcome::Refused, "{code}");
        }
        let unknown =
            [DeadlineExceeded, Unknown, Internal, Unavailable, Aborted, Cancelled, DataLoss, ResourceExhausted];
        for code in unknown {
            assert_eq!(StepOutcome::of_grpc_code(code as i32), StepOutcome::Unknown, "{code}");
        }
        assert_eq!(StepOutcome::of_grpc_code(Ok as i32), StepOutcome::Done);
        for nonsense in [-1, 17, i32::MAX, i32::MIN] {
            assert_eq!(StepOutcome::of_grpc_code(nonsense), StepOutcome::Unknown);
        }
    }
}
