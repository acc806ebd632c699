//! What a step of a saga tells the service it calls: who is asking, and how often it may happen.
//!
//! A call that is repeated, because its answer was lost, or because another node takes the saga over, must not happen
//! twice; and a call that was taken back must not happen at all, however late it arrives. The other side can see to that
//! only if it is told which step of which saga a call belongs to. [`StepKey`] says that, and [`StepLayer`] sends it, from
//! whatever step the task at hand is carrying out:
//!
//! | header or metadata | says |
//! |---|---|
//! | `idempotency-key` | [`StepKey`]: saga, step, number, `act` or `undo`; the same on every attempt, from every node |
//! | `saga-id`, `saga-step` | the same, for those who look at headers only |
//! | `saga-epoch` | how often the saga had changed hands, so that a coordinator that lost it is found out |
//! | `x-request-timeout-ms`, `grpc-timeout` | what is left of the [`Deadline`](crate::Deadline), if there is one |
//!
//! # What an answer says
//!
//! A saga has to know of a step that failed whether it happened, for what may have happened is undone. So the layer also
//! tells the step, before the caller sees the answer, what became of each call:
//!
//! | [`StepOutcome`] | HTTP | gRPC |
//! |---|---|---|
//! | `Done` | 2xx | `OK` |
//! | `Refused`: it didn't happen | a [`Rejection`](crate::Rejection) of ours, no connection, 4xx but 408 409 425 429 | the same, and eight [codes](StepOutcome::of_grpc_code) |
//! | `Unknown`: it may have | everything else | everything else |
//!
//! An HTTP answer is judged by its head. gRPC says in its trailers how a call ended: one that is dropped before them, and
//! whose head doesn't tell, is unknown. A step counts as refused only if every call made in it was, so one whose end
//! isn't known yet counts against that.
//!
//! # Where it goes
//!
//! Outermost: there it sees the refusals of breakers and bulkheads, and a retry inside it knows by the `idempotency-key`
//! that the request may be repeated. Our own [retry](crate::retry) tells it when an earlier attempt may have been carried
//! out; a refusal of the last one then says nothing, and the call is unknown. No other retry does that, so any other
//! belongs *outside* of this layer.
//!
//! # Examples
//!
//! ```
//! use bytes::Bytes;
//! use buttress::{StepLayer, step::{IDEMPOTENCY_KEY, Op, SagaId, StepContext, StepKey}};
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), buttress::BoxError> {
//! let payments = ServiceBuilder::new().layer(StepLayer::http()).service_fn(async |request: Request<Full<Bytes>>| {
//!     assert!(request.headers()[IDEMPOTENCY_KEY].to_str().unwrap().ends_with("/charge-payment/0/act"));
//!     let declined = Response::builder().status(StatusCode::UNPROCESSABLE_ENTITY);
//!     declined.body(Full::<Bytes>::default())
//! });
//!
//! // A saga does this for each of its steps.
//! let step = StepContext::new(StepKey::new(SagaId::new(), "charge-payment", 0, Op::Act)?, 1);
//! let answer = step.clone().scope(payments.oneshot(Request::new(Full::default()))).await?;
//! assert_eq!(answer.status(), 422);
//! assert!(step.was_refused());
//! # Ok(())
//! # }
//! ```

mod call;
mod context;
mod key;
mod layer;
mod outcome;
mod wire;

pub(crate) use self::key::check_name;
pub use self::{
    call::{Call, Codes, EndOfCall, Hear, Tell},
    context::{InStep, StepContext},
    key::{InvalidStepKey, LONGEST_STEP_NAME, Op, SagaId, StepKey},
    layer::{ResponseFuture, StepLayer, StepService},
    outcome::StepOutcome,
    wire::{IDEMPOTENCY_KEY, InvalidStepHeaders, LARGEST_EPOCH, SAGA_EPOCH, SAGA_ID, SAGA_STEP, StepHeaders},
};
pub use crate::deadline::header::{GRPC_TIMEOUT, REQUEST_TIMEOUT_MS};
