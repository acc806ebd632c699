//! What a permit remembers of how it came in.

use std::time::Duration;

/// When a call began, and which partition it is counted in: nanoseconds in 55 bits, the partition's slot in the lower
/// eight, and at the top whether it has been told how the call ended. One word, so that a permit still travels in two registers.
///
/// All zero for the usual call, about which there is nothing to remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp(u64);

impl Stamp {
    pub(super) const PLAIN: Self = Self(0);
    const SLOT_BITS: u32 = 8;
    const TOLD: u64 = 1 << 63;
    /// Where the nanoseconds are.
    const TIME: u64 = !(Self::TOLD | 0xff);

    /// A call that began so long after the bulkhead was made. Wraps after 1.1 years, and durations are right across it.
    pub(super) fn begun(self, after: Duration) -> Self {
        // Zero is for calls that are not measured; a nanosecond is nothing.
        Self((((after.as_nanos() as u64).max(1) << Self::SLOT_BITS) & Self::TIME) | (self.0 & !Self::TIME))
    }

    /// A call that is counted in the partition in this slot.
    pub(super) fn counted_in(self, slot: u8) -> Self {
        debug_assert!(slot < u8::MAX);
        Self((self.0 & !0xff) | (u64::from(slot) + 1))
    }

    /// It is known how the call ended.
    #[inline]
    pub(super) fn told(self) -> Self {
        Self(self.0 | Self::TOLD)
    }

    #[inline]
    pub(super) fn is_told(self) -> bool {
        self.0 & Self::TOLD != 0
    }

    #[inline]
    pub(super) fn is_measured(self) -> bool {
        self.0 & Self::TIME != 0
    }

    #[inline]
    pub(super) fn slot(self) -> Option<u8> {
        ((self.0 & 0xff) as u8).checked_sub(1)
    }

    /// How long it took, if it is over `now` after the bulkhead was made.
    pub(super) fn took(self, now: Duration) -> Duration {
        let elapsed = ((now.as_nanos() as u64) << Self::SLOT_BITS).wrapping_sub(self.0 & Self::TIME);
        Duration::from_nanos((elapsed & Self::TIME) >> Self::SLOT_BITS)
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use super::*;

    #[test]
    fn time_and_slot_do_not_run_into_each_other() {
        let stamp = Stamp::PLAIN.counted_in(254).begun(Duration::from_secs(5));
        assert_eq!((stamp.slot(), stamp.took(Duration::from_secs(7))), (Some(254), Duration::from_secs(2)));
        assert!(stamp.is_measured());
        let told = stamp.told();
        assert_eq!((told.slot(), told.took(Duration::from_secs(7))), (Some(254), Duration::from_secs(2)));
        assert!(told.is_told() && !stamp.is_told() && !Stamp::PLAIN.told().is_measured());
        let stamp = Stamp::PLAIN.counted_in(0);
        assert_eq!((stamp.slot(), stamp.is_measured()), (Some(0), false));
        assert_eq!(Stamp::PLAIN.begun(Duration::ZERO).slot(), None);
        assert!(Stamp::PLAIN.begun(Duration::ZERO).is_measured(), "also in the nanosecond the bulkhead was made");
    }

    #[test]
    fn a_call_across_the_wrap_takes_no_longer_than_it_did() {
        let wrap = Duration::from_nanos(1 << 55);
        let stamp = Stamp::PLAIN.begun(wrap - Duration::from_secs(1));
        assert_eq!(stamp.took(wrap + Duration::from_secs(2)), Duration::from_secs(3));
    }
}
