//! The layer.

use std::{fmt, time::Duration};

use tower_layer::Layer;

use crate::{
    bulkhead::{
        adaptive::Adaptive,
        config::{BulkheadConfig, Partition, Priorities, QueueOrder, WhenFull},
        event,
        handle::Bulkhead,
        service::BulkheadService,
        sort::{Alike, ByPartition, ByPriority, Inherited},
    },
    config::or_panic,
    name::Name,
    priority::Priority,
    protocol::{Grpc, Http, Plain},
};

/// Bounds how many calls a service has at once. See the [module](crate::bulkhead).
///
/// The bulkhead is in the layer: whatever this layer and its clones are applied to shares one limit.
///
/// `K` is how it tells calls apart: not at all, [by priority](Self::priority), [by partition](Self::partition_by), or both.
#[derive(Clone)]
pub struct BulkheadLayer<P = Plain, K = Alike> {
    bulkhead: Bulkhead,
    protocol: P,
    sort: K,
}

impl BulkheadLayer {
    /// A bulkhead for any service; a call ends with its result.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn new(name: impl Into<Name>) -> Self {
        Self::from_policy(Bulkhead::new(name), Plain::default())
    }

    /// A bulkhead for HTTP; a call ends with the response body, and a refusal is a 503.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn http(name: impl Into<Name>) -> BulkheadLayer<Http> {
        BulkheadLayer::from_policy(Bulkhead::new(name), Http::default())
    }

    /// A bulkhead for gRPC; a call ends with its trailers, and a refusal is a `RESOURCE_EXHAUSTED`.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn grpc(name: impl Into<Name>) -> BulkheadLayer<Grpc> {
        BulkheadLayer::from_policy(Bulkhead::new(name), Grpc::default())
    }
}

impl<P> BulkheadLayer<P> {
    /// A layer for a bulkhead that exists already, perhaps one with [settings](Bulkhead::with_config) from a file.
    pub fn from_policy(bulkhead: Bulkhead, protocol: P) -> Self {
        Self { bulkhead, protocol, sort: Alike }
    }
}

impl<P, K> BulkheadLayer<P, K> {
    /// How many calls may be inside at once, each counted until its response body ends. 1 to 1,000,000, by default 25.
    /// See [`BulkheadConfig::max_concurrent`].
    ///
    /// # Panics
    ///
    /// If it is out of this range.
    #[must_use]
    #[track_caller]
    pub fn max_concurrent(self, calls: usize) -> Self {
        self.set(|config| config.max_concurrent = calls)
    }

    /// How long a call may queue for a permit. By default zero: a full bulkhead refuses at once. See
    /// [`BulkheadConfig::max_wait`].
    ///
    /// # Panics
    ///
    /// If it is more than a year.
    #[must_use]
    #[track_caller]
    pub fn max_wait(self, longest: Duration) -> Self {
        self.set(|config| config.max_wait = longest)
    }

    /// How many calls may queue, or services be paused, at once. 1 to 1,000,000, by default 100. See
    /// [`BulkheadConfig::max_queue`].
    ///
    /// # Panics
    ///
    /// If it is out of this range.
    #[must_use]
    #[track_caller]
    pub fn max_queue(self, calls: usize) -> Self {
        self.set(|config| config.max_queue = calls)
    }

    /// What becomes of a call that finds the bulkhead full. By default it is refused.
    #[must_use]
    #[track_caller]
    pub fn when_full(self, when_full: WhenFull) -> Self {
        self.set(|config| config.when_full = when_full)
    }

    /// Lets the limit find itself, beginning at [`max_concurrent`](Self::max_concurrent). By default it doesn't. See
    /// [`Adaptive`].
    ///
    /// # Panics
    ///
    /// If the settings make no sense.
    #[must_use]
    #[track_caller]
    pub fn adaptive(self, adaptive: Adaptive) -> Self {
        self.set(|config| config.adaptive = Some(adaptive))
    }

    /// Who of those that queue comes in next. By default who came first. See [`QueueOrder`].
    ///
    /// # Panics
    ///
    /// If target or interval make no sense, or with [`WhenFull::Pause`].
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
    /// With [`WhenFull::Pause`], which waits before it knows the request.
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
    /// With [`WhenFull::Pause`], which waits before it knows the request.
    #[must_use]
    #[track_caller]
    pub fn inherit_priority<Req>(self) -> BulkheadLayer<P, ByPriority<Inherited<Req>, K>> {
        self.set(with_priorities).sorted(|rest| ByPriority { priority: (|_| None) as Inherited<Req>, rest })
    }

    /// Which part of the limit calls of the lower classes may use. See [`Priorities`].
    ///
    /// # Panics
    ///
    /// If a part isn't above 0 and at most 1, or with [`WhenFull::Pause`].
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
    /// more than 64, or with [`WhenFull::Pause`].
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

    /// The bulkhead, to be watched and steered.
    pub fn handle(&self) -> Bulkhead {
        self.bulkhead.clone()
    }

    pub(super) fn into_parts(self) -> (Bulkhead, P, K) {
        (self.bulkhead, self.protocol, self.sort)
    }

    #[track_caller]
    fn set(self, change: impl FnOnce(&mut BulkheadConfig)) -> Self {
        let before = or_panic(self.bulkhead.change(change));
        // A bulkhead that nobody else has yet is being set up, which is no event.
        if self.bulkhead.is_shared() {
            event::reconfigured(self.bulkhead.name(), &before, &self.bulkhead.config());
        }
        self
    }
}

fn with_priorities(config: &mut BulkheadConfig) {
    config.priorities.get_or_insert_default();
}

impl<S, P: Clone, K: Clone> Layer<S> for BulkheadLayer<P, K> {
    type Service = BulkheadService<S, P, K>;

    fn layer(&self, inner: S) -> Self::Service {
        BulkheadService::new(inner, self.bulkhead.clone(), self.protocol.clone(), self.sort.clone())
    }
}

impl<P, K> fmt::Debug for BulkheadLayer<P, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BulkheadLayer").field(&self.bulkhead).finish()
    }
}
