//! What time it is: tokio's clock, or what it would say, for a third of the price.

use std::time::Duration;

use tokio::time::Instant;

#[cfg(feature = "quanta")]
mod counter;

/// Now, by tokio's clock.
///
/// With the feature `quanta`, and where nobody can pause tokio's clock, it is what that clock would say, give or take a
/// few microseconds; otherwise it is what it says.
#[inline]
pub(crate) fn now() -> Instant {
    #[cfg(feature = "quanta")]
    if !pausable::PAUSABLE {
        return counter::now();
    }
    Instant::now()
}

/// What tells the time: [`Real`], or whatever a test has.
pub(crate) trait Clock {
    fn now(&self) -> Instant;

    /// How many nanoseconds have passed since then.
    #[inline]
    fn since(&self, epoch: Epoch) -> u64 {
        epoch.nanos(self.now())
    }
}

/// Of a policy at work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Real;

/// When a policy was made, from which its times are counted: one number is compared and kept for less than an `Instant`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Epoch {
    at: Instant,
    /// The same by the counter.
    #[cfg(feature = "quanta")]
    count: u64,
}

impl<F: Fn() -> Instant> Clock for F {
    fn now(&self) -> Instant {
        self()
    }
}

impl Clock for Real {
    #[inline]
    fn now(&self) -> Instant {
        now()
    }

    #[inline]
    fn since(&self, epoch: Epoch) -> u64 {
        #[cfg(feature = "quanta")]
        if !pausable::PAUSABLE {
            return counter::nanos().saturating_sub(epoch.count);
        }
        epoch.nanos(Instant::now())
    }
}

impl Epoch {
    pub(crate) fn new(at: Instant) -> Self {
        Self {
            at,
            #[cfg(feature = "quanta")]
            count: counter::nanos_at(at),
        }
    }

    /// When so many nanoseconds have passed.
    pub(crate) fn after(self, nanos: u64) -> Instant {
        self.at + Duration::from_nanos(nanos)
    }

    /// How many nanoseconds lie between it and `at`.
    #[inline]
    pub(crate) fn nanos(self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.at);
        since.as_secs() * 1_000_000_000 + u64::from(since.subsec_nanos())
    }
}

/// Makes ready what a reading needs, so that no call has to wait for it.
pub(crate) fn prepare() {
    now();
}

/// Whether tokio was built with its feature `test-util`. No feature of ours can tell, for any crate of the program may
/// have asked for it; but only then is there a `tokio::time::pause`.
#[cfg(feature = "quanta")]
mod pausable {
    pub(super) const PAUSABLE: bool = {
        // An inner glob goes before an outer item, so this is tokio's `pause` where there is one, and ours where not.
        #[allow(unused_imports, reason = "without test-util nothing of it is used")]
        use tokio::time::*;
        answer_of(pause)
    };

    struct Never;

    #[allow(dead_code, reason = "with test-util it is tokio's that is used")]
    fn pause() -> Never {
        Never
    }

    trait Answer {
        const ANSWER: bool;
    }

    impl Answer for () {
        const ANSWER: bool = true;
    }

    impl Answer for Never {
        const ANSWER: bool = false;
    }

    const fn answer_of<T: Answer>(_pause: fn() -> T) -> bool {
        T::ANSWER
    }
}

#[cfg(all(test, feature = "quanta", not(buttress_loom)))]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_can_be_paused_is_asked_itself() {
        const { assert!(pausable::PAUSABLE) };
        let began = now();
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(now() - began, Duration::from_secs(60));
    }
}
