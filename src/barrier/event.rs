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

pub(super) fn contended(step: &StepHeaders, error: &sqlx::Error) {
    debug!(policy = "barrier", key = %step.key, %error, "others are in the way; trying again");
}

/// Nothing was done, or all of it was rolled back.
pub(super) fn stopped(step: &StepHeaders, stop: &Stop) {
    let StepHeaders { key, epoch } = step;
    match stop {
        Stop::Refused(_) => debug!(policy = "barrier", %key, epoch, reason = %stop, "refused by the effect"),
        Stop::Undone => info!(policy = "barrier", %key, epoch, "action came after its undo and is refused"),
        Stop::Fenced => warn!(policy = "barrier", %key, epoch, "coordinator has lost its saga and is refused"),
        _ => match std::error::Error::source(stop) {
            Some(error) => warn!(policy = "barrier", %key, epoch, %error, "rolled back: {stop}"),
            None => warn!(policy = "barrier", %key, epoch, "rolled back: {stop}"),
        },
    }
}
