//! The settings of a retry policy.

use crate::{
    backoff::Backoff,
    budget::BudgetConfig,
    config::{InvalidConfig, check},
};

/// The settings of a [`Retry`](super::Retry).
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct RetryConfig {
    /// How often a call may be attempted, the first time included. From 1, which is no retries, to 100; 3 by default.
    /// Each further one adds that much load when everything fails, as far as the budget goes.
    pub max_attempts: u32,
    /// How long to wait before each further attempt. From 50 ms, doubling, up to 5 s, with full jitter by default.
    pub backoff: Backoff,
    /// How much of a request's body is kept to be sent again, in bytes. From 0, which keeps nothing that streams, to
    /// 1 GiB; 64 KiB by default. This much memory, at most, is held for each call under way.
    pub replay_at_most: usize,
    /// How many retries there may be, all calls taken together. See [`BudgetConfig`].
    pub budget: BudgetConfig,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            backoff: Backoff::default(),
            replay_at_most: 64 * 1024,
            budget: BudgetConfig::default(),
        }
    }
}

impl RetryConfig {
    /// Whether these settings make sense.
    ///
    /// # Errors
    ///
    /// The first setting that is outside its range.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        check("retry.max_attempts", self.max_attempts, 1..=100, "between 1 and 100")?;
        self.backoff.validate().map_err(|invalid| invalid.within("retry"))?;
        check("retry.replay_at_most", self.replay_at_most, 0..=1 << 30, "at most 1 GiB")?;
        self.budget.validate().map_err(|invalid| invalid.within("retry"))
    }
}
