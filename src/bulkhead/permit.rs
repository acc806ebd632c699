//! The right to be inside.

use crate::{
    bulkhead::{handle::Bulkhead, stamp::Stamp},
    clock, meter,
    outcome::Outcome,
    protocol::Observer,
};

/// The right to be inside a bulkhead. Dropping it gives it back.
///
/// In a layer it lives as long as the exchange does: the protocol holds it until the response body has ended, failed or
/// been dropped. How the exchange ended makes a difference to an [adaptive](crate::bulkhead::Adaptive) limit only.
#[derive(Debug)]
#[must_use = "the permit is given back when it is dropped"]
pub struct Permit {
    bulkhead: Bulkhead,
    stamp: Stamp,
}

impl Permit {
    /// For somebody whom the gate has let in, and who has not got a permit yet.
    #[inline]
    pub(super) fn of(bulkhead: Bulkhead, stamp: Stamp) -> Self {
        Self { bulkhead, stamp }
    }

    /// The call begins only now; so far its permit was kept for it.
    pub(super) fn begin(&mut self) {
        self.stamp = self.bulkhead.begun(self.stamp);
    }

    /// There is no call that it would be for.
    pub(super) fn unused(mut self) {
        self.stamp = self.stamp.told();
    }

    /// Tells an [adaptive](crate::bulkhead::Adaptive) limit how the call ended, and gives the permit back. A permit that
    /// is dropped instead stands for a call that was cancelled, from which nothing is learned.
    ///
    /// ```
    /// use buttress::{Outcome, bulkhead::Bulkhead};
    ///
    /// let reports = Bulkhead::new("reports");
    /// let permit = reports.try_acquire()?;
    /// permit.record(Outcome::Success);
    /// # Ok::<(), buttress::Rejection>(())
    /// ```
    #[inline]
    pub fn record(mut self, outcome: Outcome) {
        self.bulkhead.meter().calls.ended(outcome);
        if meter::COUNTS {
            self.stamp = self.stamp.told();
        }
        if self.stamp.is_measured() {
            self.bulkhead.learn(self.stamp, outcome);
        }
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if meter::COUNTS && !self.stamp.is_told() {
            self.bulkhead.meter().calls.cancelled.increment();
        }
        match self.stamp.slot() {
            None => self.bulkhead.gate().exit(clock::now),
            Some(slot) => self.bulkhead.gate().exit_counted(slot, clock::now),
        }
    }
}

impl Observer for Permit {
    #[inline]
    fn finish(self, outcome: Outcome) {
        self.record(outcome);
    }
}
