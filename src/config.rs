//! Settings that make no sense, and how they are refused.

#[cfg(feature = "serde")]
pub(crate) mod text;

use std::{borrow::Cow, fmt, ops::RangeBounds, time::Duration};

/// A setting that makes no sense: which, what it was, and what would be right.
///
/// Settings that come from a file or the environment are refused with this error; the same settings written in code
/// panic with its message. After that nobody checks again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidConfig {
    setting: Cow<'static, str>,
    problem: String,
}

impl InvalidConfig {
    /// A refusal of `setting`, with what was wrong and what would be right.
    pub fn new(setting: impl Into<Cow<'static, str>>, problem: impl Into<String>) -> Self {
        Self { setting: setting.into(), problem: problem.into() }
    }

    /// The same, of a setting in a larger whole: `retry.max_attempts` in `payments` is `payments.retry.max_attempts`.
    #[must_use]
    pub fn within(self, whole: &str) -> Self {
        match (whole, &*self.setting) {
            ("", _) => self,
            (whole, "") => Self { setting: whole.to_owned().into(), ..self },
            (whole, setting) => Self { setting: format!("{whole}.{setting}").into(), ..self },
        }
    }

    /// The same, seen from inside `whole`.
    #[cfg(feature = "serde")]
    pub(crate) fn without(self, whole: &str) -> Self {
        match self.setting.strip_prefix(whole).and_then(|setting| setting.strip_prefix('.')) {
            Some(setting) => Self { setting: setting.to_owned().into(), ..self },
            None => self,
        }
    }

    /// The setting's path, as in `circuit_breaker.failure_rate`.
    pub fn setting(&self) -> &str {
        &self.setting
    }
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid setting {}: {}", self.setting, self.problem)
    }
}

impl std::error::Error for InvalidConfig {}

/// Refuses a value outside `range`, NaN included.
pub(crate) fn check<T: PartialOrd + fmt::Debug>(
    setting: &'static str,
    value: T,
    range: impl RangeBounds<T>,
    allowed: &str,
) -> Result<(), InvalidConfig> {
    if range.contains(&value) {
        Ok(())
    } else {
        Err(InvalidConfig::new(setting, format!("{value:?} is not {allowed}")))
    }
}

/// The longest duration any setting takes. Long enough for everything, and no sum of two of them overflows a clock.
pub(crate) const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Refuses zero and anything beyond a year.
pub(crate) fn check_duration(setting: &'static str, value: Duration) -> Result<(), InvalidConfig> {
    check(setting, value, Duration::from_nanos(1)..=LONGEST, "more than zero and at most a year")
}

/// Settings written in code are refused by a panic, where the mistake is seen at once.
#[track_caller]
pub(crate) fn or_panic<T>(result: Result<T, InvalidConfig>) -> T {
    result.unwrap_or_else(|invalid| panic!("{invalid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_setting_the_value_and_the_range() {
        let error = check("retry.jitter", f64::NAN, 0.0..=1.0, "between 0 and 1").unwrap_err();
        assert_eq!(error.to_string(), "invalid setting retry.jitter: NaN is not between 0 and 1");
        let error = error.within("payments");
        assert_eq!(error.to_string(), "invalid setting payments.retry.jitter: NaN is not between 0 and 1");
        assert_eq!(InvalidConfig::new("", "no").within("a").within("b").within("").setting(), "b.a");
        assert!(check_duration("timeout.within", Duration::ZERO).is_err());
        assert!(check_duration("timeout.within", Duration::MAX).is_err());
    }
}
