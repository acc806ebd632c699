//! What stands before the service: the layers, as a user would write them.

use std::time::Duration;

use buttress::{
    BoxError, BulkheadLayer, RetryLayer, TimeoutLayer,
    budget::Budget,
    bulkhead::{Adaptive, Bulkhead, QueueOrder},
    standard,
};
use tower::{Service, ServiceBuilder, util::BoxCloneService};

use crate::service::Backend;

/// How long a client waits for an answer, and how long an attempt may take.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// How long a client waits that tries three times.
pub const PATIENCE_IN_ALL: Duration = Duration::from_secs(3);
/// A little more than the service has workers.
pub const WELL_SET: usize = 50;
/// So many calls at once take longer than anybody waits.
pub const TOO_HIGH: usize = 500;

/// A service behind its layers.
#[derive(Debug)]
pub struct Stack {
    /// What clients call.
    pub service: BoxCloneService<(), (), BoxError>,
    /// The bulkhead among the layers, if there is one.
    pub bulkhead: Option<Bulkhead>,
}

/// Puts a service behind layers.
pub type Build = fn(Backend) -> Stack;

fn stack<S>(service: S, bulkhead: Option<Bulkhead>) -> Stack
where
    S: Service<(), Response = (), Error = BoxError, Future: Send> + Clone + Send + 'static,
{
    Stack { service: BoxCloneService::new(service), bulkhead }
}

fn limited(backend: Backend, set: impl FnOnce(BulkheadLayer) -> BulkheadLayer) -> Stack {
    let bulkhead = set(BulkheadLayer::new("bulkhead"));
    let handle = bulkhead.handle();
    // The client's deadline goes along, so that whoever is in the bulkhead learns that it has passed.
    let timeout = TimeoutLayer::new("deadline").within(PATIENCE);
    stack(ServiceBuilder::new().layer(bulkhead).layer(timeout).service(backend), Some(handle))
}

fn adaptive(backend: Backend, adaptive: Adaptive) -> Stack {
    limited(backend, |bulkhead| bulkhead.adaptive(adaptive.max(1000)))
}

fn retried(backend: Backend, budget: Budget) -> Stack {
    let retry = RetryLayer::new("retry").max_attempts(3).budget(budget).idempotent();
    let timeout = TimeoutLayer::new("attempt").within(PATIENCE);
    stack(ServiceBuilder::new().layer(retry).layer(timeout).service(backend), None)
}

/// Nothing.
pub fn none(backend: Backend) -> Stack {
    stack(backend, None)
}

/// A limit that fits.
pub fn well_set(backend: Backend) -> Stack {
    limited(backend, |bulkhead| bulkhead.max_concurrent(WELL_SET))
}

/// A limit that fits a service ten times as big.
pub fn too_high(backend: Backend) -> Stack {
    limited(backend, |bulkhead| bulkhead.max_concurrent(TOO_HIGH))
}

/// The adaptive limit as it comes, from the limit that comes with a bulkhead, which is too low.
pub fn correlation(backend: Backend) -> Stack {
    adaptive(backend, Adaptive::default())
}

/// The adaptive limit as it comes, from a limit that is far too high.
pub fn correlation_from_above(backend: Backend) -> Stack {
    limited(backend, |bulkhead| bulkhead.max_concurrent(TOO_HIGH).adaptive(Adaptive::default().max(1000)))
}

/// Additive increase, multiplicative decrease.
pub fn aimd(backend: Backend) -> Stack {
    adaptive(backend, Adaptive::aimd())
}

/// Vegas.
pub fn vegas(backend: Backend) -> Stack {
    adaptive(backend, Adaptive::vegas())
}

/// Gradient2.
pub fn gradient2(backend: Backend) -> Stack {
    adaptive(backend, Adaptive::gradient2())
}

/// A limit that fits, and a queue before it.
pub fn fifo(backend: Backend) -> Stack {
    queued(backend, QueueOrder::Fifo)
}

/// The same queue, served newest first while it stands.
pub fn adaptive_lifo(backend: Backend) -> Stack {
    queued(backend, QueueOrder::adaptive_lifo())
}

fn queued(backend: Backend, order: QueueOrder) -> Stack {
    limited(backend, |bulkhead| {
        bulkhead.max_concurrent(WELL_SET).max_wait(Duration::from_secs(10)).max_queue(2000).order(order)
    })
}

/// One attempt.
pub fn once(backend: Backend) -> Stack {
    stack(ServiceBuilder::new().layer(TimeoutLayer::new("attempt").within(PATIENCE)).service(backend), None)
}

/// Three attempts, come what may: the budget is one that never runs dry.
pub fn thrice(backend: Backend) -> Stack {
    retried(backend, Budget::share(10.0, 1_000_000))
}

/// Three attempts on the budget that comes with a retry.
pub fn thrice_on_a_budget(backend: Backend) -> Stack {
    retried(backend, Budget::default())
}

/// All five layers. Of the settings only the times are the client's, and the limit the service's.
pub fn standard(backend: Backend) -> Stack {
    let layer = standard::new("standard")
        .timeout(|timeout| timeout.within(PATIENCE_IN_ALL))
        .retry(RetryLayer::idempotent)
        .bulkhead(|bulkhead| bulkhead.max_concurrent(WELL_SET))
        .attempt_timeout(|timeout| timeout.within(PATIENCE));
    let bulkhead = layer.handles().bulkhead;
    stack(ServiceBuilder::new().layer(layer).service(backend), Some(bulkhead))
}
