//! What retry layers on top of each other know of each other.
//!
//! Three tiers of three attempts make 27 calls, if each tier knows only itself. So while a retry layer polls what is
//! below it, it leaves a note in the thread: whose budget the retries below are to be taken from as well, and how many
//! retries the call has had so far, at whatever tier.

use std::{cell::RefCell, sync::Arc};

use super::handle::Settings;
use crate::budget::Budget;

thread_local! {
    static CURRENT: RefCell<Option<Scope>> = const { RefCell::new(None) };
}

/// The outermost retry layer's call, as those below it see it.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) settings: Arc<Settings>,
    /// The retries that this call has had, at all tiers.
    pub(super) made: u32,
}

impl Scope {
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        Self { settings, made: 0 }
    }
}

/// Runs `f`, which polls what is below, with `own` as the current scope, unless it runs within one already.
///
/// The scope is moved there and back: no reference is counted, and nothing is allocated.
#[inline]
pub(super) fn run<R>(own: &mut Option<Scope>, f: impl FnOnce() -> R) -> R {
    struct Back<'a> {
        own: &'a mut Option<Scope>,
        current: &'a RefCell<Option<Scope>>,
    }

    impl Drop for Back<'_> {
        #[inline]
        fn drop(&mut self) {
            *self.own = self.current.take();
        }
    }

    CURRENT.with(|current| {
        if current.borrow().is_some() {
            return f();
        }
        current.replace(own.take());
        let _back = Back { own, current };
        f()
    })
}

/// Whether the retry layer above takes its retries from the same budget.
pub(super) fn shares(budget: &Budget) -> bool {
    CURRENT.with_borrow(|scope| scope.as_ref().is_some_and(|scope| scope.settings.budget.is(budget)))
}

/// The outermost layer's scope, for a layer that is below it.
pub(super) fn with<R>(f: impl FnOnce(&mut Scope) -> R) -> Option<R> {
    CURRENT.with_borrow_mut(|scope| scope.as_mut().map(f))
}
