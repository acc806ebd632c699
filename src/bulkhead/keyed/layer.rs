//! The layer: a bulkhead a key, what the key of a request is, and the protocol it is used in.

use std::fmt;

use tower_layer::Layer;

use super::{config::KeyedBulkheadConfig, policy::KeyedBulkhead, service::KeyedBulkheadService};
use crate::{
    bulkhead::{layer::BulkheadLayer, sort::Alike},
    config::or_panic,
    keyed::Key,
    protocol::Plain,
};

/// Puts a [bulkhead](crate::bulkhead) for each key around a service. Made by [`BulkheadLayer::keyed`].
///
/// The layer *is* its bulkheads: all its clones, and all the services it makes, share them.
#[derive(Clone)]
pub struct KeyedBulkheadLayer<K, F, P = Plain, O = Alike> {
    bulkheads: KeyedBulkhead<K>,
    key: F,
    protocol: P,
    sort: O,
}

impl<P, O> BulkheadLayer<P, O> {
    /// A bulkhead for each key, with this layer's settings: so that one host that hangs, or one tenant that sends too much,
    /// fills its own limit, and not everybody's.
    ///
    /// At most [1024](KeyedBulkheadLayer::max_keys) keys are kept, and a key with calls isn't forgotten; see
    /// [`KeyedBulkhead`] for what happens when all have calls. The service is ready when the inner one is.
    ///
    /// What was set so far, an adaptive limit, priorities and partitions included, becomes the template of all keys'
    /// bulkheads: each key then has partitions of its own. This layer's own bulkhead lets no call through any more, so a
    /// [`handle`](Self::handle) from before watches and steers nothing; the new layer has one.
    ///
    /// ```
    /// use buttress::BulkheadLayer;
    /// use http::{Request, uri::Authority};
    ///
    /// fn host<B>(request: &Request<B>) -> Option<Authority> {
    ///     request.uri().authority().cloned()
    /// }
    ///
    /// let layer = BulkheadLayer::http("partners").max_concurrent(8).keyed(host::<String>).max_keys(100);
    /// println!("{} hosts have as many calls as they may", layer.handle().snapshot().full);
    /// ```
    ///
    /// # Panics
    ///
    /// If it was set to [pause](crate::bulkhead::WhenFull::Pause): readiness is asked for before the key is known.
    #[must_use]
    #[track_caller]
    pub fn keyed<Req: ?Sized, K, F>(self, key: F) -> KeyedBulkheadLayer<K, F, P, O>
    where
        K: Key,
        F: Fn(&Req) -> K,
    {
        let (bulkhead, protocol, sort) = self.into_parts();
        let config = KeyedBulkheadConfig { each: bulkhead.config(), ..KeyedBulkheadConfig::default() };
        let bulkheads = or_panic(KeyedBulkhead::with_config(bulkhead.name().clone(), config));
        KeyedBulkheadLayer { bulkheads, key, protocol, sort }
    }
}

impl<K: Key, F, P> KeyedBulkheadLayer<K, F, P> {
    /// A layer of these bulkheads, which may have other layers too. `key` says whose call a request is.
    pub const fn from_policy(bulkheads: KeyedBulkhead<K>, key: F, protocol: P) -> Self {
        Self { bulkheads, key, protocol, sort: Alike }
    }
}

impl<K: Key, F, P, O> KeyedBulkheadLayer<K, F, P, O> {
    /// The bulkheads, to watch and to steer.
    pub fn handle(&self) -> KeyedBulkhead<K> {
        self.bulkheads.clone()
    }

    /// For how many keys a bulkhead is kept. By default 1024. See [`KeyedBulkheadConfig::max_keys`].
    ///
    /// # Panics
    ///
    /// If it is zero or more than 65,536.
    #[must_use]
    #[track_caller]
    pub fn max_keys(self, max_keys: usize) -> Self {
        let config = KeyedBulkheadConfig { max_keys, ..self.bulkheads.config() };
        or_panic(config.validate().and_then(|()| self.bulkheads.shared.apply(config)));
        self
    }
}

impl<S, K: Key, F: Clone, P: Clone, O: Clone> Layer<S> for KeyedBulkheadLayer<K, F, P, O> {
    type Service = KeyedBulkheadService<S, K, F, P, O>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { bulkheads, key, protocol, sort } = self.clone();
        KeyedBulkheadService::new(inner, bulkheads, key, protocol, sort)
    }
}

/// By hand, because a function has no `Debug`.
impl<K: Key, F, P: fmt::Debug, O> fmt::Debug for KeyedBulkheadLayer<K, F, P, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bulkheads, protocol, .. } = self;
        let mut debug = f.debug_struct("KeyedBulkheadLayer");
        debug.field("bulkheads", bulkheads).field("protocol", protocol).finish_non_exhaustive()
    }
}
