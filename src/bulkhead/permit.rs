//! The right to be inside.

use crate::{bulkhead::handle::Bulkhead, outcome::Outcome, protocol::Observer};

/// The right to be inside a bulkhead. Dropping it gives it back.
///
/// In a layer it lives as long as the exchange does: the protocol holds it until the response body has ended, failed or
/// been dropped. How the exchange ended makes no difference to a bulkhead.
#[derive(Debug)]
#[must_use = "the permit is given back when it is dropped"]
pub struct Permit {
    bulkhead: Bulkhead,
}

impl Permit {
    /// For somebody whom the gate has let in, and who has not got a permit yet.
    #[inline]
    pub(super) fn of(bulkhead: Bulkhead) -> Self {
        Self { bulkhead }
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        self.bulkhead.gate().exit();
    }
}

impl Observer for Permit {
    #[inline]
    fn finish(self, _outcome: Outcome) {}
}
