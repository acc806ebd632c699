//! Tower middleware for services that call other services.

#![cfg_attr(docsrs, feature(doc_cfg))]
// The shared files serve all policies; with some of them left out, parts lie idle.
#![cfg_attr(not(feature = "full"), allow(dead_code, unused_imports, unused_macros))]

#[macro_use]
mod macros;

mod config;
mod name;
mod sync;

mod deadline;
mod outcome;
pub mod protocol;
mod rejection;
#[cfg(any(feature = "circuit-breaker", feature = "retry"))]
mod window;

#[cfg(any(feature = "circuit-breaker", feature = "retry"))]
pub mod backoff;
#[cfg(feature = "retry")]
pub mod budget;

#[cfg(feature = "bulkhead")]
pub mod bulkhead;
#[cfg(feature = "circuit-breaker")]
pub mod circuit_breaker;
#[cfg(feature = "retry")]
pub mod retry;
#[cfg(feature = "timeout")]
pub mod timeout;

#[cfg(feature = "standard")]
pub mod standard;

pub use self::{
    config::InvalidConfig,
    deadline::{Deadline, Elapsed},
    name::Name,
    outcome::{Cause, Fault, Outcome},
    rejection::{Reason, Rejection},
};

/// The error of the plain flavour: tower's own.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[cfg(feature = "bulkhead")]
pub use self::bulkhead::BulkheadLayer;
#[cfg(feature = "circuit-breaker")]
pub use self::circuit_breaker::CircuitBreakerLayer;
#[cfg(feature = "retry")]
pub use self::retry::RetryLayer;
#[cfg(feature = "timeout")]
pub use self::timeout::TimeoutLayer;
