//! Fields of the current span: spans are the user's, and only a field that the span declares is recorded.

use tracing::{Span, field::display, level_filters::LevelFilter};

use crate::{name::Name, rejection::Reason};

/// `buttress.rejected`: who refused, and why.
#[inline]
pub(crate) fn rejected(policy: &'static str, name: &Name, reason: Reason) {
    if is_anybody_there() {
        record_rejected(policy, name, reason.as_str());
    }
}

#[cold]
fn record_rejected(policy: &'static str, name: &Name, reason: &'static str) {
    Span::current().record("buttress.rejected", display(format_args!("{policy} {name}: {reason}")));
}

/// `buttress.attempts`: of a call that took more than one.
pub(crate) fn attempts(attempts: u32) {
    if is_anybody_there() {
        Span::current().record("buttress.attempts", attempts);
    }
}

/// `buttress.elapsed`: whose time ran out.
pub(crate) fn elapsed(name: &Name) {
    if is_anybody_there() {
        Span::current().record("buttress.elapsed", name.as_str());
    }
}

/// Whether anybody may hear what is told. One atomic load, and not what it takes to find out that there is no span: a
/// refusal is to be quick.
#[inline]
fn is_anybody_there() -> bool {
    LevelFilter::current() != LevelFilter::OFF
}
