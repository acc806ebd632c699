//! The policies of a stack, seen and set all together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::info;

use super::config::StandardConfig;
use crate::{
    InvalidConfig, bulkhead::Bulkhead, circuit_breaker::CircuitBreaker, fallback::Fallback, hedge::Hedge,
    rate_limit::RateLimit, retry::Retry, timeout::Timeout,
};

/// Held while the policies are set, or looked at, all together. Says whether they are known to fit.
///
/// Only what was set since then is looked at again: who changes one policy by its own handle answers for it, and a layer
/// that is applied to each new connection must not panic for it.
#[derive(Debug, Clone)]
pub(super) struct Together(Arc<Mutex<bool>>);

impl Together {
    pub(super) fn fitting() -> Self {
        Self(Arc::new(Mutex::new(true)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, bool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The policies of a stack, to watch and to steer.
///
/// Who sets one of them by its own handle answers for its fitting the others; and a hedge doesn't follow its retry to a
/// budget that it is given there. [`reconfigure`](Self::reconfigure) sees to both.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Handles {
    /// The whole exchange.
    pub timeout: Timeout,
    /// What stands in for an answer, if the stack has that.
    pub fallback: Option<Fallback>,
    /// All attempts.
    pub retry: Retry,
    /// Two attempts side by side, if the stack has that.
    pub hedge: Option<Hedge>,
    /// Each attempt.
    pub circuit_breaker: CircuitBreaker,
    /// Each attempt that the breaker let through, if the stack has a rate to keep.
    pub rate_limit: Option<RateLimit>,
    /// Each attempt that the breaker, and the rate limit, let through.
    pub bulkhead: Bulkhead,
    /// Each attempt that got a permit.
    pub attempt_timeout: Timeout,
    pub(super) together: Together,
}

impl Handles {
    /// The settings in force. Of a fallback, a hedge and a rate limit only if the stack has them.
    pub fn config(&self) -> StandardConfig {
        let _whole = self.together.lock();
        self.read()
    }

    /// Applies other settings to the whole stack while it runs: all of them, or none.
    ///
    /// They are in force from the next attempt on; exchanges under way keep the time they were given. Nothing is lost:
    /// calls keep their permits and their places in the queue, the breaker its state and what it counted, the retry its
    /// budget, the hedge what it observed, the rate limit what was used of it. Only another
    /// [`window`](crate::circuit_breaker::CircuitBreakerConfig::window) and another
    /// [`budget`](crate::retry::RetryConfig::budget) begin anew; hedges are paid from that too then, unless they have a
    /// budget of their own. Of two who do this at once, the one's settings hold and then the other's, never a mixture.
    ///
    /// A fallback, a hedge or a rate limit of which the settings say nothing is set to its defaults, as all that is absent.
    ///
    /// # Errors
    ///
    /// A setting that makes no sense, by itself or beside the others; settings of a fallback, a hedge or a rate limit that
    /// the stack was made without; or what a policy can't do live: a breaker can have 16 different windows in its life, a
    /// bulkhead 255 partitions that have calls. Then nothing has changed.
    pub fn reconfigure(&self, config: StandardConfig) -> Result<(), InvalidConfig> {
        let config = self.complete(config)?;
        config.validate()?;
        let mut fits = self.together.lock();
        let before = self.read();
        if before == config {
            return Ok(());
        }
        let after = config.clone();
        // These two can still say no, and the first has changed nothing when the second does.
        self.circuit_breaker.reserve(&config.circuit_breaker)?;
        if before.bulkhead != config.bulkhead {
            self.bulkhead.reconfigure(config.bulkhead)?;
        }
        if before.circuit_breaker != config.circuit_breaker {
            self.circuit_breaker.reconfigure(config.circuit_breaker)?;
        }
        let one_budget = OneBudget::of(self.hedge.clone(), &self.retry);
        self.retry.reconfigure(config.retry)?;
        one_budget.keep(&self.retry);
        self.timeout.reconfigure(config.timeout)?;
        self.attempt_timeout.reconfigure(config.attempt_timeout)?;
        if let (Some(fallback), Some(config)) = (&self.fallback, config.fallback)
            && before.fallback.as_ref() != Some(&config)
        {
            fallback.reconfigure(config)?;
        }
        if let (Some(hedge), Some(config)) = (&self.hedge, config.hedge)
            && before.hedge.as_ref() != Some(&config)
        {
            hedge.reconfigure(config.paid_from(hedge.config().budget))?;
        }
        if let (Some(limit), Some(config)) = (&self.rate_limit, config.rate_limit)
            && before.rate_limit.as_ref() != Some(&config)
        {
            limit.reconfigure(config)?;
        }
        *fits = true;
        info!(policy = "standard", name = self.timeout.name().as_str(), ?before, ?after, "settings changed");
        Ok(())
    }

    /// What is absent of the layers there are takes its default; what is there of layers there aren't is refused.
    fn complete(&self, config: StandardConfig) -> Result<StandardConfig, InvalidConfig> {
        Ok(StandardConfig {
            fallback: of_place("fallback", self.fallback.is_some(), config.fallback)?,
            hedge: of_place("hedge", self.hedge.is_some(), config.hedge)?,
            rate_limit: of_place("rate_limit", self.rate_limit.is_some(), config.rate_limit)?,
            ..config
        })
    }

    /// Only with the lock held.
    pub(super) fn read(&self) -> StandardConfig {
        StandardConfig {
            timeout: self.timeout.config(),
            fallback: self.fallback.as_ref().map(Fallback::config),
            retry: self.retry.config(),
            hedge: self.hedge.as_ref().map(|hedge| hedge.config().into()),
            circuit_breaker: self.circuit_breaker.config(),
            rate_limit: self.rate_limit.as_ref().map(RateLimit::config),
            bulkhead: self.bulkhead.config(),
            attempt_timeout: self.attempt_timeout.config(),
        }
    }
}

fn of_place<T: Default>(setting: &'static str, is_there: bool, config: Option<T>) -> Result<Option<T>, InvalidConfig> {
    match (is_there, config) {
        (true, config) => Ok(Some(config.unwrap_or_default())),
        (false, None) => Ok(None),
        (false, Some(_)) => Err(not_there(setting)),
    }
}

/// What a setting would be of isn't in the stack.
pub(super) fn not_there(setting: &'static str) -> InvalidConfig {
    let what = setting.replace('_', " ");
    let problem = format!(
        "this stack was made without a {what}; add one where it is made, by `.{setting}(..)`, or leave these settings out"
    );
    InvalidConfig::new(setting, problem)
}

/// That a hedge is paid from the retry's budget, to be kept so when the retry gets another one.
pub(super) struct OneBudget(Option<Hedge>);

impl OneBudget {
    pub(super) fn of(hedge: Option<Hedge>, retry: &Retry) -> Self {
        Self(hedge.filter(|hedge| hedge.budget().is(&retry.budget())))
    }

    pub(super) fn keep(self, retry: &Retry) {
        if let Some(hedge) = self.0.filter(|hedge| !hedge.budget().is(&retry.budget())) {
            hedge.share_budget(retry.budget());
        }
    }
}
