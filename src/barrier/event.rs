//! What it tells.

use std::error::Error;

use tracing::{debug, info, warn};

use super::{
    meter::{self, UnderWay},
    stop::Stop,
};
use crate::{name::Name, step::StepHeaders};

pub(super) fn replayed(step: &StepHeaders, call: &UnderWay<'_>) {
    let (key, epoch, name) = (&step.key, step.epoch, &call.watch.name);
    debug!(policy = "barrier", %name, %key, epoch, "repeated call gets its stored answer");
}

pub(super) fn nothing_to_undo(step: &StepHeaders, call: &UnderWay<'_>) {
    let (key, epoch, name) = (&step.key, step.epoch, &call.watch.name);
    debug!(policy = "barrier", %name, %key, epoch, "undo of what never happened; now it never will");
}

pub(super) fn contended(step: &StepHeaders, call: &UnderWay<'_>, error: &sqlx::Error) {
    call.watch.get().contended.increment();
    let (key, name) = (&step.key, &call.watch.name);
    debug!(policy = "barrier", %name, %key, %error, "others are in the way; trying again");
}

/// There is no step that could be done.
pub(super) fn no_step(name: &Name, stop: &Stop) {
    meter::refused(name, stop.reason());
    debug!(policy = "barrier", %name, reason = stop.reason(), problem = %stop, "call refused: no step that is done here");
}

/// Nothing was done, or all of it was rolled back.
pub(super) fn stopped(name: &Name, step: &StepHeaders, stop: &Stop) {
    let StepHeaders { key, epoch } = step;
    match stop {
        Stop::Refused(_) => debug!(policy = "barrier", %name, %key, epoch, reason = %stop, "refused by the effect"),
        Stop::Undone => info!(policy = "barrier", %name, %key, epoch, "action came after its undo and is refused"),
        Stop::Fenced => warn!(policy = "barrier", %name, %key, epoch, "coordinator has lost its saga and is refused"),
        _ => {
            let error = stop.source().map_or_else(|| stop.to_string(), |source| format!("{stop}: {source}"));
            warn!(policy = "barrier", %name, %key, epoch, reason = stop.reason(), error, "rolled back");
        }
    }
}
