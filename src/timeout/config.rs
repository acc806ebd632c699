//! The settings, and the proof that they make sense.

use std::time::Duration;

use crate::config::{InvalidConfig, check_duration};

/// The settings of a [`Timeout`](crate::timeout::Timeout).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use buttress::timeout::{Timeout, TimeoutConfig};
///
/// let mut config = TimeoutConfig::default();
/// config.within = Duration::from_millis(800);
/// let timeout = Timeout::with_config("payments", config)?;
/// # Ok::<(), buttress::InvalidConfig>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct TimeoutConfig {
    /// How long an exchange may take, from the call to the end of the response body. More than zero and at most a
    /// year; 5 seconds by default.
    ///
    /// Raised, calls to a service that hangs pile up for longer, each with its memory and its connection. Lowered,
    /// sound answers that are merely slow are thrown away after the work for them was done. A little above the 99th
    /// percentile of a healthy service is where most begin; a stream that is meant to last needs a timeout of its own.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::text::time"))]
    pub within: Duration,
}

impl Default for TimeoutConfig {
    fn default() -> Self {
        Self { within: Duration::from_secs(5) }
    }
}

impl TimeoutConfig {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Which setting makes no sense, and what would.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        check_duration("timeout.within", self.within)
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_sense() {
        assert_eq!(TimeoutConfig::default().validate(), Ok(()));
    }

    #[test]
    fn no_time_at_all_and_forever_are_refused() {
        for within in [Duration::ZERO, Duration::MAX] {
            let error = TimeoutConfig { within }.validate().unwrap_err();
            assert_eq!(error.setting(), "timeout.within");
            assert!(error.to_string().ends_with("is not more than zero and at most a year"), "{error}");
        }
    }
}
