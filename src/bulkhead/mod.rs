//! Bounds how many calls a service has at once, so that one slow neighbour can't take everything down with it.
//!
//! # Why
//!
//! When a service slows down, its callers pile up: each holds a connection, memory and a task, and waits. Soon there is
//! nothing left for the calls that have nothing to do with it. A bulkhead gives each neighbour a compartment of its own:
//! at most [`max_concurrent`](BulkheadConfig::max_concurrent) calls are inside, the next is refused at once, and the
//! water stays where it came in. Around a server of one's own it does the same for whoever calls: rather some answers
//! in time than all of them late.
//!
//! A call is inside until its exchange has ended, which in HTTP and gRPC is when the response *body* has ended, failed or
//! been dropped: a download that streams for a minute counts for a minute.
//!
//! # When it is full
//!
//! | | a call that finds it full |
//! |---|---|
//! | as it comes | is refused at once: [`Reason::BulkheadFull`](crate::Reason::BulkheadFull) |
//! | [`max_wait`](BulkheadLayer::max_wait) | queues, first come first served, and is refused with [`WaitExpired`](crate::Reason::WaitExpired) when it has waited for so long, or at once with [`QueueFull`](crate::Reason::QueueFull) if [`max_queue`](BulkheadLayer::max_queue) others wait |
//! | [`when_full(Pause)`](WhenFull::Pause) | is not made: the service isn't ready until there is a permit, which is what a balancer or a consumer wants to know; once `max_queue` services are paused, a further one says that it is ready, and refuses its call with `QueueFull` |
//!
//! Nobody overtakes: while somebody waits, a permit that comes free is his. Who gives up, by time or because its future
//! or service was dropped, has left the queue at once.
//!
//! A call that queues never outlives its task's [deadline](crate::Deadline), which a timeout around it has set: then it leaves the queue at once, refused with
//! [`DeadlinePassed`](crate::Reason::DeadlinePassed), and isn't made even if a permit came at the last moment.
//!
//! A call queues in its *future*, with the instance of the inner service that was made ready for it; whatever that
//! instance has reserved stays reserved meanwhile. So put what reserves in `poll_ready`, such as tower's
//! `ConcurrencyLimit`, outside of a bulkhead that queues. A service that pauses asks for its permit first and the inner
//! service second; made ready and not called, it keeps its permit until it is dropped.
//!
//! # One service, many hosts
//!
//! A bulkhead before a client that talks to many hosts, or around a server that many tenants use, is full for all of them when
//! one hangs. [`keyed`](BulkheadLayer::keyed) makes it a bulkhead for each key that is found in the request, and bounds how
//! many it keeps; a key with calls is never forgotten, so that none has two limits. Where the tenants are few and known,
//! [`partition`](BulkheadLayer::partition) does more: their shares are guaranteed, lent while they are idle, and together
//! never more than one limit.
//!
//! ```
//! use buttress::BulkheadLayer;
//! use http::Request;
//!
//! fn tenant<B>(request: &Request<B>) -> u32 {
//!     let header = request.headers().get("x-tenant").and_then(|id| id.to_str().ok());
//!     header.and_then(|id| id.parse().ok()).unwrap_or(0)
//! }
//!
//! let layer = BulkheadLayer::http("reports").max_concurrent(4).keyed(tenant::<String>).max_keys(10_000);
//! let bulkheads = layer.handle();
//! assert!(bulkheads.get(&7).is_none(), "nobody has called yet");
//! ```
//!
//! # What else there is to it
//!
//! A plain bulkhead is one word and a queue. What follows costs only who uses it:
//!
//! - [`adaptive`](BulkheadLayer::adaptive): the limit finds itself, from latency, throughput and drops.
//! - [`order`](BulkheadLayer::order): a queue that stands is served newest first, and who has waited too long is refused.
//! - [`priority`](BulkheadLayer::priority): four classes. Those that matter less use only part of the limit, wait longer,
//!   and make room in a full queue; the class goes along with the request, and on to the services behind.
//! - [`partition`](BulkheadLayer::partition): tenants have guaranteed shares, and borrow what is idle.
//!
//! The last three need to look at more than a word, so calls go by a lock; each works without the others and with them. A
//! call comes in if there is room by the limit *and* for its class *and* for its tenant; of those that wait and may come
//! in, the highest class is first. A service that [pauses](WhenFull::Pause) waits before it knows the request, and can't
//! have them.
//!
//! # How it differs from its neighbours
//!
//! - tower's `ConcurrencyLimitLayer` has a limit for *each* service it makes; with `axum::serve`, which applies a
//!   router's layers anew for every connection, that is no limit at all. Here the limit is in the layer. It also gives
//!   its permit back with the response's head.
//! - tower's `LoadShed` refuses whenever the inner service is not ready. A full bulkhead does by itself, without
//!   another layer, with an answer that says so.
//! - A circuit breaker asks whether the service works, a bulkhead how much of it is in use. A rate limit counts calls a
//!   second however long they take; a bulkhead's calls come the faster the shorter they are.
//! - A timeout bounds how long a permit can be held. Without one inside, a service that hangs fills its bulkhead for good.
//!
//! # Examples
//!
//! Around anything:
//!
//! ```
//! use buttress::{BulkheadLayer, BoxError};
//! use tower::{Service, ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let mut lookup = ServiceBuilder::new()
//!     .layer(BulkheadLayer::new("lookup"))
//!     .service_fn(|id: u64| async move { Ok::<_, BoxError>(format!("customer {id}")) });
//!
//! assert_eq!(lookup.ready().await?.call(7).await?, "customer 7");
//! # Ok(())
//! # }
//! ```
//!
//! Around an axum router, with a short queue, watched and changed while it runs:
//!
//! ```
//! use std::time::Duration;
//! use axum::{Router, routing::get};
//! use buttress::BulkheadLayer;
//!
//! let bulkhead = BulkheadLayer::http("orders")
//!     .max_concurrent(64)
//!     .max_wait(Duration::from_millis(50))
//!     .max_queue(128);
//! let handle = bulkhead.handle();
//! let app: Router = Router::new().route("/orders", get(|| async { "none" })).layer(bulkhead);
//!
//! assert_eq!(handle.snapshot().limit, 64);
//! let mut config = handle.config();
//! config.max_concurrent = 32;
//! handle.reconfigure(config).unwrap();
//! assert_eq!(handle.snapshot().limit, 32);
//! # drop(app);
//! ```
//!
//! Around a server that several tenants use, and that is to stay useful when they want more than it can do:
//!
//! ```
//! use std::time::Duration;
//! use axum::{Router, extract::Request, routing::get};
//! use buttress::{BulkheadLayer, Priority, bulkhead::{Adaptive, QueueOrder}};
//!
//! let bulkhead = BulkheadLayer::http("search")
//!     .adaptive(Adaptive::default().max(500))
//!     .max_wait(Duration::from_secs(1))
//!     .order(QueueOrder::adaptive_lifo())
//!     .priority(|request: &Request| (request.uri().path() == "/suggest").then_some(Priority::Sheddable))
//!     .partition("shop", 0.5)
//!     .partition_by(|request: &Request| request.uri().host().unwrap_or_default());
//! let app: Router = Router::new().route("/search", get(|| async { "none" })).layer(bulkhead);
//! # drop(app);
//! ```
//!
//! Without tower, a [`Bulkhead`] gives its permits to whoever asks.

mod adaptive;
mod config;
mod event;
pub mod future;
mod handle;
mod keyed;
mod layer;
mod meter;
mod permit;
mod service;
mod settings;
mod snapshot;
mod sort;
mod stamp;
mod state;
mod wait;

pub use self::{
    adaptive::{Adaptive, Aimd, Algorithm, Correlation, Gradient2, Vegas},
    config::{BulkheadConfig, Partition, Priorities, QueueOrder, WhenFull},
    handle::Bulkhead,
    keyed::{
        AnyKeyedBulkhead, KeyedBulkhead, KeyedBulkheadConfig, KeyedBulkheadLayer, KeyedBulkheadService,
        KeyedBulkheadSnapshot,
    },
    layer::BulkheadLayer,
    permit::Permit,
    service::BulkheadService,
    snapshot::{BulkheadSnapshot, PartitionSnapshot, Rejections},
    sort::{Alike, ByPartition, ByPriority, Caller, Inherited, Scope, Sort},
};
pub use crate::keyed::Key;

/// What this policy is called in rejections, events and metrics.
const POLICY: &str = "bulkhead";
