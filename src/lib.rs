//! Tower middleware for services that call other services: circuit breaker, bulkhead, rate limit, retry, hedge, fallback,
//! timeout and deadline, and sagas that survive a crash.
//!
//! A service that calls another inherits its troubles. When that one is slow, calls pile up; when it is down, every
//! caller waits for a timeout; when it comes back, everybody tries again at once. Each policy here breaks one link of that
//! chain:
//!
//! | policy | what it does | what it prevents |
//! |---|---|---|
//! | [`timeout`] | gives every exchange a deadline, inherited from hop to hop | waiting for an answer that nobody wants any more |
//! | [`retry`] | tries again what is safe to repeat, on a budget | a glitch that becomes an error; retries that become the outage |
//! | [`hedge`] | sends again what takes long, and takes the first answer | the slowest calls being much slower than the rest |
//! | [`circuit_breaker`] | refuses calls while the service is failing | burdening a service that is down, and waiting for it |
//! | [`bulkhead`] | limits how many calls run at once | one slow service that takes all there is |
//! | [`rate_limit`] | limits how many calls there are in a time | one caller that takes what is there for all |
//! | [`fallback`] | answers in the place of what failed | a part that is missing taking the whole down |
//! | [`standard`] | all of them, in the right order | thinking about the order |
//!
//! And when a request that changes something in several services fails half-way:
//!
//! | | what it does | what it prevents |
//! |---|---|---|
//! | [`saga`] | writes down what undoes each step before it begins, and undoes it whatever dies | half an order |
//! | [`step`] | tells the other side which step a call belongs to, and what became of it | guessing |
//! | [`barrier`] | does each step once, and none that was undone, in the transaction of its effect | two charges |
//!
//! Each is a [`Layer`](tower_layer::Layer), in three flavours: `new` for any service, `http` and `grpc` for those. See
//! [`protocol`] for what the difference is, and why it matters.
//!
//! ```
//! use buttress::CircuitBreakerLayer;
//! use tower::{BoxError, ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let lookup = ServiceBuilder::new()
//!     .layer(CircuitBreakerLayer::new("lookup"))
//!     .service_fn(async |host: &str| host.parse::<std::net::IpAddr>());
//! assert!(lookup.oneshot("::1").await?.is_loopback());
//! # Ok(())
//! # }
//! ```
//!
//! # A layer is its policy
//!
//! A layer is usable as soon as it is named. It can be cloned and applied as often as you like: everything made from it
//! shares one breaker, one limit, one budget. Its `handle()` gives that policy, to watch and to steer, or to use without
//! tower. A setter on a layer whose handle or clone is already out changes the one shared policy.
//!
//! # The order of layers
//!
#![doc = include_str!("../docs/order.md")]
//!
//! # Refused is not failed
//!
//! A [`Rejection`] says that a policy refused the call and that nothing was sent. An [`Elapsed`] says that the time ran out
//! after sending: it may have been carried out. In the plain flavour they are errors ([`Rejection::find`]); in HTTP and
//! gRPC they are responses, and the values ride in the response's extensions.
//!
//! # Features
//!
//! None is on by default, `full` is all of them. One for each policy: `circuit-breaker`, `bulkhead`, `retry`, `timeout`,
//! `rate-limit`, `hedge`, `fallback`, and `standard`. `fault` lets things go wrong on purpose. `saga`, with `saga-sqlite` for
//! its journal in a file and `saga-admin` for operators; `step` and `barrier`, with `barrier-sqlite` and `barrier-postgres`.
//! `axum`, `tonic` and `hyper` teach the crate these crates' bodies, so that they can be sent again, and errors, so that
//! their cause can be read. `serde` reads [`settings`] from files. [`metrics`] counts what happens. `failpoints`, which is
//! not in `full`, is for tests that kill.

#![cfg_attr(docsrs, feature(doc_cfg))]
// The shared files serve all policies; with some of them left out, parts lie idle.
#![cfg_attr(not(feature = "full"), allow(dead_code, unused_imports, unused_macros))]

#[macro_use]
mod macros;

mod clock;
mod config;
mod meter;
mod name;
mod registered;
mod scope;
#[cfg(any(
    feature = "circuit-breaker",
    feature = "bulkhead",
    feature = "retry",
    feature = "timeout",
    feature = "rate-limit",
    feature = "saga"
))]
mod span;
#[cfg(any(feature = "circuit-breaker", feature = "rate-limit"))]
mod striped;
mod sync;

mod deadline;
#[cfg(any(feature = "bulkhead", feature = "circuit-breaker", feature = "rate-limit"))]
mod keyed;
mod outcome;
#[cfg(feature = "bulkhead")]
pub mod priority;
pub mod protocol;
mod rejection;
#[cfg(any(feature = "circuit-breaker", feature = "retry", feature = "hedge", feature = "fallback"))]
mod window;

#[cfg(any(feature = "circuit-breaker", feature = "retry", feature = "saga"))]
pub mod backoff;
#[cfg(any(feature = "retry", feature = "hedge", feature = "fallback"))]
pub mod budget;
#[cfg(any(feature = "retry", feature = "hedge", feature = "fallback"))]
pub mod repeat;

#[cfg(feature = "bulkhead")]
pub mod bulkhead;
#[cfg(feature = "circuit-breaker")]
pub mod circuit_breaker;
#[cfg(feature = "fallback")]
pub mod fallback;
#[cfg(feature = "fault")]
pub mod fault;
#[cfg(feature = "hedge")]
pub mod hedge;
#[cfg(feature = "rate-limit")]
pub mod rate_limit;
#[cfg(feature = "retry")]
pub mod retry;
#[cfg(feature = "timeout")]
pub mod timeout;

#[cfg(feature = "metrics")]
pub mod metrics;
pub mod registry;
#[cfg(feature = "serde")]
pub mod settings;
#[cfg(feature = "standard")]
pub mod standard;

#[cfg(feature = "barrier")]
pub mod barrier;
#[cfg(not(feature = "failpoints"))]
mod failpoint;
#[cfg(feature = "failpoints")]
pub mod failpoint;
#[cfg(feature = "saga")]
pub mod saga;
#[cfg(feature = "step")]
pub mod step;

// A crate that is fuzzed sets this for all that it depends on.
#[cfg(all(fuzzing, feature = "retry", feature = "saga"))]
#[doc(hidden)]
pub mod fuzzing;

pub use self::{
    config::InvalidConfig,
    deadline::{Deadline, Elapsed, Scoped},
    name::Name,
    outcome::{Cause, Fault, Outcome},
    rejection::{Reason, Rejection},
};

/// The error of the plain flavour: tower's own.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[cfg(feature = "barrier")]
pub use self::barrier::BarrierLayer;
#[cfg(feature = "circuit-breaker")]
pub use self::circuit_breaker::CircuitBreakerLayer;
#[cfg(feature = "fallback")]
pub use self::fallback::FallbackLayer;
#[cfg(feature = "fault")]
pub use self::fault::FaultLayer;
#[cfg(feature = "hedge")]
pub use self::hedge::HedgeLayer;
#[cfg(feature = "rate-limit")]
pub use self::rate_limit::RateLimitLayer;
#[cfg(feature = "retry")]
pub use self::retry::RetryLayer;
#[cfg(feature = "saga")]
pub use self::saga::SagaLayer;
#[cfg(feature = "step")]
pub use self::step::StepLayer;
#[cfg(feature = "timeout")]
pub use self::timeout::TimeoutLayer;
#[cfg(feature = "bulkhead")]
pub use self::{bulkhead::BulkheadLayer, priority::Priority};

/// The README's code, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
