//! Sends a request again when its answer takes long, and takes the answer that comes first.
//!
//! # Why send twice what hasn't failed
//!
//! The slowest calls of a service are seldom slow because of what they ask for. They met a pause of the garbage
//! collector, a lost packet, an instance with a full queue; the same request, sent again, most often has its answer soon.
//! Dean and Barroso ("The Tail at Scale", 2013) sent 2 % of the requests twice and cut the 99.9th percentile from 1,800 ms
//! to 74 ms. A timeout and a retry can't do that: they give up the call that might answer in the next moment, and begin
//! anew.
//!
//! It is paid for with load, at the very moment when a service is slow, which may be because of load. So a request is sent
//! again only when *all* of these hold:
//!
//! 1. **It is time**: [`after`](HedgeLayer::after) a delay; or, by default, after the time by which 95 % of the calls of
//!    the last [30 seconds](OBSERVED_FOR) had their answer, so that while all is well one in twenty is sent again. Until
//!    [`minimum_calls`](HedgeLayer::minimum_calls) were observed, none is.
//! 2. **It may be carried out twice**, and here it is: both may reach the service, and the loser is cancelled, which tells
//!    it to stop and doesn't undo what it did. The rules are those of a retry, but that gRPC methods have to be named.
//! 3. **The request was kept**, as a retry keeps it: [`repeat::replay`](crate::repeat::replay). A body is sent by both
//!    while it streams out.
//! 4. **The [budget](crate::budget) has a token**: a tenth of the calls, and ten a second. When everything is slow, hardly
//!    anything is hedged.
//! 5. **It could end before the [`Deadline`](crate::Deadline)**: more is left than half of the calls took.
//! 6. **Nobody said no**: another policy of ours, a server by `x-envoy-overloaded` or a negative
//!    `grpc-retry-pushback-ms`.
//!
//! # Who wins
//!
//! As gRPC has it (proposal A6, "Hedging Policy"), in all three protocols:
//!
//! | an attempt's answer | what is done |
//! |---|---|
//! | is good | it is handed on; the others are dropped, and so cancelled |
//! | is a failure that another attempt wouldn't mend (fatal: HTTP 500, gRPC `INTERNAL`) | the same |
//! | is a failure that another may mend: errors; transport errors, 408 502 503 504; `UNAVAILABLE` ([`non_fatal_codes`](HedgeLayer::non_fatal_codes), `non_fatal_if`) | it is dropped, and the next attempt goes at once; the last to fail is handed on |
//! | the same, with `grpc-retry-pushback-ms` | the next goes after exactly that |
//! | says that the server has too much to do: 429, `Retry-After` | nobody hurries: the next goes when it is due, and not before the server wants it; if no other attempt is under way, the answer is handed on |
//! | is a refusal (6.) | there are no further attempts; it is handed on if no other attempt is under way |
//!
//! A gRPC answer whose head doesn't tell how it ends is looked at up to its first frame, as a
//! [retry](crate::retry#when-an-answer-is-final) does it, for [10 ms](FIRST_FRAME_WITHIN) at most. What has been handed on
//! is final.
//!
//! | | [`HedgeLayer::new`] | [`HedgeLayer::http`] | [`HedgeLayer::grpc`] |
//! |---|---|---|---|
//! | may be carried out twice | nothing, until you say so: [`idempotent`](HedgeLayer::idempotent), `safe_when` | [`is_idempotent`] | nothing, until you say so: [`methods`](HedgeLayer::methods), `idempotent`, `safe_when` |
//! | hedges carry | | [`HTTP_PREVIOUS_ATTEMPTS`] | [`GRPC_PREVIOUS_ATTEMPTS`] |
//!
//! # Where it goes
//!
//! ```text
//! timeout (whole) > retry > hedge > circuit breaker > bulkhead > timeout (attempt) > service
//! ```
//!
//! Below a retry, so that a retry begins when all attempts have failed, and both may take from one budget
//! ([`share_budget`](HedgeLayer::share_budget)). Above what judges and admits single attempts: a breaker sees both (the
//! loser as cancelled, which is neither success nor failure), a bulkhead counts both. Above a balancer the two go to
//! different instances, for each hedge makes a clone of the inner service ready and calls that; one that doesn't become
//! ready holds nobody up.
//!
//! # What it costs
//!
//! A call that isn't hedged reads the clock twice, counts its latency with one compare-and-swap, and sets a timer if it
//! isn't answered at once. It allocates what keeping the request takes: nothing for a plain service whose request clones
//! without. A hedge
//! allocates three times, and what cloning the service and the request takes.
//!
//! # Differences from `tower::hedge`
//!
//! There, the policy clones the request, so it fits neither an axum router nor a tonic channel; the first answer wins, also
//! when it is an error; latencies are kept behind a lock; and nothing bounds how many hedges there are but a policy of yours.
//!
//! # Examples
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), buttress::BoxError> {
//! use std::{
//!     sync::atomic::{AtomicU32, Ordering},
//!     time::Duration,
//! };
//!
//! use buttress::{BoxError, HedgeLayer};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! static CALLS: AtomicU32 = AtomicU32::new(0);
//!
//! async fn look_up(key: u32) -> Result<String, BoxError> {
//!     if CALLS.fetch_add(1, Ordering::Relaxed) == 0 {
//!         tokio::time::sleep(Duration::from_secs(10)).await; // a bad moment
//!     }
//!     Ok(format!("value of {key}"))
//! }
//!
//! let layer = HedgeLayer::new("lookup").idempotent().after(Duration::from_millis(50));
//! let hedge = layer.handle();
//! let lookup = ServiceBuilder::new().layer(layer).service_fn(look_up);
//!
//! let began = tokio::time::Instant::now();
//! assert_eq!(lookup.oneshot(7).await?, "value of 7");
//! assert!(began.elapsed() < Duration::from_millis(60));
//! assert_eq!(hedge.snapshot().won, 1);
//! # Ok(())
//! # }
//! ```
//!
//! Configured, with the budget of the retry above it:
//!
//! ```
//! use buttress::{HedgeLayer, RetryLayer, budget::Budget, protocol::grpc::Code};
//! use tower::ServiceBuilder;
//!
//! let budget = Budget::share(0.2, 10);
//! let inventory = ServiceBuilder::new()
//!     .layer(RetryLayer::grpc("inventory").budget(budget.clone()))
//!     .layer(
//!         HedgeLayer::grpc("inventory")
//!             .methods(["inventory.v1.Inventory/Check"])
//!             .non_fatal_codes([Code::Unavailable, Code::Aborted])
//!             .after_quantile(0.99)
//!             .max_hedges(2)
//!             .share_budget(budget),
//!     );
//! # drop(inventory);
//! ```

mod attempt;
mod config;
mod course;
mod event;
mod future;
mod handle;
mod latency;
mod layer;
mod meter;
mod race;
mod rules;
mod service;
mod settings;
mod snapshot;

pub use self::{
    config::{After, HedgeConfig},
    future::ResponseFuture,
    handle::Hedge,
    latency::OBSERVED_FOR,
    layer::HedgeLayer,
    rules::Careful,
    service::HedgeService,
    snapshot::HedgeSnapshot,
};
pub use crate::repeat::{
    FIRST_FRAME_WITHIN, GRPC_PREVIOUS_ATTEMPTS, HTTP_PREVIOUS_ATTEMPTS, ReplayBody, RetryHead, RetryResult,
    RetryStatus, is_idempotent, is_transient,
};
