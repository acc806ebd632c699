//! What a timeout tells.

use http::HeaderName;

use crate::{
    name::Name,
    rejection::Reason,
    span,
    timeout::{TimeoutConfig, meter},
};

pub(crate) fn elapsed(name: &Name, inherited: bool) {
    span::elapsed(name);
    tracing::debug!(policy = "timeout", %name, inherited, "time ran out");
}

pub(crate) fn refused(name: &Name) {
    span::rejected("timeout", name, Reason::DeadlinePassed);
    tracing::debug!(policy = "timeout", %name, reason = Reason::DeadlinePassed.as_str(), "call refused: deadline passed");
}

/// Without the value, which is somebody else's and of any length.
pub(crate) fn unreadable(name: &Name, header: &HeaderName) {
    meter::unreadable(name);
    tracing::debug!(policy = "timeout", %name, %header, "header ignored: unreadable");
}

pub(crate) fn reconfigured(name: &Name, before: &TimeoutConfig, after: &TimeoutConfig) {
    if before != after {
        tracing::info!(policy = "timeout", %name, ?before, ?after, "settings changed");
    }
}
