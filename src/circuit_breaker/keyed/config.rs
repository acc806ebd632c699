//! The settings of a keyed breaker.

use crate::{
    circuit_breaker::config::{CircuitBreakerConfig, WhenOpen},
    config::InvalidConfig,
    keyed::{DEFAULT_MAX_KEYS, check_max_keys},
};

/// The settings of a [`KeyedCircuitBreaker`](super::KeyedCircuitBreaker).
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct KeyedCircuitBreakerConfig {
    /// The settings of each key's breaker. [`WhenOpen::Pause`] is refused: a service is asked whether it is ready before
    /// the request is there, so before anybody knows the key.
    pub each: CircuitBreakerConfig,
    /// For how many keys a breaker is kept. `1..=65_536`, default 1024.
    ///
    /// More keys take more memory, less than two kilobytes each with a window of 100 calls; fewer, and breakers of keys that are
    /// still used are forgotten with all that they have counted.
    pub max_keys: usize,
}

impl Default for KeyedCircuitBreakerConfig {
    fn default() -> Self {
        Self { each: CircuitBreakerConfig::default(), max_keys: DEFAULT_MAX_KEYS }
    }
}

impl KeyedCircuitBreakerConfig {
    /// Refuses settings that make no sense.
    ///
    /// # Errors
    ///
    /// The first setting that is out of its range, with the range.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        self.each.validate()?;
        if self.each.when_open == WhenOpen::Pause {
            return Err(InvalidConfig::new(
                "circuit_breaker.when_open",
                "Pause can't be had for each key, because readiness is asked for before the key is known; use Reject",
            ));
        }
        check_max_keys("circuit_breaker.max_keys", self.max_keys)
    }
}
