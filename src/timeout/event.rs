//! What a timeout tells.

use http::HeaderName;

use crate::name::Name;

pub(crate) fn elapsed(name: &Name, inherited: bool) {
    tracing::debug!(policy = "timeout", %name, inherited, "time ran out");
}

pub(crate) fn refused(name: &Name) {
    tracing::debug!(policy = "timeout", %name, "call refused: deadline passed");
}

/// Without the value, which is somebody else's and of any length.
pub(crate) fn unreadable(name: &Name, header: &HeaderName) {
    tracing::debug!(policy = "timeout", %name, %header, "header ignored: unreadable");
}
