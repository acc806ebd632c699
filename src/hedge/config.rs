//! The settings of a hedge.

use std::time::Duration;

use crate::{
    budget::BudgetConfig,
    config::{InvalidConfig, check, check_duration},
};

/// The settings of a [`Hedge`](super::Hedge).
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct HedgeConfig {
    /// How long an answer is waited for before the request is sent again; by default for as long as 95 % of the calls
    /// took of late. Later is cheaper, and helps fewer calls.
    pub after: After,
    /// How often the request may be sent besides the first time. From 0, which is no hedge, to 4, as gRPC has it
    /// (proposal A6: five attempts); 1 by default. Each further one is for calls that were unlucky twice.
    pub max_hedges: u32,
    /// How many answers must have been observed before a quantile of them means something. From 1 to 1,000,000; 100 by
    /// default. Until then nothing is hedged, unless after a fixed delay.
    pub minimum_calls: u32,
    /// How much of a request's body is kept to be sent again, in bytes. From 0, which keeps nothing that streams, to
    /// 1 GiB; 64 KiB by default. This much memory, at most, is held for each call under way.
    pub replay_at_most: usize,
    /// How many hedges there may be, all calls taken together; by default a tenth of the calls, and ten a second. See
    /// [`BudgetConfig`].
    pub budget: BudgetConfig,
}

/// How long an answer is waited for before the request is sent again.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum After {
    /// This long, from 1 ns to a year.
    Delay(#[cfg_attr(feature = "serde", serde(with = "crate::config::text::time"))] Duration),
    /// For as long as this share of the calls took in the last [`OBSERVED_FOR`](super::OBSERVED_FOR). From 0.5 to 0.9999.
    /// One minus this is how many calls are hedged while all is well.
    Quantile(f64),
}

impl Default for HedgeConfig {
    fn default() -> Self {
        Self {
            after: After::Quantile(0.95),
            max_hedges: 1,
            minimum_calls: 100,
            replay_at_most: 64 * 1024,
            budget: BudgetConfig::Share { ratio: 0.1, per_second: 10 },
        }
    }
}

impl HedgeConfig {
    /// Whether these settings make sense.
    ///
    /// # Errors
    ///
    /// The first setting that is outside its range.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        match self.after {
            After::Delay(delay) => check_duration("hedge.after.delay", delay)?,
            After::Quantile(quantile) => {
                check("hedge.after.quantile", quantile, 0.5..=0.9999, "between 0.5 and 0.9999")?;
            }
        }
        check("hedge.max_hedges", self.max_hedges, 0..=4, "between 0 and 4")?;
        check("hedge.minimum_calls", self.minimum_calls, 1..=1_000_000, "between 1 and 1,000,000")?;
        check("hedge.replay_at_most", self.replay_at_most, 0..=1 << 30, "at most 1 GiB")?;
        self.budget.validate().map_err(|invalid| invalid.within("hedge"))
    }
}
