//! Where the limit goes: what all algorithms have in common, and the choice of one. Pure; a window at a time.

use std::{fmt, time::Duration};

use crate::bulkhead::adaptive::{Adaptive, Aimd, Algorithm, correlation, gradient2, vegas};

/// What is left of a limit after a window with drops (Netflix's and Cinnamon's).
pub(super) const DROP_BACKOFF: f64 = 0.9;
/// Which part of a limit has to be in use for it to grow.
const IN_USE: f64 = 0.8;

/// What was seen in one window.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window {
    /// How long it was.
    pub(super) lasted: Duration,
    /// Calls that succeeded.
    pub(super) successes: u64,
    /// Calls that timed out, or were refused for overload.
    pub(super) drops: u64,
    /// The most calls inside at once.
    pub(super) inside: u32,
    /// The mean latency of the successes.
    pub(super) mean: Duration,
    /// The latency that nine in ten of them didn't exceed.
    pub(super) high: Duration,
}

/// A window as an algorithm sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) limit: f64,
    pub(super) inside: u32,
    /// So much of the limit was in use that something can be said of it.
    pub(super) used: bool,
    /// There were too many drops.
    pub(super) drops: bool,
    /// Seconds; none if no call succeeded.
    pub(super) mean: Option<f64>,
    pub(super) high: Option<f64>,
    /// Successes a second.
    pub(super) throughput: f64,
}

/// Why a limit is as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bulkhead) enum Reason {
    Drops,
    Latency,
    Throughput,
    Room,
    Settled,
    Stuck,
    Unused,
}

/// A limit that has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bulkhead) struct Change {
    pub(in crate::bulkhead) before: u32,
    pub(in crate::bulkhead) after: u32,
    /// Where it was when it was last worth telling, if it is a tenth away from that.
    pub(in crate::bulkhead) much_since: Option<u32>,
    pub(in crate::bulkhead) reason: Reason,
}

/// The limit, and what moves it.
#[derive(Debug)]
pub(super) struct Course {
    settings: Adaptive,
    engine: Engine,
    limit: f64,
    /// The limit when somebody was last told of it.
    told: u32,
}

#[derive(Debug)]
enum Engine {
    Correlation(Box<correlation::State>),
    Aimd(Aimd),
    Vegas(vegas::State),
    Gradient2(gradient2::State),
}

impl Course {
    pub(super) fn new(settings: Adaptive, begin: usize) -> Self {
        let engine = match settings.algorithm.clone() {
            Algorithm::Correlation(settings) => Engine::Correlation(Box::new(correlation::State::new(settings))),
            Algorithm::Aimd(settings) => Engine::Aimd(settings),
            Algorithm::Vegas(settings) => Engine::Vegas(vegas::State::new(settings)),
            Algorithm::Gradient2(settings) => Engine::Gradient2(gradient2::State::new(settings)),
        };
        let limit = begin.clamp(settings.min, settings.max) as f64;
        Self { settings, engine, limit, told: limit as u32 }
    }

    pub(super) fn settings(&self) -> &Adaptive {
        &self.settings
    }

    /// In whole calls. The fraction is kept, or small steps would never add up.
    pub(super) fn limit(&self) -> u32 {
        self.limit as u32
    }

    /// Other bounds or another pace, and the same limit as far as they allow; nothing that was learned is lost unless the
    /// algorithm is another.
    pub(super) fn steer(&mut self, settings: Adaptive) {
        if settings.algorithm == self.settings.algorithm {
            self.limit = self.limit.clamp(settings.min as f64, settings.max as f64);
            self.settings = settings;
        } else {
            *self = Self::new(settings, self.limit as usize);
        }
    }

    /// Sees a window go by, and moves the limit.
    pub(super) fn update(&mut self, window: &Window) -> Option<Change> {
        let calls = window.successes + window.drops;
        if calls == 0 {
            return None;
        }
        let used = f64::from(window.inside) >= self.limit.floor() * IN_USE;
        let drops = window.drops as f64 > calls as f64 * self.settings.drop_tolerance;
        let seconds = |latency: Duration| (window.successes > 0).then(|| latency.as_secs_f64().max(1e-9));
        let load = Load {
            limit: self.limit,
            inside: window.inside,
            used,
            drops,
            mean: seconds(window.mean),
            high: seconds(window.high),
            throughput: window.successes as f64 / window.lasted.as_secs_f64().max(1e-9),
        };
        let (next, reason) = match &mut self.engine {
            Engine::Correlation(state) => state.next(&load),
            Engine::Aimd(settings) => settings.next(&load),
            Engine::Vegas(state) => state.next(&load),
            Engine::Gradient2(state) => state.next(&load),
        };
        // Whatever the algorithm says: not up without being used, and not up under drops.
        let most = if used && !drops { self.settings.max as f64 } else { self.limit };
        let before = self.limit();
        self.limit = next.min(most).clamp(self.settings.min as f64, self.settings.max as f64);
        let after = self.limit();
        let much_since = (self.told.abs_diff(after) * 10 >= self.told).then_some(self.told);
        if much_since.is_some() {
            self.told = after;
        }
        (before != after).then_some(Change { before, after, much_since, reason })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drops => "drops",
            Self::Latency => "latency",
            Self::Throughput => "throughput",
            Self::Room => "room",
            Self::Settled => "settled",
            Self::Stuck => "stuck",
            Self::Unused => "unused",
        })
    }
}
