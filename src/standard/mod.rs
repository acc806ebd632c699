//! The policies a call to another service needs, in the right order, with sane defaults.
//!
//! ```text
//!             ┌ timeout ───────────────────────────── the whole exchange, all attempts and waits: 5 s
//!             │  ┌ retry ──────────────────────────── 3 attempts, on a budget
//!             │  │  ┌ circuit breaker ─────────────── sees every attempt, refuses while the service is down
//!             │  │  │  ┌ bulkhead ─────────────────── 25 at once; what the breaker refused takes no permit
//!             │  │  │  │  ┌ attempt timeout ───────── each attempt: 2 s, and never more than is left in all
//!   request ─▶│─▶│─▶│─▶│─▶│─▶ service
//! ```
//!
//! Every place but this is worse: a retry below the breaker hides failures from it; a bulkhead above the retry keeps
//! its permit while the retry sleeps; with no timeout outside the retry, three attempts take three timeouts.
//!
//! ```
//! use std::time::Duration;
//!
//! use tower::ServiceBuilder;
//!
//! let layer = buttress::standard::http("payments")
//!     .timeout(|timeout| timeout.within(Duration::from_secs(3)))
//!     .retry(|retry| retry.max_attempts(2))
//!     .circuit_breaker(|breaker| breaker.failure_rate(0.3))
//!     .bulkhead(|bulkhead| bulkhead.max_concurrent(50))
//!     .attempt_timeout(|timeout| timeout.within(Duration::from_secs(1)));
//!
//! let handles = layer.handles();
//! let stack = ServiceBuilder::new().layer(layer);
//! println!("{}", handles.circuit_breaker.state());
//! ```
//!
//! # Three more, for those who ask
//!
//! Not every call is to be hedged, has something that could stand in for its answer, or a rate to keep. A stack has these
//! when it is told so, each in its place, and costs nothing for them when it isn't: its type is then another one.
//!
//! ```text
//!             ┌ timeout
//!             │  ┌ fallback ───────────────────────── answers when nothing below could
//!             │  │  ┌ retry
//!             │  │  │  ┌ hedge ────────────────────── the request again, beside the first, when that takes long
//!             │  │  │  │  ┌ circuit breaker
//!             │  │  │  │  │  ┌ rate limit ──────────── what the breaker refused uses nothing up
//!             │  │  │  │  │  │  ┌ bulkhead ────────── what waits for its turn holds no permit
//!             │  │  │  │  │  │  │  ┌ attempt timeout
//!   request ─▶│─▶│─▶│─▶│─▶│─▶│─▶│─▶│─▶ service
//! ```
//!
//! ```
//! use std::time::Duration;
//!
//! use buttress::standard;
//! use bytes::Bytes;
//! use http::Response;
//! use http_body_util::Full;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::ServiceBuilder;
//!
//! let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
//! let layer = standard::http("ratings")
//!     .fallback(|fallback| fallback.value(Response::new(Full::<Bytes>::from("[]"))))
//!     .hedge(|hedge| hedge.after_quantile(0.99))
//!     .rate_limit(|limit| limit.limit(500, Duration::from_secs(1)));
//!
//! let handles = layer.handles();
//! let ratings = ServiceBuilder::new().layer(layer).service(client);
//! println!("{:?}", handles.hedge.map(|hedge| hedge.snapshot()));
//! # drop(ratings);
//! ```
//!
//! **Retries and hedges are paid from one budget**, the retry's: all together, they are no more than it allows. Whoever
//! wants two gives the hedge one of its own, by `.hedge(|hedge| hedge.budget(..))`.
//!
//! **What is hedged follows what the retry was told** is safe: its [`idempotent`](crate::RetryLayer::idempotent), `safe_when`,
//! `methods`, `retry_if` and `codes`, whether they are said before or after. Whoever wants it otherwise says so to the hedge.
//! A gRPC method has to be named to be hedged, by either: that a retry takes any without being told isn't followed.
//!
//! # Settings
//!
//! All settings together are a [`StandardConfig`], which can be read from a file (feature `serde`) and be applied to a
//! stack that runs: [`Handles::reconfigure`]. Which layers there are is said in code, for it is in the stack's type; the
//! settings are theirs. So settings for a hedge are refused by a stack that has none, and a stack that has one takes it for
//! left at its defaults when the settings say nothing of it.
//!
//! It is one [`Layer`](tower_layer::Layer), and like each of its parts it *is* its policies: everything made from it or
//! from a clone of it shares them.
//!

mod config;
mod handles;
mod layer;
mod place;
mod rules;

pub use self::{
    config::{StandardConfig, StandardHedgeConfig},
    handles::Handles,
    layer::{StandardLayer, StandardService},
    place::{Place, UnderRetry},
    rules::Rebase,
};
use crate::{
    config::or_panic,
    name::Name,
    protocol::{Grpc, Http, Plain},
};

/// The five policies around any service. What is retried is yours to say, see [`RetryLayer::new`](crate::RetryLayer::new).
///
/// # Panics
///
/// If the name is empty.
pub fn new(name: impl Into<Name>) -> StandardLayer {
    or_panic(StandardLayer::from_config(name, StandardConfig::default(), Plain::default()))
}

/// The five policies around an HTTP client.
///
/// # Panics
///
/// If the name is empty.
pub fn http(name: impl Into<Name>) -> StandardLayer<Http> {
    or_panic(StandardLayer::from_config(name, StandardConfig::default(), Http::default()))
}

/// The five policies around a gRPC channel.
///
/// # Panics
///
/// If the name is empty.
pub fn grpc(name: impl Into<Name>) -> StandardLayer<Grpc> {
    or_panic(StandardLayer::from_config(name, StandardConfig::default(), Grpc::default()))
}
