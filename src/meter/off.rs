//! Without the feature: nothing, and of no size.

use tokio::time::Instant;

use super::{Metric, Register, Whose};

#[derive(Debug)]
pub(crate) struct Meter<M>(M);

impl<M: Register> Meter<M> {
    pub(crate) fn new() -> Self {
        Self(M::register(Whose { policy: "", name: &"".into() }))
    }

    #[inline]
    pub(crate) fn get(&self, _whose: Whose<'_>) -> &M {
        &self.0
    }
}

impl<M: Register> Clone for Meter<M> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

#[derive(Debug)]
pub(crate) struct Counter;

impl Counter {
    pub(crate) fn register(_metric: Metric, _whose: Whose<'_>, _labels: &[(&'static str, &'static str)]) -> Self {
        Self
    }

    #[inline]
    pub(crate) fn increment(&self) {}
}

#[derive(Debug)]
pub(crate) struct Histogram;

impl Histogram {
    pub(crate) fn register(_metric: Metric, _whose: Whose<'_>) -> Self {
        Self
    }

    #[inline]
    pub(crate) fn record(&self, _value: u32) {}

    #[inline]
    pub(crate) fn since(&self, _stopwatch: Stopwatch) {}
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch;

impl Stopwatch {
    #[inline]
    pub(crate) fn started(_now: Instant) -> Self {
        Self
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use super::*;

    #[test]
    fn nothing_takes_no_room() {
        assert_eq!(size_of::<Meter<super::super::Calls>>() + size_of::<Histogram>() + size_of::<Stopwatch>(), 0);
    }
}
