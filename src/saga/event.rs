//! What sagas tell.

use tracing::{debug, error, info, warn};

use crate::{
    Rejection,
    name::Name,
    saga::{
        SagaError,
        coordinator::{
            course::{Course, Stage},
            hub::causes,
        },
        journal::{Action, JournalError, SagaRow, State},
        machine::Setback,
        meter::{self, CutOff, Tried},
    },
    span,
    step::{Op, SagaId, StepOutcome},
};

pub(crate) fn reached(course: &Course, stage: Stage) {
    let (saga, name) = (course.id(), course.name());
    match stage {
        Stage::Running => {}
        Stage::Decided { committed: true } => debug!(policy = "saga", %saga, %name, "saga committed"),
        Stage::Decided { committed: false } => info!(policy = "saga", %saga, %name, "saga is being undone"),
        Stage::Settled(State::Parked) => {
            error!(policy = "saga", %saga, %name, "saga parked: somebody must look at it");
        }
        Stage::Settled(state) if !state.is_final() => {
            debug!(policy = "saga", %saga, %name, "saga waits, and is let go of meanwhile");
        }
        Stage::Settled(state) => debug!(policy = "saga", %saga, %name, state = state.as_str(), "saga is at rest"),
        Stage::Lost(lost) => warn!(policy = "saga", %saga, %name, ?lost, "saga is not in our hands any more"),
    }
}

pub(crate) fn left(course: &Course) {
    debug!(policy = "saga", saga = %course.id(), name = %course.name(), "saga is left to the next start");
}

/// `None` if it was dropped while it was carried out.
pub(crate) fn stepped(course: &Course, number: u32, outcome: Option<StepOutcome>) {
    course.meter().step(outcome);
    let outcome = match outcome {
        Some(StepOutcome::Done) => "done",
        Some(StepOutcome::Refused) => "refused",
        Some(StepOutcome::Unknown) => "unknown",
        None => "cancelled",
    };
    debug!(policy = "saga", saga = %course.id(), name = %course.name(), number, outcome, "step ended");
}

pub(crate) fn undoing(course: &Course, step: &Name, attempt: u32) {
    debug!(policy = "saga", saga = %course.id(), name = %course.name(), %step, attempt, "undoing a step");
}

pub(crate) fn calling(course: &Course, call: &Name, attempt: u32) {
    debug!(policy = "saga", saga = %course.id(), name = %course.name(), %call, attempt, "making a promised call");
}

pub(crate) fn tried(course: &Course, op: Op, number: u32, call: &Name, result: &Result<(), Setback>) {
    let (saga, name) = (course.id(), course.name());
    let tried = match result {
        Ok(()) => {
            debug!(policy = "saga", %saga, %name, number, %call, "call made");
            Tried::Done
        }
        Err(Setback::Postponed { wait }) => {
            debug!(policy = "saga", %saga, %name, number, %call, ?wait, "call refused; it waits");
            Tried::Postponed
        }
        Err(Setback::Failed { reason }) => {
            warn!(policy = "saga", %saga, %name, number, %call, reason, "call failed");
            Tried::Failed
        }
    };
    course.meter().tried(op, tried);
}

pub(crate) fn journal_failed(course: &Course, error: &JournalError) {
    error!(policy = "saga", saga = %course.id(), name = %course.name(), %error, "can't write to the journal");
}

pub(crate) fn cut_off(course: &Course, why: CutOff) {
    meter::cut_off(course.name(), why);
    let reason = why.reason();
    info!(policy = "saga", saga = %course.id(), name = %course.name(), reason, "handler cut off");
}

pub(crate) fn outcome_unknown(course: &Course, error: &SagaError) {
    let (saga, name) = (course.id(), course.name());
    error!(policy = "saga", %saga, %name, %error, "whether the saga committed is not known");
}

pub(crate) fn joined(name: &Name) {
    meter::waited(name, "key");
    debug!(policy = "saga", %name, "a request waits for one with the same idempotency key");
}

pub(crate) fn exclusive(name: &Name) {
    meter::waited(name, "exclusive");
    debug!(policy = "saga", %name, "a request wants what another saga works on");
}

pub(crate) fn replayed(row: &SagaRow) {
    debug!(policy = "saga", saga = %row.id, name = %row.name, "a request was answered before");
}

pub(crate) fn answered(name: &Name, reason: &'static str) {
    meter::answered(name, reason);
    debug!(policy = "saga", %name, reason, "answered in the handler's place");
}

pub(crate) fn rejected(rejection: &Rejection) {
    let (name, reason) = (rejection.name(), rejection.reason());
    meter::rejected(name, reason);
    span::rejected("saga", name, reason);
    debug!(policy = "saga", %name, reason = reason.as_str(), "call refused");
}

pub(crate) fn not_looked_up(name: &Name, error: &JournalError) {
    error!(policy = "saga", %name, %error, "can't look an idempotency key up");
}

pub(crate) fn given_up(course: &Course, error: &SagaError) {
    meter::damaged(course.name());
    let error = causes(error);
    error!(policy = "saga", saga = %course.id(), name = %course.name(), error, "can't go on with a saga past its pivot");
}

pub(crate) fn not_resumed(course: &Course, problem: &str) {
    meter::damaged(course.name());
    error!(policy = "saga", saga = %course.id(), name = %course.name(), problem, "can't go on with a saga");
}

pub(crate) fn damaged(row: &SagaRow, problem: &str) {
    meter::damaged(&row.name);
    error!(policy = "saga", saga = %row.id, name = %row.name, problem, "saga's journal is damaged");
}

pub(crate) fn taken_over(course: &Course) {
    course.meter().taken_over.increment();
    let epoch = course.epoch();
    info!(policy = "saga", saga = %course.id(), name = %course.name(), epoch, "saga taken over");
}

pub(crate) fn suspected(row: &SagaRow) {
    meter::suspect(&row.name, "suspected");
    let takeovers = row.takeovers;
    warn!(policy = "saga", saga = %row.id, name = %row.name, takeovers, "saga is suspected; it is tried alone");
}

pub(crate) fn on_trial(row: &SagaRow) {
    meter::suspect(&row.name, "tried");
    let takeovers = row.takeovers;
    warn!(policy = "saga", saga = %row.id, name = %row.name, takeovers, "saga is tried alone");
}

pub(crate) fn acquitted(course: &Course) {
    meter::suspect(course.name(), "acquitted");
    let (saga, name) = (course.id(), course.name());
    info!(policy = "saga", %saga, %name, "saga has done no harm; its takeovers are counted anew");
}

pub(crate) fn operated(saga: SagaId, name: &Name, action: Action, number: Option<u32>, note: &str) {
    meter::operated(name, action.as_str());
    warn!(policy = "saga", %saga, %name, action = action.as_str(), ?number, note, "an operator decided");
}

// ===== the coordinator, and its journal =====

pub(crate) fn not_kept(name: &Name, error: &JournalError) {
    error!(policy = "saga_journal", %name, %error, "can't keep the sagas");
}

pub(crate) fn not_tried(name: &Name, error: &JournalError) {
    error!(policy = "saga_journal", %name, %error, "can't try a saga");
}

pub(crate) fn journal_stopped(name: &Name, error: &JournalError, writes: usize) {
    error!(policy = "saga_journal", %name, %error, writes, "saga journal: failed; it is not written any more");
}
