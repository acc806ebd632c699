//! Deciding: when a closed breaker has seen enough.

use std::time::Duration;

use super::{config::CircuitBreakerConfig, event::ChangeReason};
use crate::{
    outcome::Cause,
    sync::{AtomicU32, AtomicU64, Ordering},
    window::Tally,
};

/// The settings that the closed state reads. Zero is off.
#[derive(Debug)]
pub(super) struct Rules {
    failure_rate: AtomicU64,
    slow_rate: AtomicU64,
    slow_nanos: AtomicU64,
    minimum_calls: AtomicU32,
    consecutive_failures: AtomicU32,
}

impl Rules {
    pub(super) fn none() -> Self {
        Self {
            failure_rate: AtomicU64::new(0),
            slow_rate: AtomicU64::new(0),
            slow_nanos: AtomicU64::new(0),
            minimum_calls: AtomicU32::new(0),
            consecutive_failures: AtomicU32::new(0),
        }
    }

    pub(super) fn set(&self, config: &CircuitBreakerConfig) {
        let CircuitBreakerConfig { failure_rate, slow_calls, minimum_calls, consecutive_failures, .. } = config;
        self.failure_rate.store(failure_rate.unwrap_or(0.0).to_bits(), Ordering::Relaxed);
        self.slow_rate.store(slow_calls.map_or(0.0, |slow| slow.rate).to_bits(), Ordering::Relaxed);
        self.slow_nanos.store(slow_calls.map_or(0, |slow| slow.longer_than.as_nanos() as u64), Ordering::Relaxed);
        self.minimum_calls.store(*minimum_calls, Ordering::Relaxed);
        self.consecutive_failures.store(consecutive_failures.unwrap_or(0), Ordering::Relaxed);
    }

    /// Whether failures in a row are a rule.
    pub(super) fn look_at_rows(&self) -> bool {
        self.consecutive_failures.load(Ordering::Relaxed) != 0
    }

    pub(super) fn is_slow(&self, took: impl FnOnce() -> Option<Duration>) -> bool {
        let longer_than = self.slow_nanos.load(Ordering::Relaxed);
        longer_than != 0 && took().is_some_and(|took| took > Duration::from_nanos(longer_than))
    }

    /// Why it is time to open, if it is.
    pub(super) fn verdict(
        &self,
        tally: Tally,
        row: u32,
        size: Option<u32>,
        last: impl Fn() -> Cause,
    ) -> Option<ChangeReason> {
        let Tally { calls, failures, slow } = tally;
        let limit = self.consecutive_failures.load(Ordering::Relaxed);
        if limit != 0 && row >= limit {
            return Some(ChangeReason::ConsecutiveFailures { failures: row, last: last() });
        }
        if failures == 0 && slow == 0 {
            return None;
        }
        let minimum = self.minimum_calls.load(Ordering::Relaxed).min(size.unwrap_or(u32::MAX));
        if calls < u64::from(minimum) {
            return None;
        }
        // Divided, not multiplied: 7 of 100 is then exactly the 0.07 of the setting.
        let exceeds = |part: u64, rate: &AtomicU64| {
            let rate = f64::from_bits(rate.load(Ordering::Relaxed));
            rate > 0.0 && part as f64 / calls as f64 >= rate
        };
        if exceeds(failures, &self.failure_rate) {
            Some(ChangeReason::FailureRate { failures, calls, last: last() })
        } else if exceeds(slow, &self.slow_rate) {
            Some(ChangeReason::SlowCalls { slow, calls })
        } else {
            None
        }
    }
}
