//! Fields of the current span: spans are the user's, and only a field that the span declares is recorded.

use tracing::Span;

use crate::{name::Name, rejection::Reason};

/// `buttress.rejected`: who refused, and why.
pub(crate) fn rejected(policy: &'static str, name: &Name, reason: Reason) {
    let reason = reason.as_str();
    Span::current().record("buttress.rejected", tracing::field::display(format_args!("{policy} {name}: {reason}")));
}

/// `buttress.attempts`: of a call that took more than one.
pub(crate) fn attempts(attempts: u32) {
    Span::current().record("buttress.attempts", attempts);
}

/// `buttress.elapsed`: whose time ran out.
pub(crate) fn elapsed(name: &Name) {
    Span::current().record("buttress.elapsed", name.as_str());
}
