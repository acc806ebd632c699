//! The setters by which calls are told apart, and who of them comes in first.

use super::BulkheadLayer;
use crate::{
    bulkhead::{
        config::{BulkheadConfig, Partition, Priorities, QueueOrder},
        sort::{ByPartition, ByPriority, Inherited},
    },
    name::Name,
    priority::Priority,
};

impl<P, K> BulkheadLayer<P, K> {
    /// Who of those that queue comes in next. By default who came first. See [`QueueOrder`].
    ///
    /// # Panics
    ///
    /// If target or interval make no sense, or with [`WhenFull::Pause`](crate::bulkhead::WhenFull::Pause).
    #[must_use]
    #[track_caller]
    pub fn order(self, order: QueueOrder) -> Self {
        self.set(|config| config.order = order)
    }

    /// Has calls that matter less refused first, and tells how much a call matters. See [`Priorities`].
    ///
    /// `priority` returns a [`Priority`], or an `Option` of one: without one, and with [`inherit_priority`], a call has
    /// the priority that its request carries (an outer layer's, or its caller's over the wire), or the task's, or is
    /// [`Critical`](Priority::Critical). In any case the request carries it on: in its extensions, in the header
    /// [`x-request-priority`](crate::priority::REQUEST_PRIORITY), and in the task.
    ///
    /// ```
    /// use axum::extract::Request;
    /// use buttress::{BulkheadLayer, Priority};
    ///
    /// let layer = BulkheadLayer::http("orders").priority(|request: &Request| match request.uri().path() {
    ///     "/checkout" => Some(Priority::CriticalPlus),
    ///     "/suggestions" => Some(Priority::SheddablePlus),
    ///     _ => None,
    /// });
    /// # drop(layer);
    /// ```
    ///
    /// [`inherit_priority`]: Self::inherit_priority
    ///
    /// # Panics
    ///
    /// With [`WhenFull::Pause`](crate::bulkhead::WhenFull::Pause), which waits before it knows the request.
    #[must_use]
    #[track_caller]
    pub fn priority<Req, F, R>(self, priority: F) -> BulkheadLayer<P, ByPriority<F, K>>
    where
        F: Fn(&Req) -> R,
        R: Into<Option<Priority>>,
    {
        self.set(with_priorities).sorted(|rest| ByPriority { priority, rest })
    }

    /// As [`priority`](Self::priority), by what the request carries or the task has.
    ///
    /// # Panics
    ///
    /// With [`WhenFull::Pause`](crate::bulkhead::WhenFull::Pause), which waits before it knows the request.
    #[must_use]
    #[track_caller]
    pub fn inherit_priority<Req>(self) -> BulkheadLayer<P, ByPriority<Inherited<Req>, K>> {
        self.set(with_priorities).sorted(|rest| ByPriority { priority: (|_| None) as Inherited<Req>, rest })
    }

    /// Which part of the limit calls of the lower classes may use. See [`Priorities`].
    ///
    /// # Panics
    ///
    /// If a part isn't above 0 and at most 1, or with [`WhenFull::Pause`](crate::bulkhead::WhenFull::Pause).
    #[must_use]
    #[track_caller]
    pub fn priorities(self, priorities: Priorities) -> Self {
        self.set(|config| config.priorities = Some(priorities))
    }

    /// Guarantees a part of the limit, 0 to 1, to the tenant of this name, and lends it out while it is idle. See
    /// [`Partition`].
    ///
    /// ```
    /// use axum::extract::Request;
    /// use buttress::BulkheadLayer;
    ///
    /// let layer = BulkheadLayer::http("search")
    ///     .max_concurrent(100)
    ///     .partition("shop", 0.5)
    ///     .partition("partners", 0.2)
    ///     .partition_by(|request: &Request| {
    ///         request.headers().get("x-tenant").and_then(|tenant| tenant.to_str().ok()).unwrap_or("default")
    ///     });
    /// assert_eq!(layer.handle().partitions()[1].guaranteed, 50);
    /// ```
    ///
    /// # Panics
    ///
    /// If the name is empty or there already, the part isn't between 0 and 1, all parts together are more than 1, there are
    /// more than 64, or with [`WhenFull::Pause`](crate::bulkhead::WhenFull::Pause).
    #[must_use]
    #[track_caller]
    pub fn partition(self, name: impl Into<Name>, share: f64) -> Self {
        let partition = Partition::new(name, share);
        self.set(|config| config.partitions.push(partition))
    }

    /// Tells whose a call is. A name that isn't among the [partitions](Self::partition) is the default one's, which has no
    /// share unless it was given one, and borrows.
    #[must_use]
    pub fn partition_by<Req, F>(self, name: F) -> BulkheadLayer<P, ByPartition<F, K>>
    where
        F: for<'a> Fn(&'a Req) -> &'a str,
    {
        self.sorted(|rest| ByPartition { name, rest })
    }

    fn sorted<L>(self, sort: impl FnOnce(K) -> L) -> BulkheadLayer<P, L> {
        BulkheadLayer { bulkhead: self.bulkhead, protocol: self.protocol, sort: sort(self.sort) }
    }
}

fn with_priorities(config: &mut BulkheadConfig) {
    config.priorities.get_or_insert_default();
}
