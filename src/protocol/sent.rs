//! What an attempt that failed leaves behind for those further out.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Whether an attempt before the last one may have been carried out.
///
/// Somebody who wants to know puts one into the request's extensions; whoever makes several attempts of one request marks
/// it. The last answer alone doesn't tell: a connection refused says that *this* attempt wasn't sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct MaybeSent(Arc<AtomicBool>);

impl MaybeSent {
    pub(crate) fn mark(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_marked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
