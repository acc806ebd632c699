//! Bounds how many calls a service gets in a time, so that nobody gets more than is fair or can be borne.
//!
//! # Why
//!
//! An API that others sell by the call, a database that stands a thousand writes a second, a partner who was promised a
//! hundred a minute and not a thousand: some limits are not of how much goes on at once, but of how often something is
//! asked. Around a client, a rate limit keeps to what the other side allows, without being told off for it; around a
//! server, it keeps one loop gone wild from taking what is there for all.
//!
//! # How it counts
//!
//! By the generic cell rate algorithm: a bucket of [`burst`](RateLimitConfig::burst) tokens that fills at a steady
//! pace, [`limit`](RateLimitConfig::limit) in each [`per`](RateLimitConfig::per), and each call takes one (or as many
//! as it [weighs](RateLimitLayer::weigh)). In any time `t`, no more than `burst` and what is earned in `t` come
//! through. There is no window whose edge two bursts could meet at, nothing is remembered of single calls, and nothing
//! runs in the background: the whole state is one word, the point in time at which the bucket will be full again.
//!
//! A call counts when it is made, whether it succeeds, fails or is dropped; nothing is given back, for the other side
//! has had it. One that waits for its turn counts when its turn comes.
//!
//! # When it comes too soon
//!
//! It is refused at once, with [`Reason::RateLimited`](crate::Reason::RateLimited), and told when its turn would be:
//!
//! | | the refusal |
//! |---|---|
//! | plain | a [`Rejection`](crate::Rejection) with its [`retry_after`](crate::Rejection::retry_after) |
//! | HTTP | a 429 with `Retry-After`, `RateLimit-Policy: "name";q=100;w=60` and `RateLimit: "name";r=0;t=12` (draft-ietf-httpapi-ratelimit-headers-10) |
//! | gRPC | `RESOURCE_EXHAUSTED` with `grpc-retry-pushback-ms` |
//!
//! Or, with [`max_wait`](RateLimitLayer::max_wait), it waits for its turn, in its future, first come first served. It
//! is known beforehand when that will be: who would have to wait for longer than it may, or until the current
//! [`Deadline`](crate::Deadline) or beyond, or finds [`max_queue`](RateLimitLayer::max_queue) others waiting, is
//! refused at once. Who gives up while it waits takes nothing along, and all behind it move up.
//!
//! What waits has the instance of the inner service that was made ready for it; whatever that has reserved stays
//! reserved meanwhile. So put what reserves in `poll_ready`, such as tower's `ConcurrencyLimit`, outside of a limit
//! with a queue.
//!
//! # A limit for each
//!
//! One limit for all callers lets the loudest use it up. [`keyed`](RateLimitLayer::keyed) makes one for each key that
//! is found in the request, a tenant or an address, and bounds how many it keeps.
//!
//! # How it differs from its neighbours
//!
//! - tower's `RateLimitLayer` has a limit for *each* service it makes, and its service isn't `Clone`, so that it only
//!   goes behind a buffer; with `axum::serve`, which applies a router's layers anew for every connection, that is no
//!   limit at all. It lets a whole window's calls through at the window's edge, and pauses instead of refusing.
//! - A bulkhead limits how many calls run at once, however many that is a second. To protect a service that
//!   gets slow, take that one; a rate limit doesn't notice.
//! - A circuit breaker refuses because of what the service answered; a rate limit knows nothing of answers.
//!
//! # Examples
//!
//! Around anything, and waiting for up to a second:
//!
//! ```
//! use std::time::Duration;
//! use buttress::{BoxError, RateLimitLayer};
//! use tower::{Service, ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let second = Duration::from_secs(1);
//! let mut geocode = ServiceBuilder::new()
//!     .layer(RateLimitLayer::new("geocode").limit(50, second).burst(5).max_wait(second))
//!     .service_fn(|place: &'static str| async move { Ok::<_, BoxError>(place.len()) });
//!
//! assert_eq!(geocode.ready().await?.call("Vienna").await?, 6);
//! # Ok(())
//! # }
//! ```
//!
//! Around an axum router, where uploads count for more; watched, and changed while it runs:
//!
//! ```
//! use std::time::Duration;
//! use axum::{Router, extract::Request, routing::get};
//! use buttress::RateLimitLayer;
//! use http::Method;
//!
//! let limit = RateLimitLayer::http("api")
//!     .limit(600, Duration::from_secs(60))
//!     .announce()
//!     .weigh(|request: &Request| if request.method() == Method::GET { 1 } else { 10 });
//! let handle = limit.handle();
//! let app: Router = Router::new().route("/orders", get(|| async { "none" })).layer(limit);
//!
//! assert_eq!(handle.snapshot().available, 600);
//! let mut config = handle.config();
//! config.limit = 300;
//! handle.reconfigure(config).unwrap();
//! assert_eq!(handle.snapshot().available, 300);
//! # drop(app);
//! ```
//!
//! Without tower, a [`RateLimit`] lets through whoever asks.

mod announce;
mod config;
mod event;
mod fields;
pub mod future;
mod handle;
mod keyed;
mod layer;
mod meter;
mod queue;
mod service;
mod snapshot;
mod state;
mod wait;
mod weigh;

pub use self::{
    announce::Announce,
    config::RateLimitConfig,
    handle::RateLimit,
    keyed::{KeyedRateLimit, KeyedRateLimitConfig, KeyedRateLimitLayer, KeyedRateLimitService, KeyedRateLimitSnapshot},
    layer::RateLimitLayer,
    service::RateLimitService,
    snapshot::RateLimitSnapshot,
    weigh::{One, Weigh},
};
pub use crate::keyed::Key;
