//! What retry layers on top of each other know of each other.
//!
//! Three tiers of three attempts make 27 calls, if each tier knows only itself. So while a retry layer polls what is
//! below it, it leaves a note in the thread: whose budget the retries below are to be taken from as well, and how many
//! retries the call has had so far, at whatever tier.

use std::sync::atomic::AtomicU32;

use scoped_tls::scoped_thread_local;

use crate::budget::Budget;

scoped_thread_local!(static BUDGET: Budget);
scoped_thread_local!(static MADE: AtomicU32);

/// The outermost retry layer's call, as those below it see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) budget: &'a Budget,
    /// The retries that this call has had, at all tiers. Relaxed: only one thread at a time has to do with a call.
    pub(super) made: &'a AtomicU32,
}

/// Runs `f`, which polls what is below, with `own` as the current scope, unless it runs within one already. Before,
/// `enter` is told of that one.
///
/// The scope is lent: no reference is counted, and nothing is moved.
#[inline]
pub(super) fn run<R>(own: Scope<'_>, enter: impl FnOnce(Option<Scope<'_>>), f: impl FnOnce() -> R) -> R {
    if BUDGET.is_set() {
        with(|outermost| enter(Some(outermost)));
        return f();
    }
    enter(None);
    BUDGET.set(own.budget, || MADE.set(own.made, f))
}

/// The outermost layer's scope, for a layer that is below it.
pub(super) fn with<R>(f: impl FnOnce(Scope<'_>) -> R) -> Option<R> {
    BUDGET.is_set().then(|| BUDGET.with(|budget| MADE.with(|made| f(Scope { budget, made }))))
}
