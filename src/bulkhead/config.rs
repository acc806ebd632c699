//! Settings, and the proof that they make sense.

mod order;
mod partition;
mod priorities;

use std::time::Duration;

pub use self::{order::QueueOrder, partition::Partition, priorities::Priorities};
use crate::{
    bulkhead::adaptive::Adaptive,
    config::{InvalidConfig, LONGEST, check, check_duration},
};

/// The settings of a bulkhead.
///
/// ```
/// use buttress::bulkhead::BulkheadConfig;
///
/// let mut config = BulkheadConfig::default();
/// config.max_concurrent = 64;
/// assert!(config.validate().is_ok());
///
/// config.max_concurrent = 0;
/// let error = config.validate().unwrap_err();
/// assert_eq!(error.to_string(), "invalid setting bulkhead.max_concurrent: 0 is not between 1 and 1000000");
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct BulkheadConfig {
    /// How many calls may be inside at once, each counted until its response body ends. 1 to 1,000,000, by default 25
    /// (resilience4j's).
    ///
    /// Raising it costs whatever the service behind spends on one more call at once. By Little's law a service of
    /// `r` calls a second that take `t` seconds each has `r * t` of them inside; leave room above that.
    pub max_concurrent: usize,
    /// How long a call may queue for a permit. Up to a year; by default zero: a full bulkhead refuses at once.
    ///
    /// Raising it costs latency just when the service is slow already, and the memory of the requests that wait. Goes
    /// for [`WhenFull::Reject`] only: a paused service waits for as long as its owner lets it. Waiting needs a tokio
    /// runtime with a timer.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::text::time"))]
    pub max_wait: Duration,
    /// How many calls may queue, or services be paused, at once. 1 to 1,000,000, by default 100 (resilience4j's
    /// `queueCapacity`). One more is refused at once.
    ///
    /// Raising it costs the memory of the requests that wait. A call at the end of a queue of `n` waits for
    /// `n / max_concurrent` calls' time, so that a queue of which the end can't be served within `max_wait` only delays
    /// the refusal.
    pub max_queue: usize,
    /// What becomes of a call that finds the bulkhead full. By default it is refused.
    pub when_full: WhenFull,
    /// Lets the limit find itself. By default none: it is `max_concurrent`. With it, `max_concurrent` is where the limit
    /// begins, as far as the adaptive bounds allow; setting another one later lets it begin anew.
    ///
    /// Costs two readings of the clock and a few uncontended atomic operations a call, and 2.3 KiB.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::text::or_off"))]
    pub adaptive: Option<Adaptive>,
    /// Who of those that queue comes in next. By default who came first.
    pub order: QueueOrder,
    /// Lets calls that matter less be refused first. By default none: all calls are alike.
    ///
    /// What a call's priority is, a layer is told by [`priority`](crate::BulkheadLayer::priority).
    #[cfg_attr(feature = "serde", serde(with = "crate::config::text::or_off"))]
    pub priorities: Option<Priorities>,
    /// Guarantees parts of the limit to tenants. By default none; at most 64.
    ///
    /// Whose a call is, a layer is told by [`partition_by`](crate::BulkheadLayer::partition_by).
    pub partitions: Vec<Partition>,
}

/// What becomes of a call that finds the bulkhead full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum WhenFull {
    /// The call is refused: at once, or when it has queued for `max_wait` in vain.
    #[default]
    Reject,
    /// The service is not ready (its `poll_ready` is pending) until it has a permit. For callers that can do something
    /// else meanwhile: a balancer that takes another endpoint, a consumer that stops fetching.
    ///
    /// Once `max_queue` services are paused, a further one reports ready, and its call is refused unless a permit has
    /// come free by then.
    Pause,
}

/// Far beyond any sensible setting, and below what the gate's word can count.
const MOST: usize = 1_000_000;

impl Default for BulkheadConfig {
    fn default() -> Self {
        Self {
            max_concurrent: 25,
            max_wait: Duration::ZERO,
            max_queue: 100,
            when_full: WhenFull::Reject,
            adaptive: None,
            order: QueueOrder::Fifo,
            priorities: None,
            partitions: Vec::new(),
        }
    }
}

impl BulkheadConfig {
    /// Whether the settings make sense.
    ///
    /// # Errors
    ///
    /// For the first setting out of its range, with its name, its value and the range.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        check("bulkhead.max_concurrent", self.max_concurrent, 1..=MOST, "between 1 and 1000000")?;
        check("bulkhead.max_wait", self.max_wait, ..=LONGEST, "at most a year")?;
        check(
            "bulkhead.max_queue",
            self.max_queue,
            1..=MOST,
            "between 1 and 1000000 (calls that shall not queue have a max_wait of zero)",
        )?;
        self.adaptive.as_ref().map_or(Ok(()), |adaptive| adaptive.validate(MOST))?;
        if let QueueOrder::AdaptiveLifo { target, interval } = self.order {
            check_duration("bulkhead.order.target", target)?;
            check(
                "bulkhead.order.interval",
                interval,
                target + Duration::from_nanos(1)..=LONGEST,
                "more than the target and at most a year",
            )?;
        }
        if let Some(Priorities { sheddable_plus, sheddable }) = self.priorities {
            let above_0 = f64::MIN_POSITIVE;
            check("bulkhead.priorities.sheddable_plus", sheddable_plus, above_0..=1.0, "above 0 and at most 1")?;
            let range = "above 0 and at most sheddable_plus";
            check("bulkhead.priorities.sheddable", sheddable, above_0..=sheddable_plus, range)?;
        }
        partition::validate(&self.partitions)?;
        if self.when_full == WhenFull::Pause && self.is_sorted() {
            let problem = "a service that pauses waits before it knows the request, so it can't go by order, priorities or \
                           partitions; it has to reject";
            return Err(InvalidConfig::new("bulkhead.when_full", problem));
        }
        Ok(())
    }

    /// Whether it isn't simply who came first that comes in next.
    pub(super) fn is_sorted(&self) -> bool {
        self.order != QueueOrder::Fifo || self.priorities.is_some() || !self.partitions.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut BulkheadConfig)) -> String {
        let mut config = BulkheadConfig::default();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_make_sense() {
        assert_eq!(BulkheadConfig::default().validate(), Ok(()));
    }

    #[test]
    fn nonsense_is_refused_with_the_settings_name_and_range() {
        assert_eq!(
            refused(|config| config.max_concurrent = 0),
            "invalid setting bulkhead.max_concurrent: 0 is not between 1 and 1000000"
        );
        assert_eq!(
            refused(|config| config.max_concurrent = usize::MAX),
            format!("invalid setting bulkhead.max_concurrent: {} is not between 1 and 1000000", usize::MAX)
        );
        assert!(refused(|config| config.max_queue = 0).starts_with("invalid setting bulkhead.max_queue: 0 is not"));
        assert!(refused(|config| config.max_wait = Duration::MAX).ends_with("is not at most a year"));
    }
}
