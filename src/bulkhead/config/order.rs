//! Who comes in next.

use std::time::Duration;

/// Who of those that queue comes in next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum QueueOrder {
    /// Who came first.
    #[default]
    Fifo,
    /// Who came first as long as the queue is short-lived; who came last while it stands, and whoever has waited for more
    /// than twice the `target` is refused. For servers under overload: first come first served, everybody would wait for
    /// so long that nobody cares for the answer any more (adaptive LIFO and controlled delay: "Fail at Scale", ACM Queue
    /// 2015; folly's `Codel`).
    ///
    /// A queue stands if for a whole `interval` somebody had always waited for more than the `target`. A `max_wait` is
    /// needed for calls to queue at all, and still holds.
    AdaptiveLifo {
        /// The longest wait that is still no overload. More than zero, by default 5 ms. Raising it costs latency under
        /// overload.
        #[cfg_attr(feature = "serde", serde(with = "crate::config::text::time", default = "codel::target"))]
        target: Duration,
        /// For how long a burst may last. More than `target` and at most a year, by default 100 ms. Raising it costs
        /// time until an overload is seen.
        #[cfg_attr(feature = "serde", serde(with = "crate::config::text::time", default = "codel::interval"))]
        interval: Duration,
    },
}

impl QueueOrder {
    /// [`AdaptiveLifo`](Self::AdaptiveLifo) with a target of 5 ms and an interval of 100 ms (folly's).
    pub const fn adaptive_lifo() -> Self {
        Self::AdaptiveLifo { target: codel::target(), interval: codel::interval() }
    }
}

/// What the controlled delay is by default, for code and for files.
mod codel {
    use super::Duration;

    pub(super) const fn target() -> Duration {
        Duration::from_millis(5)
    }

    pub(super) const fn interval() -> Duration {
        Duration::from_millis(100)
    }
}
