//! What it tells.

use tracing::{debug, info, warn};

use super::stop::Stop;
use crate::step::StepHeaders;

pub(super) fn replayed(step: &StepHeaders) {
    debug!(policy = "barrier", key = %step.key, epoch = step.epoch, "repeated call gets its stored answer");
}

pub(super) fn nothing_to_undo(step: &StepHeaders) {
    debug!(policy = "barrier", key = %step.key, epoch = step.epoch, "undo of what never happened; now it never will");
}

pub(super) fn undone(step: &StepHeaders) {
    info!(policy = "barrier", key = %step.key, epoch = step.epoch, "action came after its undo and is refused");
}

pub(super) fn fenced(step: &StepHeaders) {
    warn!(policy = "barrier", key = %step.key, epoch = step.epoch, "coordinator has lost its saga and is refused");
}

pub(super) fn contended(step: &StepHeaders, error: &sqlx::Error) {
    debug!(policy = "barrier", key = %step.key, %error, "others are in the way; trying again");
}

pub(super) fn refused(step: &StepHeaders, stop: &Stop) {
    debug!(policy = "barrier", key = %step.key, reason = %stop, "refused by the effect, and remembered");
}

pub(super) fn stopped(step: &StepHeaders, stop: &Stop) {
    match std::error::Error::source(stop) {
        Some(error) => warn!(policy = "barrier", key = %step.key, %error, "rolled back: {stop}"),
        None => warn!(policy = "barrier", key = %step.key, "rolled back: {stop}"),
    }
}
