//! The tower layer.

use std::time::Duration;

use tower_layer::Layer;

use crate::{
    config::or_panic,
    name::Name,
    protocol::{Grpc, Http, Plain},
    timeout::{Timeout, TimeoutConfig, TimeoutService},
};

/// Gives every call of a service a deadline. See the [module](crate::timeout).
///
/// All services it makes, and all its clones, share the one policy that [`handle`](Self::handle) gives.
#[derive(Debug, Clone)]
pub struct TimeoutLayer<P = Plain> {
    policy: Timeout,
    protocol: P,
}

impl TimeoutLayer {
    /// For any service. The answer to a call whose time is up is an error, [`Elapsed`](crate::Elapsed).
    ///
    /// # Panics
    ///
    /// If the name is empty.
    pub fn new(name: impl Into<Name>) -> Self {
        Self::from_policy(Timeout::new(name), Plain::default())
    }

    /// For HTTP services. The answer to a call whose time is up is a 504.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    pub fn http(name: impl Into<Name>) -> TimeoutLayer<Http> {
        TimeoutLayer::from_policy(Timeout::new(name), Http::default())
    }

    /// For gRPC services. The answer to a call whose time is up is a `DEADLINE_EXCEEDED`.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    pub fn grpc(name: impl Into<Name>) -> TimeoutLayer<Grpc> {
        TimeoutLayer::from_policy(Timeout::new(name), Grpc::default())
    }
}

impl<P> TimeoutLayer<P> {
    /// Guards by a policy made elsewhere.
    pub const fn from_policy(policy: Timeout, protocol: P) -> Self {
        Self { policy, protocol }
    }

    /// Sets [`within`](TimeoutConfig::within): how long an exchange may take, 5 seconds by default.
    ///
    /// # Panics
    ///
    /// If it is zero or more than a year.
    #[must_use]
    #[track_caller]
    pub fn within(self, within: Duration) -> Self {
        or_panic(self.policy.reconfigure(TimeoutConfig { within }));
        self
    }

    /// The policy, to be watched and steered.
    pub fn handle(&self) -> Timeout {
        self.policy.clone()
    }
}

impl<S, P: Clone> Layer<S> for TimeoutLayer<P> {
    type Service = TimeoutService<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        TimeoutService::new(inner, self.policy.clone(), self.protocol.clone())
    }
}
