//! All named policies of the process, to list, watch and steer.
//!
//! Policies are made where they are used: deep in a client, in a router, in a library. Who runs the process wants to see
//! them all in one place, and to open a breaker by hand at three in the morning. A policy is in here from when it is made
//! until its last handle, layer and service are gone; there is nothing to register, and nothing is kept alive.
//!
//! ```
//! use buttress::{BulkheadLayer, CircuitBreakerLayer, circuit_breaker::State, registry};
//!
//! let layer = CircuitBreakerLayer::http("payments");
//!
//! for policy in registry::policies() {
//!     println!("{policy}"); // circuit_breaker payments: Closed, 0 of 0 calls failed
//! }
//! registry::circuit_breaker("payments").expect("it was just made").force_open();
//! assert_eq!(layer.handle().state(), State::ForcedOpen);
//! ```
//!
//! As a page of a service's:
//!
//! ```
//! use axum::{Router, routing::get};
//! use buttress::registry;
//!
//! async fn policies() -> String {
//!     registry::policies().iter().map(|policy| format!("{policy}\n")).collect()
//! }
//! let app: Router = Router::new().route("/policies", get(policies));
//! ```
//!
//! Names need not be unique: a client that is made twice has two breakers of one name. [`policies`] shows all of them;
//! whoever asks by name gets the youngest.
//!
//! Looking things up takes a lock and upgrades a reference a policy. That is for people and for dashboards; calls never
//! come by here.

use std::fmt;

use crate::{name::Name, registered::Listed};

/// One line a kind of policy, which has to be [`Listed`]: its docs, its feature, its variant and its type, and the
/// function that finds one by its name.
macro_rules! policies {
    ($($(#[doc = $doc:literal])* #[cfg($feature:meta)] $variant:ident($policy:ty), $find:ident;)*) => {
        /// A policy of the process, of whichever kind: a handle to it.
        ///
        /// Displays as a line for people: `circuit_breaker payments: Open, next probe in 4.2s`.
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub enum Policy {
            $($(#[doc = $doc])* #[cfg($feature)] $variant($policy),)*
        }

        /// All policies that are alive, by kind and the oldest first.
        pub fn policies() -> Vec<Policy> {
            // Without any policy's feature there is nothing to add.
            #[allow(unused_mut)]
            let mut policies = Vec::new();
            $(#[cfg($feature)] policies.extend(<$policy>::listed().into_iter().map(Policy::$variant));)*
            policies
        }

        impl Policy {
            /// What rejections, events and metrics call this kind of policy: `circuit_breaker`.
            pub fn kind(&self) -> &'static str {
                match *self {
                    $(#[cfg($feature)] Self::$variant(_) => <$policy as Listed>::KIND,)*
                }
            }

            /// The policy's name.
            pub fn name(&self) -> &Name {
                match *self {
                    $(#[cfg($feature)] Self::$variant(ref policy) => Listed::name(policy),)*
                }
            }
        }

        #[cfg(feature = "metrics")]
        impl Policy {
            pub(crate) fn observe(&self, gauges: &mut crate::metrics::Gauges) {
                // Without any policy's feature there is nothing to look at.
                let _ = &gauges;
                match *self {
                    $(#[cfg($feature)] Self::$variant(ref policy) => Listed::observe(policy, gauges),)*
                }
            }
        }

        impl fmt::Display for Policy {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} {}: ", self.kind(), self.name())?;
                match *self {
                    $(#[cfg($feature)] Self::$variant(ref policy) => policy.describe(f),)*
                }
            }
        }

        $(
            #[cfg($feature)]
            #[doc = concat!("The ", stringify!($find), " of this name, if there is one; of several the youngest.")]
            pub fn $find(name: &str) -> Option<$policy> {
                <$policy>::listed().into_iter().rev().find(|policy| Listed::name(policy).as_str() == name)
            }
        )*
    };
}

policies! {
    /// A circuit breaker.
    #[cfg(feature = "circuit-breaker")] CircuitBreaker(crate::circuit_breaker::CircuitBreaker), circuit_breaker;
    /// A circuit breaker a key.
    #[cfg(feature = "circuit-breaker")]
    KeyedCircuitBreaker(crate::circuit_breaker::AnyKeyedCircuitBreaker), keyed_circuit_breaker;
    /// A fault layer's plan.
    #[cfg(feature = "fault")] Faults(crate::fault::Faults), faults;
    /// A rate limit.
    #[cfg(feature = "rate-limit")] RateLimit(crate::rate_limit::RateLimit), rate_limit;
    /// A bulkhead.
    #[cfg(feature = "bulkhead")] Bulkhead(crate::bulkhead::Bulkhead), bulkhead;
    /// A bulkhead a key.
    #[cfg(feature = "bulkhead")]
    KeyedBulkhead(crate::bulkhead::AnyKeyedBulkhead), keyed_bulkhead;
    /// A fallback.
    #[cfg(feature = "fallback")] Fallback(crate::fallback::Fallback), fallback;
    /// A hedge.
    #[cfg(feature = "hedge")] Hedge(crate::hedge::Hedge), hedge;
    /// A retry.
    #[cfg(feature = "retry")] Retry(crate::retry::Retry), retry;
    /// A timeout.
    #[cfg(feature = "timeout")] Timeout(crate::timeout::Timeout), timeout;
}

/// The changes of all circuit breakers of the process from now on, also of those that are made later.
#[cfg(feature = "circuit-breaker")]
pub fn watch() -> crate::circuit_breaker::NamedChanges {
    crate::circuit_breaker::watch_all()
}
