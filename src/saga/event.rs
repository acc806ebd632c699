//! What sagas tell.

use tracing::{debug, error, info, warn};

use crate::{
    name::Name,
    saga::{
        SagaError,
        coordinator::{
            course::{Course, Stage},
            hub::causes,
        },
        journal::{JournalError, SagaRow, State},
        machine::Setback,
    },
};

pub(crate) fn reached(course: &Course, stage: Stage) {
    let (saga, name) = (course.id(), course.name());
    match stage {
        Stage::Running => {}
        Stage::Decided { committed: true } => debug!(%saga, %name, "saga committed"),
        Stage::Decided { committed: false } => info!(%saga, %name, "saga is being undone"),
        Stage::Settled(State::Parked) => error!(%saga, %name, "saga parked: somebody must look at it"),
        Stage::Settled(state) if !state.is_final() => debug!(%saga, %name, "saga waits, and is let go of meanwhile"),
        Stage::Settled(state) => debug!(%saga, %name, state = state.as_str(), "saga is at rest"),
        Stage::Lost(lost) => warn!(%saga, %name, ?lost, "saga is not in our hands any more"),
    }
}

pub(crate) fn undoing(course: &Course, step: &Name, attempt: u32) {
    debug!(saga = %course.id(), name = %course.name(), %step, attempt, "undoing a step");
}

pub(crate) fn calling(course: &Course, call: &Name, attempt: u32) {
    debug!(saga = %course.id(), name = %course.name(), %call, attempt, "making a promised call");
}

pub(crate) fn tried(course: &Course, number: u32, call: &Name, result: &Result<(), Setback>) {
    let (saga, name) = (course.id(), course.name());
    match result {
        Ok(()) => debug!(%saga, %name, number, %call, "call made"),
        Err(Setback::Postponed { wait }) => debug!(%saga, %name, number, %call, ?wait, "call refused; it waits"),
        Err(Setback::Failed { reason }) => warn!(%saga, %name, number, %call, reason, "call failed"),
    }
}

pub(crate) fn journal_failed(course: &Course, error: &JournalError) {
    error!(saga = %course.id(), name = %course.name(), %error, "can't write to the journal");
}

pub(crate) fn cut_off(course: &Course, reason: &'static str) {
    info!(saga = %course.id(), name = %course.name(), reason, "handler cut off");
}

pub(crate) fn outcome_unknown(course: &Course, error: &SagaError) {
    error!(saga = %course.id(), name = %course.name(), %error, "whether the saga committed is not known");
}

pub(crate) fn joined(name: &Name) {
    debug!(%name, "a request waits for one with the same idempotency key");
}

pub(crate) fn exclusive(name: &Name) {
    debug!(%name, "a request wants what another saga works on");
}

pub(crate) fn replayed(row: &SagaRow) {
    debug!(saga = %row.id, name = %row.name, "a request was answered before");
}

pub(crate) fn not_looked_up(name: &Name, error: &JournalError) {
    error!(%name, %error, "can't look an idempotency key up");
}

pub(crate) fn given_up(course: &Course, error: &SagaError) {
    let error = causes(error);
    error!(saga = %course.id(), name = %course.name(), error, "can't go on with a saga past its pivot");
}
