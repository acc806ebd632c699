//! The kinds of budget.

use crate::config::{InvalidConfig, check};

/// What a retry costs, and what pays for it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum BudgetConfig {
    /// In the last 10 seconds there may be as many retries as `ratio` of the calls in the last 10 seconds, and
    /// `per_second` for each of the 10 seconds (Finagle's `RetryBudget`, tower's `TpsBudget`). The default.
    Share {
        /// Retries a call; 0.2 by default, from 0 to 10. A higher one adds that much load when everything fails.
        #[cfg_attr(feature = "serde", serde(default = "share::ratio"))]
        ratio: f64,
        /// Retries a second however few calls there are, for clients that call rarely; 10 by default, at most
        /// 1,000,000. Not zero if `ratio` is: that would be no retries, which is `max_attempts(1)`.
        #[cfg_attr(feature = "serde", serde(default = "share::per_second"))]
        per_second: u32,
    },
    /// A failed attempt takes a token, a successful one gives a share of a token, and there are retries while more than
    /// half of the tokens are there (gRPC proposal A6, "Throttling Retry Attempts").
    Tokens {
        /// How many tokens there are at most, and at first. From 1 to 1,000 (A6).
        max_tokens: u32,
        /// The share of a token a success gives. More than 0, at most 1,000; the third decimal counts (A6).
        token_ratio: f64,
    },
    /// A retry takes its cost. The cost of the last retry comes back when the call succeeds after all, and a call that
    /// succeeds at once gives a little (AWS SDKs' retry specification 2.1, from which [`Budget::costs`](super::Budget::costs) has its
    /// numbers).
    Costs {
        /// How much there is at most, and at first. From 1 to 1,000,000; AWS: 500.
        capacity: u32,
        /// The cost of a retry after a failure. From 1 to `capacity`; AWS: 14.
        transient: u32,
        /// The cost of a retry after the server said that it had too much to do, which it does for next to nothing.
        /// From 1 to `capacity`; AWS: 5.
        throttled: u32,
        /// What a call gives that succeeds at once. From 0 to `capacity`; AWS: 1.
        success: u32,
    },
}

/// What a share is by default, for code and for files.
mod share {
    pub(super) const fn ratio() -> f64 {
        0.2
    }

    pub(super) const fn per_second() -> u32 {
        10
    }
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self::Share { ratio: share::ratio(), per_second: share::per_second() }
    }
}

impl BudgetConfig {
    /// Whether these settings make sense.
    ///
    /// # Errors
    ///
    /// The first setting that is outside its range.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        match *self {
            Self::Share { ratio, per_second } => {
                check("budget.share.ratio", ratio, 0.0..=10.0, "between 0 and 10")?;
                check("budget.share.per_second", per_second, 0..=1_000_000, "at most 1,000,000")?;
                if ratio == 0.0 && per_second == 0 {
                    return Err(InvalidConfig::new(
                        "budget.share.per_second",
                        "0 with a ratio of 0 allows no retry at all",
                    ));
                }
                Ok(())
            }
            Self::Tokens { max_tokens, token_ratio } => {
                check("budget.tokens.max_tokens", max_tokens, 1..=1000, "between 1 and 1000")?;
                check("budget.tokens.token_ratio", token_ratio, 0.001..=1000.0, "between 0.001 and 1000")
            }
            Self::Costs { capacity, transient, throttled, success } => {
                check("budget.costs.capacity", capacity, 1..=1_000_000, "between 1 and 1,000,000")?;
                check("budget.costs.transient", transient, 1..=capacity, "between 1 and budget.costs.capacity")?;
                check("budget.costs.throttled", throttled, 1..=capacity, "between 1 and budget.costs.capacity")?;
                check("budget.costs.success", success, 0..=capacity, "at most budget.costs.capacity")
            }
        }
    }
}
