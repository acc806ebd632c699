//! Answers in the place of what failed: with a value, by a function, by another service.
//!
//! # Why, and when not
//!
//! Some of what a page shows may be missing, or a little old, and the page is still worth showing: recommendations, a
//! rating, a price of five minutes ago. A fallback says what is shown instead, once and in one place, rather than in every
//! handler that calls the service. Where the answer *must* be right, there is nothing to fall back on, and a failure that
//! is told is better than a success that is made up: never for a payment, and hardly ever for a write.
//!
//! It is the last resort, above all that tries to have the real answer: retries, a circuit breaker, a timeout. And it is a
//! way that is seldom taken and then by everybody at once, so it has a limit of its own: at most
//! [`max_concurrent`](FallbackLayer::max_concurrent) fallbacks at once, to the ends of their bodies. Whoever comes beyond
//! that is handed the failure.
//!
//! # What it answers, and what it doesn't
//!
//! | | falls back on | |
//! |---|---|---|
//! | failures | what `classify` calls a failure or an overload: errors; transport errors, 5xx, 429; `UNAVAILABLE`, `INTERNAL`, ... | [`on_failures`](FallbackLayer::on_failures) |
//! | rejections | a [`Rejection`](crate::Rejection) by a layer below: the circuit is open, the bulkhead is full | [`on_rejections`](FallbackLayer::on_rejections) |
//! | elapsed times | an [`Elapsed`](crate::Elapsed) by a timeout below | [`on_elapsed`](FallbackLayer::on_elapsed) |
//!
//! All three by default. Never on what is the caller's own fault: other 4xx, `NOT_FOUND` and its like. That is an answer.
//!
//! In HTTP and gRPC the *head* of the answer decides. A body that breaks off later can't be replaced any more, for its
//! beginning has been sent; nor can a gRPC call be that fails in its trailers after a head that said nothing (most servers
//! send a failure before the first message as a head of nothing but trailers, and that is seen).
//!
//! | | [`FallbackLayer::new`] | [`FallbackLayer::http`], [`FallbackLayer::grpc`] |
//! |---|---|---|
//! | `value` | a value | a response; its body may be of any type with the same data |
//! | `with` | `Fn(Request, Failure)`, a future of a `Result` | `Fn(request::Parts, Failure)`, a future of a response |
//! | [`service`](FallbackLayer::service) | of the same request and response | of the same request; the response's body may be of any type with the same data |
//! | kept of the request | a clone, but for a value | nothing for a value, the head for a function, the body too for a service |
//! | the answer is marked | | by a [`FellBack`] in the response's extensions |
//!
//! # When the fallback fails too
//!
//! Its own failure is handed on, with the first one beside it: in HTTP and gRPC as the [`FellBack`] in the extensions of
//! its answer (an error is the inner service's type, and has no place for it); in the plain flavour the error is a
//! [`FallbackFailed`], whose source is the first one. Neither says by a [`Rejection`](crate::Rejection) that nothing was
//! sent, unless the call and the fallback both were refused.
//!
//! Layers further out judge the fallback's answer as any other: to a breaker above, a fallback that answers well is a
//! success.
//!
//! # Where it goes
//!
//! ```text
//! timeout (whole) > fallback > retry > circuit breaker > bulkhead > timeout (attempt) > service
//! ```
//!
//! Above everything that may fail or refuse, and below the whole timeout, whose time the fallback shares. When that has
//! run out, it is the timeout that answers.
//!
//! # What it costs
//!
//! A call that doesn't fail: a reference count, and what keeping the request takes, see above; nothing for a value. A
//! fallback is one allocation, and what it does itself.
//!
//! # Examples
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), buttress::BoxError> {
//! use buttress::{BoxError, FallbackLayer};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! async fn rating(_article: u32) -> Result<Option<f32>, BoxError> {
//!     Err("connection reset".into())
//! }
//!
//! let rating = ServiceBuilder::new().layer(FallbackLayer::new("rating").value(None)).service_fn(rating);
//! assert_eq!(rating.oneshot(7).await?, None);
//! # Ok(())
//! # }
//! ```
//!
//! By a function, for an axum route:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! use axum::{Router, body::Body, routing::get};
//! use buttress::{FallbackLayer, fallback::FellBack};
//! use http::{Request, Response, StatusCode};
//! use tower::ServiceExt;
//!
//! let layer = FallbackLayer::http("recommendations").max_concurrent(50).with(|head, failure| async move {
//!     println!("{}: {failure}", head.uri);
//!     Response::new(Body::from("[]"))
//! });
//! let fallback = layer.handle();
//! let app: Router = Router::new().route("/", get(async || StatusCode::SERVICE_UNAVAILABLE)).layer(layer);
//!
//! let response = app.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
//! assert_eq!(response.status(), StatusCode::OK);
//! assert_eq!(response.extensions().get::<FellBack>().unwrap().failure().to_string(), "http 503");
//! assert_eq!(fallback.snapshot().fell_back, 1);
//! # }
//! ```

mod body;
mod config;
mod event;
mod failure;
mod future;
mod gate;
mod handle;
mod layer;
mod meter;
pub mod protocol;
mod service;
pub mod stand_in;

pub use self::{
    body::FallbackBody,
    config::FallbackConfig,
    failure::{Failure, FallbackFailed, FellBack},
    future::ResponseFuture,
    handle::{Fallback, FallbackSnapshot, Permit},
    layer::FallbackLayer,
    service::FallbackService,
    stand_in::{ByService, Nothing, Value, With},
};
