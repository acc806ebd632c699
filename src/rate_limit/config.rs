//! Settings, and the proof that they make sense.

use std::time::Duration;

use crate::config::{InvalidConfig, LONGEST, check, check_duration};

/// The settings of a rate limit.
///
/// ```
/// use std::time::Duration;
/// use buttress::rate_limit::RateLimitConfig;
///
/// let mut config = RateLimitConfig::default();
/// config.limit = 600;
/// config.per = Duration::from_secs(60);
/// assert!(config.validate().is_ok());
///
/// config.limit = 0;
/// let error = config.validate().unwrap_err();
/// assert_eq!(error.to_string(), "invalid setting rate_limit.limit: 0 is not at least 1");
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct RateLimitConfig {
    /// How many calls are let through in each [`per`](Self::per), in the long run. At least 1, by default 100; at most
    /// ten a microsecond.
    ///
    /// They come back one by one, not all at once: of 100 a second, one every 10 ms. Raising it costs what the service
    /// behind spends on a call.
    pub limit: u32,
    /// The time in which [`limit`](Self::limit) calls are let through. More than zero and at most a year, by default a
    /// second.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::text::time"))]
    pub per: Duration,
    /// How many calls may come at once after a quiet time. At least 1; by default as many as [`limit`](Self::limit).
    /// The time it takes to earn a whole burst is at most a year.
    ///
    /// Raising it costs what the service behind spends on that many calls at once; in any time `t`, no more than
    /// `burst` and what is earned in `t` are let through. Lowering it to 1 spaces calls out evenly.
    #[cfg_attr(feature = "serde", serde(with = "or_limit"))]
    pub burst: Option<u32>,
    /// How long a call may wait for its turn. Up to a year; by default zero: what comes too soon is refused at once.
    ///
    /// Raising it costs latency, and the memory of the requests that wait. Waiting needs a tokio runtime with a timer,
    /// whose grain is a millisecond: to keep the pace of more than a thousand a second, calls that wait need a burst of
    /// at least what is earned in a few milliseconds.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::text::time"))]
    pub max_wait: Duration,
    /// How many calls may wait at once. 1 to 1,000,000, by default 100. One more is refused at once.
    ///
    /// Raising it costs the memory of the requests that wait.
    pub max_queue: usize,
    /// Whether HTTP answers to calls that were let through say what is left, in the fields `RateLimit-Policy` and
    /// `RateLimit`, as every refusal does. By default they don't.
    ///
    /// Turning it on costs two header fields, and their allocation, for each answer; and it tells callers what you can
    /// take.
    pub announce: bool,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self {
            limit: 100,
            per: Duration::from_secs(1),
            burst: None,
            max_wait: Duration::ZERO,
            max_queue: 100,
            announce: false,
        }
    }
}

/// In a file, a burst that isn't set is `"limit"`.
#[cfg(feature = "serde")]
mod or_limit {
    use crate::config::text::{read_or, write_or};

    pub(super) fn serialize<S: serde::Serializer>(burst: &Option<u32>, to: S) -> Result<S::Ok, S::Error> {
        write_or("limit", burst, to)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
        read_or("limit", from)
    }
}

/// Below, rounding the time between two calls to whole nanoseconds would be more than one per cent of it.
const SHORTEST_INTERVAL: u128 = 100;

impl RateLimitConfig {
    /// Whether the settings make sense.
    ///
    /// # Errors
    ///
    /// For the first setting out of its range, with its name, its value and the range.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        check("rate_limit.limit", self.limit, 1.., "at least 1")?;
        check_duration("rate_limit.per", self.per)?;
        if self.per.as_nanos() < SHORTEST_INTERVAL * u128::from(self.limit) {
            let problem = format!("{} in {:?} is not at most ten a microsecond", self.limit, self.per);
            return Err(InvalidConfig::new("rate_limit.limit", problem));
        }
        check("rate_limit.burst", self.burst_or_limit(), 1.., "at least 1")?;
        let earned_in = u128::from(self.interval()) * u128::from(self.burst_or_limit());
        // A limit that takes a year and is rounded up takes a few nanoseconds more.
        if earned_in > 2 * LONGEST.as_nanos() {
            let problem =
                format!("{} at {} in {:?} takes more than a year to earn", self.burst_or_limit(), self.limit, self.per);
            return Err(InvalidConfig::new("rate_limit.burst", problem));
        }
        check("rate_limit.max_wait", self.max_wait, ..=LONGEST, "at most a year")?;
        check(
            "rate_limit.max_queue",
            self.max_queue,
            1..=1_000_000,
            "between 1 and 1000000 (calls that shall not wait have a max_wait of zero)",
        )
    }

    /// The burst, whether it was set or is the limit.
    pub(super) fn burst_or_limit(&self) -> u32 {
        self.burst.unwrap_or(self.limit)
    }

    /// The time between two calls that come evenly, in nanoseconds; rounded up, so that the limit is never exceeded.
    pub(super) fn interval(&self) -> u64 {
        self.per.as_nanos().div_ceil(u128::from(self.limit)) as u64
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut RateLimitConfig)) -> String {
        let mut config = RateLimitConfig::default();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_make_sense() {
        assert_eq!(RateLimitConfig::default().validate(), Ok(()));
        assert_eq!(RateLimitConfig::default().burst_or_limit(), 100);
        assert_eq!(RateLimitConfig::default().interval(), 10_000_000);
    }

    #[test]
    fn nonsense_is_refused_with_the_settings_name_and_range() {
        assert_eq!(refused(|config| config.limit = 0), "invalid setting rate_limit.limit: 0 is not at least 1");
        assert_eq!(
            refused(|config| config.limit = 10_000_001),
            "invalid setting rate_limit.limit: 10000001 in 1s is not at most ten a microsecond"
        );
        assert_eq!(refused(|config| config.burst = Some(0)), "invalid setting rate_limit.burst: 0 is not at least 1");
        assert!(
            refused(|config| config.per = Duration::ZERO).starts_with("invalid setting rate_limit.per: 0ns is not")
        );
        assert!(refused(|config| config.per = Duration::MAX).starts_with("invalid setting rate_limit.per: "));
        assert!(refused(|config| config.max_queue = 0).starts_with("invalid setting rate_limit.max_queue: 0 is not"));
        assert!(refused(|config| config.max_wait = Duration::MAX).ends_with("is not at most a year"));
        let slow = |config: &mut RateLimitConfig| {
            (config.limit, config.per, config.burst) = (1, LONGEST, Some(u32::MAX));
        };
        assert!(refused(slow).ends_with("takes more than a year to earn"));
    }

    #[test]
    fn the_interval_is_rounded_so_that_the_limit_holds() {
        let config = RateLimitConfig { limit: 3, ..RateLimitConfig::default() };
        assert_eq!(config.interval(), 333_333_334);
    }
}
