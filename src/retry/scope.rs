//! What retry layers on top of each other know of each other.
//!
//! Three tiers of three attempts make 27 calls, if each tier knows only itself. So while a retry layer polls what is
//! below it, it leaves a note in the thread: whose budget the retries below are to be taken from as well, and how many
//! retries the call has had so far, at whatever tier.

use std::{cell::Cell, mem::ManuallyDrop, sync::Arc};

use super::handle::Settings;

/// Empty between polls, so there is nothing to be dropped with a thread, and the thread needn't be told of it.
type Slot = ManuallyDrop<Option<Scope>>;

thread_local! {
    static CURRENT: Cell<Slot> = const { Cell::new(ManuallyDrop::new(None)) };
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

/// Runs `f`, which polls what is below, with `own` as the current scope, unless it runs within one already. Before,
/// `enter` is told of both.
///
/// The scope is moved there and back: no reference is counted, and nothing is allocated.
#[inline]
pub(super) fn run<R>(
    own: &mut Option<Scope>,
    enter: impl FnOnce(Option<&Scope>, Option<&Scope>),
    f: impl FnOnce() -> R,
) -> R {
    struct Back<'a> {
        own: &'a mut Option<Scope>,
        current: &'a Cell<Slot>,
    }

    impl Drop for Back<'_> {
        #[inline]
        fn drop(&mut self) {
            *self.own = replace(self.current, None);
        }
    }

    CURRENT.with(|current| {
        let outermost = replace(current, None);
        enter(own.as_ref(), outermost.as_ref());
        if outermost.is_some() {
            replace(current, outermost);
            return f();
        }
        replace(current, own.take());
        let _back = Back { own, current };
        f()
    })
}

#[inline]
fn replace(current: &Cell<Slot>, scope: Option<Scope>) -> Option<Scope> {
    ManuallyDrop::into_inner(current.replace(ManuallyDrop::new(scope)))
}

/// The outermost layer's scope, for a layer that is below it.
pub(super) fn with<R>(f: impl FnOnce(&mut Scope) -> R) -> Option<R> {
    CURRENT.with(|current| {
        let mut outermost = replace(current, None);
        let told = outermost.as_mut().map(f);
        replace(current, outermost);
        told
    })
}
