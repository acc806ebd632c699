//! What a [`SagaError`] is over the wire, for handlers that give it on by `?`. The table is in `docs/saga-answers.md`.

#![cfg(any(feature = "axum", feature = "tonic"))]

use http::StatusCode;

use crate::{
    Elapsed, Rejection,
    protocol::{cause, grpc::Code},
    saga::{
        SagaError,
        error::Kind,
        layer::protocol::{COME_BACK, Said},
    },
    step::StepOutcome,
};

impl SagaError {
    pub(super) fn said(&self) -> Said {
        let rejection = Rejection::find_in(self);
        let again = |code: Code, status: StatusCode, reason: &'static str| {
            Said::new(status, code, reason, self.to_string()).again(COME_BACK)
        };
        let busy = |reason| again(Code::Unavailable, StatusCode::SERVICE_UNAVAILABLE, reason);
        match self.kind() {
            Kind::Step { outcome: StepOutcome::Refused, .. } => match rejection {
                Some(rejection) => {
                    let wait = rejection.advised_wait().unwrap_or(COME_BACK);
                    busy("step_not_sent").again(wait)
                }
                None => Said::new(StatusCode::CONFLICT, Code::Aborted, "step_refused", self.to_string()),
            },
            Kind::Step { .. } if cause::find::<Elapsed>(self).is_some() => {
                Said::new(StatusCode::GATEWAY_TIMEOUT, Code::DeadlineExceeded, "step_timed_out", self.to_string())
            }
            Kind::Step { .. } => busy("step_unknown"),
            Kind::Exclusive => again(Code::Aborted, StatusCode::CONFLICT, "exclusive"),
            Kind::KeyTaken => again(Code::Aborted, StatusCode::CONFLICT, "idempotency_key_running"),
            Kind::Draining => busy("shutting_down"),
            Kind::TakenOver => busy("taken_over"),
            Kind::Journal => busy("journal_failed"),
            Kind::DeadlinePassed => {
                Said::new(StatusCode::GATEWAY_TIMEOUT, Code::DeadlineExceeded, "deadline_passed", self.to_string())
            }
            Kind::Parked { .. } => {
                Said::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown, "parked", self.to_string())
            }
            Kind::Invalid | Kind::Over | Kind::TooManySteps => {
                Said::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Internal, "saga_misused", self.to_string())
            }
        }
    }
}
