//! Without the feature: nothing, and of no size.

use std::marker::PhantomData;

use tokio::time::Instant;

use super::{Metric, Register, Whose};
use crate::name::Name;

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

    #[inline]
    pub(crate) fn add(&self, _by: u32) {}
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

#[derive(Debug, Clone, Copy)]
pub(crate) struct Unsettled;

impl Unsettled {
    #[inline]
    pub(crate) fn new() -> Self {
        Self
    }

    #[inline]
    pub(crate) fn settled() -> Self {
        Self
    }

    #[inline]
    pub(crate) fn settle(&mut self) -> bool {
        false
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Tally;

impl Tally {
    pub(crate) fn new() -> Self {
        Self
    }

    #[inline]
    pub(crate) fn enter(&self) -> Tallied {
        Tallied
    }
}

#[derive(Debug)]
pub(crate) struct Tallied;

#[derive(Debug)]
pub(crate) struct ByName<M>(PhantomData<fn() -> M>);

impl<M> ByName<M> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }

    pub(crate) fn get(&self, _name: &Name, make: impl FnOnce() -> M) -> M {
        make()
    }
}

/// Here and not in a test, for the tests have the feature.
const _NOTHING_TAKES_NO_ROOM: () = {
    type All = (Meter<super::Calls>, Histogram, Stopwatch, Unsettled, Tally, Tallied, ByName<Tally>);
    assert!(size_of::<All>() == 0);
};
