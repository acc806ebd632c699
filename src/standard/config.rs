//! The settings of a whole stack, and the proof that they make sense together.

use std::time::Duration;

use crate::{
    budget::BudgetConfig,
    bulkhead::BulkheadConfig,
    circuit_breaker::CircuitBreakerConfig,
    config::{InvalidConfig, check_duration},
    fallback::FallbackConfig,
    hedge::{After, HedgeConfig},
    rate_limit::RateLimitConfig,
    retry::RetryConfig,
    timeout::TimeoutConfig,
};

/// The settings of a whole stack.
///
/// Those of a fallback, a hedge and a rate limit are for stacks that have these. A stack that hasn't refuses them, and
/// one that has takes `None` for their defaults.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct StandardConfig {
    /// The whole exchange, all attempts and the waits between them. Default: 5 s.
    pub timeout: TimeoutConfig,
    /// When something stands in for the answer, and for how many calls at once. What it is, is said in code. Default: none.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub fallback: Option<FallbackConfig>,
    /// Default: 3 attempts.
    pub retry: RetryConfig,
    /// Default: none.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub hedge: Option<StandardHedgeConfig>,
    /// Default: opens at half of the last 100 calls.
    pub circuit_breaker: CircuitBreakerConfig,
    /// Default: none.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub rate_limit: Option<RateLimitConfig>,
    /// Default: 25 at once.
    pub bulkhead: BulkheadConfig,
    /// Each attempt. Less than the whole. Default: 2 s.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "read_attempt_timeout"))]
    pub attempt_timeout: TimeoutConfig,
}

/// The settings of a stack's hedge: a [`HedgeConfig`] without a budget, for a stack's hedges are paid from
/// [the retry's](RetryConfig::budget).
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct StandardHedgeConfig {
    /// See [`HedgeConfig::after`]. A fixed delay is less than an attempt may take. Default: the quantile 0.95.
    pub after: After,
    /// See [`HedgeConfig::max_hedges`]. 0 to 4, and 0 is no hedge. Default: 1.
    pub max_hedges: u32,
    /// See [`HedgeConfig::minimum_calls`]. 1 to 1,000,000. Default: 100.
    pub minimum_calls: u32,
    /// See [`HedgeConfig::replay_at_most`]. At most 1 GiB. Default: 64 KiB.
    pub replay_at_most: usize,
}

/// How long an attempt may take by default: two of them, and a wait, are less than the whole.
const ATTEMPT: Duration = Duration::from_secs(2);

/// What is absent of an attempt's timeout isn't what is absent of the whole's.
#[cfg(feature = "serde")]
fn read_attempt_timeout<'de, D: serde::Deserializer<'de>>(from: D) -> Result<TimeoutConfig, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Attempt {
        #[serde(with = "crate::config::text::time")]
        within: Duration,
    }

    impl Default for Attempt {
        fn default() -> Self {
            Self { within: ATTEMPT }
        }
    }

    let Attempt { within } = serde::Deserialize::deserialize(from)?;
    Ok(TimeoutConfig { within })
}

impl Default for StandardConfig {
    fn default() -> Self {
        Self {
            timeout: TimeoutConfig::default(),
            fallback: None,
            retry: RetryConfig::default(),
            hedge: None,
            circuit_breaker: CircuitBreakerConfig::default(),
            rate_limit: None,
            bulkhead: BulkheadConfig::default(),
            attempt_timeout: TimeoutConfig { within: ATTEMPT },
        }
    }
}

impl StandardConfig {
    /// Refuses settings that make no sense, each for itself or all together.
    ///
    /// # Errors
    ///
    /// The first setting that is out of its range, or that can't work beside the others.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        self.timeout.validate()?;
        self.fallback.as_ref().map_or(Ok(()), FallbackConfig::validate)?;
        self.retry.validate()?;
        self.hedge.as_ref().map_or(Ok(()), StandardHedgeConfig::validate)?;
        self.circuit_breaker.validate()?;
        self.rate_limit.as_ref().map_or(Ok(()), RateLimitConfig::validate)?;
        self.bulkhead.validate()?;
        check_duration("attempt_timeout.within", self.attempt_timeout.within)?;
        self.validate_times()?;
        self.hedge.as_ref().map_or(Ok(()), |hedge| self.validate_beside(hedge))
    }

    fn validate_times(&self) -> Result<(), InvalidConfig> {
        let (attempt, permit, turn) = (self.attempt_timeout.within, self.bulkhead.max_wait, self.turn());
        self.in_time("attempt_timeout.within", attempt, || format!("an attempt may take {attempt:?}"))?;
        self.in_time("bulkhead.max_wait", permit, || format!("a call may queue {permit:?}"))?;
        self.in_time("rate_limit.max_wait", turn + permit, || {
            let then = if permit.is_zero() { String::new() } else { format!(", and then {permit:?} for a permit") };
            format!("a call may wait {turn:?} for its turn{then}")
        })?;
        let wait = self.retry.backoff.base;
        if self.retry.max_attempts > 1 {
            self.in_time("retry.backoff.base", wait, || format!("the second attempt may wait {wait:?}"))?;
        }
        let longest = self.longest();
        if let Some(slow) = self.circuit_breaker.slow_calls
            && slow.longer_than >= longest
        {
            let longer_than = slow.longer_than;
            let problem = format!("no call takes longer than {longer_than:?}, as an attempt is cut off at {longest:?}");
            return Err(InvalidConfig::new("circuit_breaker.slow_calls.longer_than", problem));
        }
        Ok(())
    }

    /// Refuses a part of a call that leaves no time for the rest.
    fn in_time(
        &self,
        setting: &'static str,
        time: Duration,
        what: impl FnOnce() -> String,
    ) -> Result<(), InvalidConfig> {
        let whole = self.timeout.within;
        if time < whole {
            return Ok(());
        }
        Err(InvalidConfig::new(setting, format!("{}, which is not less than the whole's {whole:?}", what())))
    }

    /// Whether the others let a hedge be sent at all.
    fn validate_beside(&self, hedge: &StandardHedgeConfig) -> Result<(), InvalidConfig> {
        if hedge.max_hedges == 0 {
            return Ok(());
        }
        let longest = self.longest().min(self.timeout.within);
        if let After::Delay(delay) = hedge.after
            && delay >= longest
        {
            let problem =
                format!("nothing is waited for as long as {delay:?}, as an attempt is cut off at {longest:?}");
            return Err(InvalidConfig::new("hedge.after.delay", problem));
        }
        let (setting, inside) = match &self.bulkhead.adaptive {
            Some(adaptive) => ("bulkhead.adaptive.max", adaptive.max),
            None => ("bulkhead.max_concurrent", self.bulkhead.max_concurrent),
        };
        if inside < 2 {
            let problem = format!("with {inside} at once, a hedge can't run beside the attempt it is for; at least 2");
            return Err(InvalidConfig::new(setting, problem));
        }
        Ok(())
    }

    /// How long a call may wait for its turn.
    fn turn(&self) -> Duration {
        self.rate_limit.as_ref().map_or(Duration::ZERO, |limit| limit.max_wait)
    }

    /// The longest that breaker and hedge see of an attempt: for them it begins before it waits for its turn and a permit.
    fn longest(&self) -> Duration {
        self.turn() + self.bulkhead.max_wait + self.attempt_timeout.within
    }
}

// ===== impl StandardHedgeConfig =====

impl Default for StandardHedgeConfig {
    fn default() -> Self {
        HedgeConfig::default().into()
    }
}

impl StandardHedgeConfig {
    /// Whether these settings make sense.
    ///
    /// # Errors
    ///
    /// The first setting that is outside its range.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        self.clone().paid_from(HedgeConfig::default().budget).validate()
    }

    pub(super) fn paid_from(self, budget: BudgetConfig) -> HedgeConfig {
        let Self { after, max_hedges, minimum_calls, replay_at_most } = self;
        HedgeConfig { after, max_hedges, minimum_calls, replay_at_most, budget }
    }
}

/// The budget is left out.
impl From<HedgeConfig> for StandardHedgeConfig {
    fn from(config: HedgeConfig) -> Self {
        let HedgeConfig { after, max_hedges, minimum_calls, replay_at_most, budget: _ } = config;
        Self { after, max_hedges, minimum_calls, replay_at_most }
    }
}
