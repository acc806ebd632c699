#![doc = include_str!("../docs/settings.md")]

use serde::{Deserialize, Deserializer};

use crate::InvalidConfig;

/// Settings that can be read: each `...Config` of this crate.
pub trait Settings: sealed::Sealed + for<'de> Deserialize<'de> {
    /// Refuses settings that make no sense. The setting's path begins here, so that a bulkhead's is `max_concurrent`.
    ///
    /// # Errors
    ///
    /// The first setting that is out of its range, or that can't work beside the others.
    fn check(&self) -> Result<(), InvalidConfig>;
}

mod sealed {
    #[allow(unnameable_types, reason = "so that a setting's check can be changed without anybody's being broken")]
    pub trait Sealed {}
}

/// Reads the settings at `path` of a file, and refuses what makes no sense.
///
/// Takes any format that says what each value is, as TOML, JSON and YAML do. `path` is what the settings are called in
/// that file, and stands in front of each setting that is refused; it may be empty.
///
/// ```
/// use buttress::{settings, standard::StandardConfig};
///
/// let file: toml::Table = "
///     [payments]
///     timeout.within = '3s'
///     retry = { max_attempts = 0 }
/// ".parse()?;
/// let error = settings::read::<StandardConfig, _>("payments", file["payments"].clone()).unwrap_err();
/// assert_eq!(error.to_string(), "invalid setting payments.retry.max_attempts: 0 is not between 1 and 100");
/// # Ok::<(), toml::de::Error>(())
/// ```
///
/// # Errors
///
/// The first setting that there isn't, that is of another type, that is out of its range, or that can't work beside the
/// others; with its path.
pub fn read<'de, T: Settings, D: Deserializer<'de>>(path: &str, from: D) -> Result<T, InvalidConfig> {
    let settings: T = serde_path_to_error::deserialize(from).map_err(|error| {
        let setting = error.path().to_string();
        // The root is a dot.
        let setting = if setting == "." { String::new() } else { setting };
        let problem = error.into_inner().to_string();
        // TOML says itself where it is, on a line of its own.
        let problem = problem.rsplit_once("\nin `").map_or(&*problem, |(problem, _)| problem);
        InvalidConfig::new(setting, problem).within(path)
    })?;
    settings.check().map_err(|invalid| invalid.within(path))?;
    Ok(settings)
}

macro_rules! settings {
    ($(#[cfg($feature:meta)] $config:path, $own:literal;)*) => {$(
        #[cfg($feature)]
        impl sealed::Sealed for $config {}

        #[cfg($feature)]
        impl Settings for $config {
            fn check(&self) -> Result<(), InvalidConfig> {
                self.validate().map_err(|invalid| invalid.without($own))
            }
        }
    )*};
}

settings! {
    #[cfg(feature = "bulkhead")] crate::bulkhead::BulkheadConfig, "bulkhead";
    #[cfg(any(feature = "retry", feature = "hedge"))] crate::budget::BudgetConfig, "budget";
    #[cfg(feature = "circuit-breaker")] crate::circuit_breaker::CircuitBreakerConfig, "circuit_breaker";
    #[cfg(feature = "fallback")] crate::fallback::FallbackConfig, "fallback";
    #[cfg(feature = "fault")] crate::fault::FaultConfig, "fault";
    #[cfg(feature = "hedge")] crate::hedge::HedgeConfig, "hedge";
    #[cfg(feature = "rate-limit")] crate::rate_limit::RateLimitConfig, "rate_limit";
    #[cfg(feature = "retry")] crate::retry::RetryConfig, "retry";
    #[cfg(feature = "standard")] crate::standard::StandardConfig, "";
    #[cfg(feature = "timeout")] crate::timeout::TimeoutConfig, "timeout";
}

/// Settings for each key: what is refused of those is in their table, `each`.
macro_rules! keyed {
    ($(#[cfg($feature:meta)] $config:path, $own:literal;)*) => {$(
        #[cfg($feature)]
        impl sealed::Sealed for $config {}

        #[cfg($feature)]
        impl Settings for $config {
            fn check(&self) -> Result<(), InvalidConfig> {
                self.each.check().map_err(|invalid| invalid.within("each"))?;
                self.validate().map_err(|invalid| invalid.without($own))
            }
        }
    )*};
}

keyed! {
    #[cfg(feature = "circuit-breaker")] crate::circuit_breaker::KeyedCircuitBreakerConfig, "circuit_breaker";
    #[cfg(feature = "rate-limit")] crate::rate_limit::KeyedRateLimitConfig, "rate_limit";
}
