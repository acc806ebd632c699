//! Lets things go wrong on purpose, to see what becomes of what is built on them.
//!
//! # Why
//!
//! What a program does when a call fails is seldom tried before it matters: the other side works on the developer's
//! machine, and answers in a millisecond. A fault layer makes it fail, be late, hang, or break off, at any place where
//! a layer goes: around a client, to see what its callers do; before a service's routes, to see what its clients do.
//! Two of its faults are those that systems lose money by, and that no stub has: the service *did* it and the caller is
//! told that it failed, or never hears.
//!
//! | | the service is called | the caller |
//! |---|---|---|
//! | [`Delay`](Fault::Delay) | later | hears later |
//! | [`Fail`](Fault::Fail) | no | is told that it failed |
//! | [`FailAfter`](Fault::FailAfter) | yes | is told that it failed |
//! | [`Hang`](Fault::Hang) | no | never hears |
//! | [`DropReply`](Fault::DropReply) | yes | never hears |
//! | [`BreakBody`](Fault::BreakBody) | yes | has half an answer |
//!
//! # What goes wrong with which call
//!
//! Nothing, until it is told to. Then either a share of the calls has a fault, drawn from a
//! [`seed`](FaultLayer::seed): the calls are numbered as they come, and what goes wrong with the call of a number
//! depends on the seed and that number alone, so that a run can be had again. Or a [`script`](FaultLayer::script) says
//! what goes wrong with the first call, the second, and so on. [`when`](FaultLayer::when) spares some calls, and the
//! handle changes all of it while it runs, or switches it off.
//!
//! Every fault is a `tracing` event, at `info`, with the seed and the call's number.
//!
//! # How it looks to others
//!
//! Like the real thing: an error, a 500, an `UNAVAILABLE`, a body that breaks off. Breakers count it, retries retry it.
//! But it says of itself that it is [`Injected`]: as the error, or in the response's extensions.
//!
//! A call that hangs does so until it is dropped: by a [timeout](crate::timeout) further out, or by a caller that goes.
//! A reply is dropped with its body when its head is there.
//!
//! # How it differs from its neighbours
//!
//! - `failpoints` are places *inside* of this crate at which a process can be told to die; they are for its own tests.
//! - `tower-test`'s mock takes the service's place, call by call, in a test's hand. A fault layer goes around the real
//!   service, and also into a program that runs.
//!
//! # Examples
//!
//! A client whose calls fail now and then, the same ones in every run:
//!
//! ```
//! use buttress::{BoxError, FaultLayer, fault::Injected};
//! use tower::{Service, ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let faults = FaultLayer::new("lookup").seed(7).fail(0.5);
//! let handle = faults.handle();
//! let mut lookup = ServiceBuilder::new()
//!     .layer(faults)
//!     .service_fn(|id: u64| async move { Ok::<_, BoxError>(format!("customer {id}")) });
//!
//! for id in 0..100 {
//!     if let Err(error) = lookup.ready().await?.call(id).await {
//!         assert!(Injected::find(&error).is_some());
//!     }
//! }
//! assert!((30..70).contains(&handle.snapshot().failed));
//!
//! handle.disable();
//! assert_eq!(lookup.ready().await?.call(7).await?, "customer 7");
//! # Ok(())
//! # }
//! ```
//!
//! A server that books the first charge and doesn't say so, and is slow with the second; looking is never harmed:
//!
//! ```
//! use std::time::Duration;
//! use axum::{Router, extract::Request, routing::post};
//! use buttress::{FaultLayer, fault::Fault};
//! use http::Method;
//!
//! let faults = FaultLayer::http("payments")
//!     .script([Fault::DropReply, Fault::Delay(Duration::from_secs(1))])
//!     .when(|request: &Request| request.method() == Method::POST);
//! let app: Router = Router::new().route("/charges", post(|| async { "charged" })).layer(faults);
//! # drop(app);
//! ```

mod body;
mod config;
mod event;
pub mod future;
mod handle;
mod injected;
mod layer;
mod meter;
mod plan;
mod protocol;
mod service;
#[cfg(feature = "serde")]
mod text;
mod when;

pub use self::{
    body::FaultyBody,
    config::{Fault, FaultConfig},
    handle::{FaultSnapshot, Faults},
    injected::Injected,
    layer::FaultLayer,
    protocol::{Failure, Inject},
    service::FaultService,
    when::{Always, When},
};
