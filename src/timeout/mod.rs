//! Gives every exchange a deadline, and hands the deadline on.
//!
//! # Why a deadline and not just a timeout
//!
//! A timeout is a length of time that every tier picks for itself. Let the edge wait one second for `orders`, `orders`
//! two seconds for `payments` and `payments` five for its database: when the database hangs, the customer has gone
//! after one second, and two tiers go on working for nobody. A *deadline* is a point in time that the first one sets
//! and all others inherit. So a [`TimeoutLayer`] reads the deadline a call came with, takes the earlier of that and its
//! own, and passes it on:
//!
//! | where | read | passed on |
//! |---|---|---|
//! | in the task, [`Deadline::current`] | always | always, while the inner service runs |
//! | in the request's extensions, [`Deadline`] | HTTP, gRPC | HTTP, gRPC |
//! | on the wire, in HTTP | `x-request-timeout-ms`, [`REQUEST_TIMEOUT_MS`] | what is left, rounded up |
//! | on the wire, in gRPC | `grpc-timeout`, [`GRPC_TIMEOUT`] | what is left, rounded up |
//!
//! One layer does it all, inbound and outbound. With one around a server's routes and one around each of its clients,
//! a handler hands the deadline of its caller on without knowing of it. A task that a handler spawns is on its own,
//! unless the deadline is [carried](Deadline::carry) into it.
//!
//! An inherited deadline only ever shortens, so a header from the outside grants nobody more time than `within` does.
//! A header that can't be read, such as a `grpc-timeout` of nine digits, is ignored, as if it weren't there; an event
//! at debug level says so. More than a year reads as a year.
//!
//! # What happens when the time is up
//!
//! | | [`TimeoutLayer::new`] | [`TimeoutLayer::http`] | [`TimeoutLayer::grpc`] |
//! |---|---|---|---|
//! | before the call: it isn't made | error [`Rejection`] | 504 | `DEADLINE_EXCEEDED` |
//! | after the call | error [`Elapsed`] | 504 | `DEADLINE_EXCEEDED` |
//! | in the midst of the response body | | the body breaks off, with [`Elapsed`] as the error | trailers of a `DEADLINE_EXCEEDED` |
//!
//! A [`Rejection`] says that nothing was sent, an [`Elapsed`] that it may have been; a response carries either in its
//! extensions. What was running is dropped at once, at whatever `.await` it stands. An answer that is there is given,
//! even if the time is up as well. The gRPC flavour also answers `DEADLINE_EXCEEDED` to a transport error that comes
//! once the time is up, for a tonic channel watches the header's deadline too and calls its end `CANCELLED`.
//!
//! # Two of them
//!
//! A total timeout outside a retry and an attempt timeout inside it are two layers. The inner one inherits the total
//! and never goes beyond it; the retry between them sees the total as [`Deadline::current`] and doesn't wait for an
//! attempt that could not be made in time. When the total runs out during an attempt, the inner layer answers and counts
//! it, so that a circuit breaker between the two learns that the service was slow;
//! [`Elapsed::is_inherited`] then says that the time was set further out.
//!
//! # Differences from `tower` and `tower-http`
//!
//! `tower::timeout` and `tower_http::timeout` end with the head of the response (the latter has a second layer, which
//! limits the pause between two frames of a body); neither reads a deadline nor hands one on.
//!
//! # Examples
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), buttress::BoxError> {
//! use buttress::{BoxError, Elapsed, TimeoutLayer};
//! use tower::{Service, ServiceBuilder, ServiceExt};
//!
//! async fn look_up(_key: u32) -> Result<String, BoxError> {
//!     std::future::pending().await
//! }
//!
//! let mut lookup = ServiceBuilder::new().layer(TimeoutLayer::new("lookup")).service_fn(look_up);
//! let error = lookup.ready().await?.call(7).await.unwrap_err();
//! assert!(error.is::<Elapsed>());
//! # Ok(())
//! # }
//! ```
//!
//! A server of which each answer is due in two seconds, and which calls another one for it:
//!
//! ```
//! use std::time::Duration;
//!
//! use axum::{Router, routing::get};
//! use buttress::TimeoutLayer;
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::ServiceBuilder;
//!
//! let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
//! let payments = ServiceBuilder::new()
//!     .layer(TimeoutLayer::http("payments").within(Duration::from_millis(500)))
//!     .service(client);
//!
//! let inbound = TimeoutLayer::http("orders").within(Duration::from_secs(2));
//! let orders = inbound.handle();
//! let app: Router = Router::new().route("/orders", get(async || "none")).layer(inbound);
//!
//! assert_eq!(orders.snapshot().elapsed, 0);
//! # drop((payments, app));
//! ```

mod body;
mod carry;
mod config;
mod event;
mod expire;
mod future;
mod layer;
mod limit;
mod meter;
mod policy;
mod service;

#[cfg(doc)]
use crate::{Deadline, Elapsed, Rejection};

pub use self::{
    body::TimedBody,
    carry::CarryDeadline,
    config::TimeoutConfig,
    expire::{Expire, Guard},
    future::{ResponseFuture, Run},
    layer::TimeoutLayer,
    policy::{Timeout, TimeoutSnapshot},
    service::TimeoutService,
};
pub use crate::deadline::header::{GRPC_TIMEOUT, REQUEST_TIMEOUT_MS};
