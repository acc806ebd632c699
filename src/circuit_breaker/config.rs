//! The settings of a circuit breaker.

use std::time::Duration;

use crate::config::{InvalidConfig, check, check_duration};

/// The settings of a [`CircuitBreaker`](super::CircuitBreaker).
///
/// A breaker opens when any of its rules says so: [`failure_rate`](Self::failure_rate),
/// [`slow_calls`](Self::slow_calls), [`consecutive_failures`](Self::consecutive_failures). One without any never opens
/// by itself and is steered by hand.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct CircuitBreakerConfig {
    /// What the rates are taken over. Default: the last 100 calls.
    ///
    /// A longer window is slower to open and less easily misled.
    pub window: Window,
    /// Opens when at least this share of the calls in the window failed. `0 < rate <= 1`, default 0.5; `None` is off.
    ///
    /// Higher tolerates more failures before callers are spared them.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::text::or_off"))]
    pub failure_rate: Option<f64>,
    /// Opens when at least a share of the calls in the window were slow. Default: off.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::text::or_off"))]
    pub slow_calls: Option<SlowCalls>,
    /// Opens after so many failures with no success between them. At least 1; default: off.
    ///
    /// An [overload](crate::Outcome::Overload) neither counts nor breaks the row.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::text::or_off"))]
    pub consecutive_failures: Option<u32>,
    /// The rates count only from so many calls in the window on. `1..=1_000_000`, default 20; a count window smaller
    /// than that is judged when it is full.
    ///
    /// Lower opens sooner after a start, and on less evidence.
    pub minimum_calls: u32,
    /// How long the breaker stays open before it lets probes through. More than zero, at most a year, default 5 s.
    ///
    /// Taken with equal jitter, so between half of it and all of it, lest all clients of a service probe it at once. It
    /// doubles with each half-open episode that fails, up to [`open_at_most`](Self::open_at_most), and is back to this
    /// after a close. A server's `Retry-After`, or else its `RateLimit`, extends it, up to the same maximum.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::text::time"))]
    pub open_for: Duration,
    /// The longest the breaker stays open without a probe. Default 60 s; raised to [`open_for`](Self::open_for) where
    /// it is lower.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::text::time"))]
    pub open_at_most: Duration,
    /// How many calls are let through in a half-open episode, all in all and so also at once. `1..=1_000`, default 5.
    ///
    /// More probes judge better and weigh more on a service that is just recovering.
    pub half_open_calls: u32,
    /// If set, so many successes close the breaker and a single failure opens it again, instead of the rates over
    /// [`half_open_calls`](Self::half_open_calls), which is raised to it where it is lower. `1..=1_000`, default: off.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::text::or_off"))]
    pub half_open_successes: Option<u32>,
    /// A probe that neither ends nor is dropped within this time is written off as failed, so that a hung probe can't
    /// lock the breaker. More than zero, at most a year, default 30 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::text::time"))]
    pub half_open_for: Duration,
    /// If set, a breaker that closes because its probes succeeded lets a share of the calls through that grows evenly
    /// from 10 % to all over this time, lest the service that has just recovered be stampeded. More than zero, at most a
    /// year; default: off.
    ///
    /// Which calls is left to chance. The others are refused as by an open breaker, each told to come back at a moment of
    /// its own before the ramp is over. Outcomes are counted as ever. Longer is gentler on the service, and refuses more
    /// calls that it might have served.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::text::time_or_off"))]
    pub ramp: Option<Duration>,
    /// What callers see while the breaker is open. Default: [`WhenOpen::Reject`].
    pub when_open: WhenOpen,
}

/// What the rates are taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum Window {
    /// The last so many calls, `1..=65_536`.
    #[cfg_attr(feature = "serde", serde(rename = "calls"))]
    Count(u32),
    /// The last so much time, `1 s..=1 h`, in ten slices.
    Time(#[cfg_attr(feature = "serde", serde(with = "crate::config::text::time"))] Duration),
}

impl Window {
    /// The last `calls` calls, `1..=65_536`.
    pub const fn count(calls: u32) -> Self {
        Self::Count(calls)
    }

    /// The calls of the last `span`, `1 s..=1 h`, in ten slices: a slice leaves the window as a whole.
    pub const fn time(span: Duration) -> Self {
        Self::Time(span)
    }
}

/// When calls are too slow.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct SlowCalls {
    /// A call that takes longer than this to the end of its exchange is slow.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::text::time"))]
    pub longer_than: Duration,
    /// Opens when at least this share of the calls in the window was slow. `0 < rate <= 1`.
    pub rate: f64,
}

impl SlowCalls {
    /// Calls that take longer than `longer_than`, and the share of them that opens a breaker.
    pub const fn new(longer_than: Duration, rate: f64) -> Self {
        Self { longer_than, rate }
    }
}

/// What callers see while a breaker is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum WhenOpen {
    /// They are refused at once: for callers who can do something else.
    #[default]
    Reject,
    /// The service isn't ready: for balancers, which then choose another, and for consumers, which then stop consuming.
    Pause,
}

impl Default for CircuitBreakerConfig {
    fn default() -> Self {
        Self {
            window: Window::Count(100),
            failure_rate: Some(0.5),
            slow_calls: None,
            consecutive_failures: None,
            minimum_calls: 20,
            open_for: Duration::from_secs(5),
            open_at_most: Duration::from_secs(60),
            half_open_calls: 5,
            half_open_successes: None,
            half_open_for: Duration::from_secs(30),
            ramp: None,
            when_open: WhenOpen::Reject,
        }
    }
}

impl CircuitBreakerConfig {
    /// Refuses settings that make no sense.
    ///
    /// # Errors
    ///
    /// The first setting that is out of its range, with the range.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        match self.window {
            Window::Count(calls) => {
                check("circuit_breaker.window", calls, 1..=65_536, "a number of calls from 1 to 65536")?;
            }
            Window::Time(span) => {
                let range = Duration::from_secs(1)..=Duration::from_secs(3600);
                check("circuit_breaker.window", span, range, "a time from 1 s to 1 h")?;
            }
        }
        if let Some(rate) = self.failure_rate {
            check_rate("circuit_breaker.failure_rate", rate)?;
        }
        if let Some(slow) = self.slow_calls {
            check_duration("circuit_breaker.slow_calls.longer_than", slow.longer_than)?;
            check_rate("circuit_breaker.slow_calls.rate", slow.rate)?;
        }
        if let Some(failures) = self.consecutive_failures {
            check("circuit_breaker.consecutive_failures", failures, 1.., "at least 1")?;
        }
        check("circuit_breaker.minimum_calls", self.minimum_calls, 1..=1_000_000, "from 1 to 1000000")?;
        check_duration("circuit_breaker.open_for", self.open_for)?;
        check_duration("circuit_breaker.open_at_most", self.open_at_most)?;
        check("circuit_breaker.half_open_calls", self.half_open_calls, 1..=1_000, "from 1 to 1000")?;
        if let Some(successes) = self.half_open_successes {
            check("circuit_breaker.half_open_successes", successes, 1..=1_000, "from 1 to 1000")?;
        }
        check_duration("circuit_breaker.half_open_for", self.half_open_for)?;
        self.ramp.map_or(Ok(()), |ramp| check_duration("circuit_breaker.ramp", ramp))
    }
}

fn check_rate(setting: &'static str, rate: f64) -> Result<(), InvalidConfig> {
    check(setting, rate, f64::MIN_POSITIVE..=1.0, "more than 0 and at most 1")
}
