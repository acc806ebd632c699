//! What the database's errors and the statuses of two protocols say of each other.

use http::StatusCode;

use crate::protocol::grpc::Code;

/// Whether the database may be well again the next time.
pub(super) fn is_passing(error: &sqlx::Error) -> bool {
    use sqlx::Error::{BeginFailed, Database, Io, PoolClosed, PoolTimedOut, Tls, WorkerCrashed};
    matches!(error, Io(_) | Tls(_) | PoolTimedOut | PoolClosed | WorkerCrashed | BeginFailed)
        || is_contended(error)
        || matches!(error, Database(error) if error.code().is_some_and(|code| {
            // PostgreSQL: a lock not had in time; connections lost, refused, too many; shutting down.
            code == "55P03" || code.starts_with("08") || code.starts_with("53") || code.starts_with("57P")
        }))
}

/// Whether others were in the way, and the transaction may be tried again at once.
pub(super) fn is_contended(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    let Some(code) = error.code() else { return false };
    // PostgreSQL's serialization failure and deadlock; SQLite's BUSY and LOCKED, whose variants are in the higher bits.
    code == "40001"
        || code == "40P01"
        || (code.len() < 5 && matches!(code.parse::<u32>().map(|code| code & 0xff), Ok(5 | 6)))
}

/// The gRPC code of which a coordinator makes the same as of the status.
pub(super) fn code_of(status: StatusCode) -> Code {
    match status.as_u16() {
        400 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        408 | 504 => Code::DeadlineExceeded,
        409 => Code::Aborted,
        425 | 503 => Code::Unavailable,
        429 => Code::ResourceExhausted,
        _ if status.is_client_error() => Code::FailedPrecondition,
        _ => Code::Internal,
    }
}

/// The status of which a coordinator makes the same as of the gRPC code.
#[cfg_attr(not(any(feature = "tonic", test)), allow(dead_code))]
pub(super) fn status_of(code: Code) -> StatusCode {
    match code {
        Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound | Code::Unimplemented => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::FailedPrecondition => StatusCode::UNPROCESSABLE_ENTITY,
        Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss | Code::Cancelled => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use super::*;
    use crate::step::StepOutcome;

    #[test]
    fn a_coordinator_concludes_the_same_from_either_protocol() {
        for status in (400..600).map(|status| StatusCode::from_u16(status).unwrap()) {
            let outcome = StepOutcome::of_http_status(status);
            assert_eq!(StepOutcome::of_grpc_code(code_of(status) as i32), outcome, "{status}");
        }
        for number in 1..17 {
            let code = Code::of_number(number);
            assert_eq!(StepOutcome::of_http_status(status_of(code)), StepOutcome::of_grpc_code(number), "{code}");
        }
    }
}
