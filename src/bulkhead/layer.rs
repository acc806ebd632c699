//! The layer.

mod sorted;

use std::{fmt, time::Duration};

use tower_layer::Layer;

use crate::{
    bulkhead::{
        adaptive::Adaptive,
        config::{BulkheadConfig, WhenFull},
        event,
        handle::Bulkhead,
        service::BulkheadService,
        sort::Alike,
    },
    config::or_panic,
    name::Name,
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
