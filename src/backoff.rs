//! How long to wait before the next attempt.
//!
//! A service that is in trouble is not helped by callers that all come back at the same moment. So the wait grows with
//! each attempt ([`Backoff`]), and it is spread by chance ([`Jitter`]), which matters more: without it, everybody who
//! failed together comes back together.
//!
//! ```
//! use std::time::Duration;
//! use buttress::backoff::{Backoff, Jitter};
//!
//! let backoff = Backoff::exponential(Duration::from_millis(100)).at_most(Duration::from_secs(2)).jitter(Jitter::Equal);
//! assert_eq!(backoff.ceiling(3), Duration::from_millis(800));
//! let mut delays = backoff.delays();
//! assert!((Duration::from_millis(50)..=Duration::from_millis(100)).contains(&delays.next(fastrand::f64())));
//! ```

use std::time::Duration;

use crate::config::{InvalidConfig, check, check_duration};

/// Waits that grow from `base` by `factor` up to `at_most`, spread by a [`Jitter`].
///
/// The default is that of the AWS SDKs' retry specification 2.1, with a lower ceiling: from 50 ms, doubling, up to 5 s,
/// full jitter.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Backoff {
    /// The first wait, before the jitter. More than zero, at most a year; 50 ms by default. A longer one adds to the
    /// latency of every call that is repeated.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::text::time"))]
    pub base: Duration,
    /// By how much each wait is longer than the one before. From 1 (always the same) to 100; 2 by default.
    pub factor: f64,
    /// The longest wait, whatever the jitter. Not below `base`, at most a year; 5 s by default.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::text::time"))]
    pub at_most: Duration,
    /// How the wait is spread; [`Jitter::Full`] by default.
    pub jitter: Jitter,
}

/// How a wait is spread by chance.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum Jitter {
    /// Not at all. For tests, and where callers are spread by other means.
    None,
    /// Anywhere between nothing and the whole wait. The least load on the service for the same number of attempts (AWS,
    /// "Exponential backoff and jitter").
    #[default]
    Full,
    /// Half of the wait, and anywhere in the other half: never next to nothing.
    Equal,
    /// Anywhere between `base` and three times the wait before: grows by chance too, so that callers drift apart.
    /// The factor is not used.
    Decorrelated,
    /// The wait, give or take this share of it. From 0 to 1.
    Spread(f64),
}

impl Default for Backoff {
    fn default() -> Self {
        Self::exponential(Duration::from_millis(50))
    }
}

impl Backoff {
    /// Waits that double from `base` on, up to 5 s (or to `base`, if that is longer).
    pub const fn exponential(base: Duration) -> Self {
        const USUAL: Duration = Duration::from_secs(5);
        let at_most = if base.as_nanos() > USUAL.as_nanos() { base } else { USUAL };
        Self { base, factor: 2.0, at_most, jitter: Jitter::Full }
    }

    /// Waits that do not grow, spread by full jitter.
    pub const fn constant(wait: Duration) -> Self {
        Self { base: wait, factor: 1.0, at_most: wait, jitter: Jitter::Full }
    }

    /// The same, growing by `factor`.
    #[must_use]
    pub const fn factor(self, factor: f64) -> Self {
        Self { factor, ..self }
    }

    /// The same, up to `at_most`.
    #[must_use]
    pub const fn at_most(self, at_most: Duration) -> Self {
        Self { at_most, ..self }
    }

    /// The same, spread by `jitter`.
    #[must_use]
    pub const fn jitter(self, jitter: Jitter) -> Self {
        Self { jitter, ..self }
    }

    /// Whether these settings make sense.
    ///
    /// # Errors
    ///
    /// The first setting that is outside its range.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        check_duration("backoff.base", self.base)?;
        check("backoff.factor", self.factor, 1.0..=100.0, "between 1 and 100")?;
        check_duration("backoff.at_most", self.at_most)?;
        check("backoff.at_most", self.at_most, self.base.., "at least backoff.base")?;
        match self.jitter {
            Jitter::Spread(share) => check("backoff.jitter", share, 0.0..=1.0, "between 0 and 1"),
            Jitter::None | Jitter::Full | Jitter::Equal | Jitter::Decorrelated => Ok(()),
        }
    }

    /// The wait before the jitter; `nth` counts from 0.
    pub fn ceiling(&self, nth: u32) -> Duration {
        if nth == 0 {
            return self.base.min(self.at_most);
        }
        let nth = i32::try_from(nth).unwrap_or(i32::MAX);
        self.at_most_secs(self.base.as_secs_f64() * self.factor.powi(nth))
    }

    /// The `nth` wait, counted from 0. `previous` is the wait before it, if there was one; `random`, from 0 to below 1,
    /// is usually [`fastrand::f64()`](fastrand::f64).
    pub fn delay(&self, nth: u32, previous: Option<Duration>, random: f64) -> Duration {
        let ceiling = self.ceiling(nth);
        let secs = ceiling.as_secs_f64();
        match self.jitter {
            Jitter::None => ceiling,
            Jitter::Full => self.at_most_secs(secs * random),
            Jitter::Equal => self.at_most_secs(secs / 2.0 * (1.0 + random)),
            Jitter::Decorrelated => {
                let base = self.base.as_secs_f64();
                let upper = previous.unwrap_or(self.base).as_secs_f64() * 3.0;
                self.at_most_secs(base + (upper - base).max(0.0) * random)
            }
            Jitter::Spread(share) => self.at_most_secs(secs * (1.0 + share * (2.0 * random - 1.0))),
        }
    }

    /// One wait after another.
    pub fn delays(self) -> Delays {
        Delays { backoff: self, nth: 0, previous: None }
    }

    /// What a `Duration` can't hold is more than `at_most` as well.
    fn at_most_secs(&self, secs: f64) -> Duration {
        Duration::try_from_secs_f64(secs).map_or(self.at_most, |wait| wait.min(self.at_most))
    }
}

/// The waits of one call, one after another: [`Backoff::delays`].
#[derive(Debug, Clone, PartialEq)]
pub struct Delays {
    backoff: Backoff,
    nth: u32,
    previous: Option<Duration>,
}

impl Delays {
    /// The next wait. `random`, from 0 to below 1, is usually [`fastrand::f64()`](fastrand::f64).
    pub fn next(&mut self, random: f64) -> Duration {
        let delay = self.backoff.delay(self.nth, self.previous, random);
        self.nth = self.nth.saturating_add(1);
        self.previous = Some(delay);
        delay
    }

    /// Starts from the first wait again.
    pub fn reset(&mut self) {
        (self.nth, self.previous) = (0, None);
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn doubles_up_to_the_longest() {
        let backoff = Backoff::default().jitter(Jitter::None);
        let mut delays = backoff.delays();
        let waits: Vec<_> = (0..9).map(|_| delays.next(0.5)).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000].map(millis));
        delays.reset();
        assert_eq!(delays.next(0.5), millis(50));
    }

    #[test]
    fn each_jitter_spreads_as_it_says() {
        let wait = |jitter, previous, random| {
            Backoff::exponential(millis(100)).jitter(jitter).delay(1, previous, random).as_millis()
        };
        assert_eq!(wait(Jitter::Full, None, 0.0), 0);
        assert_eq!(wait(Jitter::Full, None, 0.75), 150);
        assert_eq!(wait(Jitter::Equal, None, 0.0), 100);
        assert_eq!(wait(Jitter::Equal, None, 0.5), 150);
        assert_eq!(wait(Jitter::Spread(0.2), None, 0.0), 160);
        assert_eq!(wait(Jitter::Spread(0.2), None, 0.75), 220);
        assert_eq!(wait(Jitter::Decorrelated, None, 0.5), 200);
        assert_eq!(wait(Jitter::Decorrelated, Some(millis(300)), 0.5), 500);
        assert_eq!(wait(Jitter::Decorrelated, Some(Duration::ZERO), 0.5), 100);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let good = Backoff::default();
        assert_eq!(good.validate(), Ok(()));
        for (bad, setting) in [
            (Backoff::exponential(Duration::ZERO), "backoff.base"),
            (Backoff::exponential(Duration::MAX), "backoff.base"),
            (good.factor(0.5), "backoff.factor"),
            (good.factor(f64::NAN), "backoff.factor"),
            (good.factor(f64::INFINITY), "backoff.factor"),
            (good.at_most(millis(10)), "backoff.at_most"),
            (good.at_most(Duration::MAX), "backoff.at_most"),
            (good.jitter(Jitter::Spread(1.5)), "backoff.jitter"),
            (good.jitter(Jitter::Spread(f64::NAN)), "backoff.jitter"),
        ] {
            assert_eq!(bad.validate().unwrap_err().setting(), setting, "{bad:?}");
        }
    }

    fn any_jitter() -> impl Strategy<Value = Jitter> {
        prop_oneof![
            Just(Jitter::None),
            Just(Jitter::Full),
            Just(Jitter::Equal),
            Just(Jitter::Decorrelated),
            (0.0..=1.0).prop_map(Jitter::Spread),
        ]
    }

    proptest! {
        #[test]
        fn waits_stay_within_bounds_and_never_overflow(
            base in 1_u64..=crate::config::LONGEST.as_nanos() as u64,
            longer in 0_u64..=crate::config::LONGEST.as_nanos() as u64,
            factor in 1.0..=100.0,
            jitter in any_jitter(),
            nth in any::<u32>(),
            previous in proptest::option::of(any::<u64>().prop_map(Duration::from_nanos)),
            random in 0.0..1.0,
        ) {
            let base = Duration::from_nanos(base);
            let at_most = (base + Duration::from_nanos(longer)).min(crate::config::LONGEST);
            let backoff = Backoff { base, factor, at_most, jitter };
            prop_assert_eq!(backoff.validate(), Ok(()));
            let ceiling = backoff.ceiling(nth);
            let delay = backoff.delay(nth, previous, random);
            // The arithmetic is in seconds of f64, which are good to a few nanoseconds in a year.
            let close = Duration::from_nanos(8);
            prop_assert!(ceiling <= at_most && ceiling + close >= base);
            prop_assert!(delay <= at_most);
            match jitter {
                Jitter::None => prop_assert_eq!(delay, ceiling),
                Jitter::Full => prop_assert!(delay <= ceiling + close),
                Jitter::Equal => prop_assert!(delay + close >= ceiling / 2 && delay <= ceiling + close),
                Jitter::Decorrelated => prop_assert!(delay + close >= base),
                Jitter::Spread(share) => {
                    prop_assert!(delay + close >= ceiling.mul_f64(1.0 - share));
                    prop_assert!(delay <= ceiling.mul_f64(1.0 + share) + close);
                }
            }
        }

        #[test]
        fn ceilings_never_shrink(base in 1_u64..1_000_000_000, factor in 1.0..=100.0, nth in 0_u32..1000) {
            let backoff = Backoff::exponential(Duration::from_nanos(base)).factor(factor);
            prop_assert!(backoff.ceiling(nth) <= backoff.ceiling(nth + 1));
        }
    }
}
