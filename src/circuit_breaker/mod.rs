//! Spares callers the wait, and a failing service the calls.
//!
//! A service that is down costs each of its callers a timeout, and the load of all those callers keeps it down. A
//! circuit breaker watches how calls end. When too many fail it *opens*: calls are refused at once, nothing is sent.
//! After a while it lets a few through, and if those succeed it closes again.
//!
//! ```text
//!              a rule over the window says so
//!   ┌────────┐ ──────────────────────────────▶ ┌──────┐ ◀─────────────┐
//!   │ Closed │                                 │ Open │               │ the probes
//!   └────────┘ ◀──────────┐                    └──────┘               │ go badly
//!                         │ the probes             │ its time is over  │
//!                         │ go well                ▼                   │
//!                         │                   ┌──────────┐             │
//!                         └────────────────── │ HalfOpen │ ────────────┘
//!                                             └──────────┘
//! ```
//!
//! A service that has just recovered may be down again at once if all its callers come back in one moment. With
//! [`ramp`](CircuitBreakerLayer::ramp), a breaker that closes lets a tenth of the calls through at first, and over the time
//! you give it, all of them.
//!
//! ```
//! use buttress::CircuitBreakerLayer;
//! use tower::{BoxError, ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let lookup = ServiceBuilder::new()
//!     .layer(CircuitBreakerLayer::new("lookup"))
//!     .service_fn(async |host: String| host.parse::<std::net::IpAddr>());
//!
//! assert!(lookup.clone().oneshot("127.0.0.1".into()).await?.is_loopback());
//! # Ok(())
//! # }
//! ```
//!
//! Around an HTTP client, with all the rules there are, and watched:
//!
//! ```
//! use std::time::Duration;
//!
//! use buttress::{CircuitBreakerLayer, circuit_breaker::Window};
//!
//! let layer = CircuitBreakerLayer::http("payments")
//!     .window(Window::time(Duration::from_secs(10)))
//!     .failure_rate(0.3)
//!     .slow_calls(Duration::from_secs(1), 0.8)
//!     .consecutive_failures(5)
//!     .open_for(Duration::from_secs(30))
//!     .half_open_successes(2);
//!
//! let breaker = layer.handle();
//! let mut changes = breaker.subscribe();
//! # async fn watch(mut changes: buttress::circuit_breaker::Changes) {
//! while let Some(change) = changes.next().await {
//!     println!("payments breaker {change}"); // Closed -> Open (5 failed in a row, last: http 503), next probe in 21.4s
//! }
//! # }
//! ```
//!
//! # One service, many hosts
//!
//! A breaker before a client that talks to many hosts, or to one host for many tenants, opens for all of them when one is
//! down. [`keyed`](CircuitBreakerLayer::keyed) makes it a breaker for each key:
//!
//! ```
//! use buttress::CircuitBreakerLayer;
//! use http::Request;
//!
//! fn tenant<B>(request: &Request<B>) -> u64 {
//!     let header = request.headers().get("x-tenant").and_then(|id| id.to_str().ok());
//!     header.and_then(|id| id.parse().ok()).unwrap_or(0)
//! }
//!
//! let layer = CircuitBreakerLayer::http("billing").consecutive_failures(5).keyed(tenant::<String>);
//! let breakers = layer.handle();
//! assert!(breakers.get(&7).is_none(), "nobody has called yet");
//! ```
//!
//! # What counts
//!
//! An exchange is judged when it ends, and in HTTP and gRPC that is the end of the response body; what counts as a
//! failure is the [protocol](crate::protocol)'s to say, or `classify`'s. A call that was cancelled, or refused by a
//! layer below, is neither success nor failure. An outcome that arrives after the breaker has changed its state is not
//! counted: it tells of a time that is over.
//!
//! # How it differs from its neighbours
//!
//! A [retry](crate) assumes that the next attempt may succeed; a breaker, that it will not. Put the breaker below the
//! retry, so that it sees every attempt, and above the bulkhead, so that refused calls take no permit. A bulkhead limits
//! how many calls run at once, whatever becomes of them.
//!
//! # What it costs
//!
//! The closed state admits a call with one atomic load and records it with a bounded number of atomic operations,
//! whatever the size of the window; it waits for no lock and allocates nothing. A success in a full window without
//! failures writes nothing at all. The clock is read only for time windows and slow calls.

mod any_window;
mod breaker;
mod config;
mod core;
mod event;
mod keyed;
mod layer;
mod meter;
#[cfg(all(test, not(buttress_loom)))]
mod model;
mod permit;
mod ramp;
mod rules;
mod service;
mod state;
mod status;
mod watch;

pub use self::{
    breaker::{CircuitBreaker, CircuitBreakerSnapshot},
    config::{CircuitBreakerConfig, SlowCalls, WhenOpen, Window},
    event::{Change, ChangeReason, State},
    keyed::{
        AnyKeyedCircuitBreaker, KeyedCircuitBreaker, KeyedCircuitBreakerConfig, KeyedCircuitBreakerLayer,
        KeyedCircuitBreakerService, KeyedCircuitBreakerSnapshot,
    },
    layer::CircuitBreakerLayer,
    permit::Permit,
    service::CircuitBreakerService,
    watch::{Changes, NamedChange, NamedChanges},
};
pub use crate::keyed::Key;

pub(crate) use self::watch::watch_all;

/// What this policy is called in rejections, events and metrics.
const POLICY: &str = "circuit_breaker";
