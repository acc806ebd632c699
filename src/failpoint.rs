//! Places at which a process can be told to die, and mistakes that can be planted: for tests of tests.
//!
//! A service that promises to survive a crash has to be crashed, at each point where it could matter. So the code of sagas
//! and barriers has *failpoints*, places with a name, at which a process dies, or stands still, if it was told to. And a
//! test that can't fail proves nothing, so mistakes can be *planted*: with each of them, a run has to turn red.
//!
//! Nothing of this is there without the feature `failpoints`, which isn't part of `full`.
//!
//! | variable | example | what it does |
//! |---|---|---|
//! | `BUTTRESS_FAILPOINTS` | `C3=abort@2;P2=pause` | dies the second time `C3` is reached, stands still the first time at `P2` |
//! | `BUTTRESS_PLANTED` | `barrier-off,epoch-not-sent` | plants these mistakes |
//!
//! Both are read once. One that can't be read ends the process at once, with exit code 64 and a line that says why: a crash
//! test that doesn't crash would pass. What is done at a failpoint is told by a line on the standard error,
//! `failpoint C3: abort`, for a harness to wait for.
//!
//! They are the process's, not a task's: a test that [arms](arm) or [plants](plant) one has to be alone in its process, or
//! to agree with those it isn't alone with.

// Which of them is used depends on the features.
#![cfg_attr(not(feature = "failpoints"), allow(dead_code))]

#[cfg(feature = "failpoints")]
mod armed;
#[cfg(feature = "failpoints")]
mod planted;

#[cfg(feature = "failpoints")]
pub use self::{
    armed::{Action, arm, disarm, hit, reach, reached, release},
    planted::{Planted, plant, planted, uproot},
};

/// A mistake that can be planted where the feature is on.
#[cfg(not(feature = "failpoints"))]
#[derive(Debug, Clone, Copy)]
pub(crate) enum Planted {
    BarrierOff,
    FenceOff,
    SynchronousNormal,
    IntentAfterAction,
    UndoInForwardOrder,
    UnknownTakenForRefused,
    EpochNotSent,
    HandlerNotDetached,
    KeyNotScoped,
}

/// Nothing, without the feature.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn hit(_name: &'static str) {}

/// Nothing, without the feature.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) async fn reach(_name: &'static str) {}

/// Never, without the feature.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn planted(_mistake: Planted) -> bool {
    false
}

/// The value of an environment variable, read by `read`; one that can't be read ends the process.
#[cfg(feature = "failpoints")]
fn from_env<T: Default>(variable: &str, read: impl FnOnce(&str) -> Result<T, String>) -> T {
    let Some(value) = std::env::var_os(variable) else { return T::default() };
    let value = value.to_string_lossy();
    read(&value).unwrap_or_else(|problem| {
        eprintln!("{variable}={value}: {problem}");
        std::process::exit(64)
    })
}
