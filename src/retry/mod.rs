//! Calls again what has failed in passing: after a growing wait, where it is safe, and within a budget.
//!
//! # Why not just a loop
//!
//! Most failures pass: a connection that broke, an instance that was being replaced, a moment of too much load. A loop of
//! three attempts hides them from the caller, and does three kinds of harm. It carries out twice what should be carried
//! out once. It triples the load on a service at the moment it can bear it least, and three tiers of such loops make 27
//! calls of one. And it goes on when nobody waits for the answer any more. So there is another attempt only when *all* of
//! these hold:
//!
//! 1. **The request can be sent again.** A plain request is cloned; of an HTTP or gRPC request the head is cloned and the
//!    body kept while it streams out, up to [`replay_at_most`](RetryLayer::replay_at_most): see [`replay`].
//! 2. **It is safe**, by the table below, or it provably wasn't sent.
//! 3. **It may help**, by the table below.
//! 4. **The [budget](crate::budget) has a token.** Over ten seconds, retries are at most a fifth of the calls, and ten a
//!    second, whatever fails.
//! 5. **The wait ends before the [`Deadline`](crate::Deadline)** of the request or the task. Otherwise the answer at hand
//!    is given at once.
//! 6. **Nobody said no**: a [`Rejection`](crate::Rejection) of another policy of ours is never retried, nor an answer with
//!    `x-envoy-overloaded`, nor one whose `grpc-retry-pushback-ms` is negative or can't be read (gRPC proposal A6).
//!
//! | | [`RetryLayer::new`] | [`RetryLayer::http`] | [`RetryLayer::grpc`] |
//! |---|---|---|---|
//! | safe | nothing, until you say so: [`idempotent`](RetryLayer::idempotent), `safe_when` | `GET` `HEAD` `OPTIONS` `TRACE` `PUT` `DELETE`, or an `Idempotency-Key` | every method, or those named by `methods` |
//! | may help | every error | transport errors, 408 429 502 503 504 | `UNAVAILABLE`, which a transport error is too, or the `codes` named |
//! | provably wasn't sent | | no connection could be made | the same |
//! | server's wait | | `Retry-After`, or else `RateLimit`; at least what was computed and at most 5 s more (AWS) | `grpc-retry-pushback-ms`, exactly (A6) |
//! | later attempts carry | | [`HTTP_PREVIOUS_ATTEMPTS`] | [`GRPC_PREVIOUS_ATTEMPTS`] |
//!
//! `safe_when` and `retry_if` replace the second and the third row by functions of yours ([`RetryResult`],
//! [`RetryHead`], [`RetryStatus`]).
//!
//! # When an answer is final
//!
//! In HTTP an answer is judged by its head, and once it has been handed on there is no other. A gRPC call says in its
//! trailers that it failed. So where the head doesn't tell, the first frame is looked at, for
//! [10 ms](FIRST_FRAME_WITHIN) at most: trailers are judged, and after a message the call is committed. An answer that
//! is given up is dropped before the wait, so that the permits below are free meanwhile.
//!
//! # Layers on top of each other
//!
//! A retry layer that runs under another one, in the same task, knows of it. Together they make no more attempts than
//! the most patient of them would alone: three tiers of three attempts make three calls. What the lower ones retry is
//! taken from their own budgets and from the outermost one's. A task that is spawned in between knows nothing of the
//! task that spawned it; across processes, budgets do what can be done.
//!
//! # Where it goes
//!
//! ```text
//! timeout (whole) > retry > circuit breaker > bulkhead > timeout (attempt) > service
//! ```
//!
//! Below a whole timeout, which gives it the deadline, and above everything that judges single attempts. Attempts that
//! carry a timeout header (`grpc-timeout`) repeat the first one's, unless a [`timeout`](crate::timeout) below writes what
//! is left.
//!
//! # Differences from `tower::retry`
//!
//! There, the policy clones the request, so it fits neither an axum router nor a tonic channel; waits, what is safe, and
//! what the server asked for are yours to write; a budget belongs to one policy, and nothing knows of deadlines or of
//! other tiers.
//!
//! # Examples
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), buttress::BoxError> {
//! use std::sync::atomic::{AtomicU32, Ordering};
//!
//! use buttress::{BoxError, RetryLayer};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! static CALLS: AtomicU32 = AtomicU32::new(0);
//!
//! async fn look_up(key: u32) -> Result<String, BoxError> {
//!     match CALLS.fetch_add(1, Ordering::Relaxed) {
//!         0 => Err("connection reset".into()),
//!         _ => Ok(format!("value of {key}")),
//!     }
//! }
//!
//! let lookup = ServiceBuilder::new().layer(RetryLayer::new("lookup").idempotent()).service_fn(look_up);
//! assert_eq!(lookup.oneshot(7).await?, "value of 7");
//! # Ok(())
//! # }
//! ```
//!
//! Configured, around a client:
//!
//! ```
//! # #[cfg(feature = "hyper")]
//! # fn main() {
//! use std::time::Duration;
//!
//! use buttress::{
//!     RetryLayer,
//!     backoff::{Backoff, Jitter},
//!     budget::Budget,
//!     retry::is_idempotent,
//! };
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::ServiceBuilder;
//!
//! // Shared by all clients of the same service.
//! let budget = Budget::share(0.1, 5);
//!
//! let layer = RetryLayer::http("payments")
//!     .max_attempts(4)
//!     .backoff(Backoff::exponential(Duration::from_millis(20)).jitter(Jitter::Equal))
//!     .budget(budget.clone())
//!     .replay_at_most(16 * 1024)
//!     .safe_when(|head| is_idempotent(head) || head.uri.path() == "/v1/quotes")
//!     .retry_if(|status, _headers| status.is_server_error());
//! let retry = layer.handle();
//!
//! let payments =
//!     ServiceBuilder::new().layer(layer).service(Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>());
//! # drop(payments);
//!
//! assert_eq!(retry.snapshot().gave_up_budget, 0);
//! # }
//! # #[cfg(not(feature = "hyper"))]
//! # fn main() {}
//! ```

mod config;
mod course;
mod event;
mod future;
mod handle;
mod layer;
mod lead;
mod meter;
mod run;
mod scope;
mod service;

pub use self::{
    config::RetryConfig,
    future::ResponseFuture,
    handle::{Retry, RetrySnapshot},
    layer::RetryLayer,
    service::RetryService,
};
pub use crate::repeat::{
    Attempt, FIRST_FRAME_WITHIN, GRPC_PREVIOUS_ATTEMPTS, HTTP_PREVIOUS_ATTEMPTS, IDEMPOTENCY_KEY, Idempotent, OnCodes,
    OnMethods, PeekedBody, ReplayBody, RetryHead, RetryIf, RetryResult, RetryStatus, SafeWhen, Stock, is_idempotent,
    is_transient, protocol, replay,
};
