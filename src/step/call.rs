//! One call made in a step: what is sent along, and what its answer says.

use std::error::Error;

use super::{StepContext, StepOutcome, context::NotedCall, wire::StepHeaders};
use crate::{
    BoxError, clock,
    deadline::{
        Deadline, Elapsed,
        header::{Format, GrpcTimeout, Millis},
    },
    outcome::Outcome,
    protocol::{
        Grpc, Http, Observer, Plain, Protocol,
        body::WatchedBody,
        cause,
        grpc::{ClassifyStatus, Code, TrailersWatch},
        sent::MaybeSent,
    },
    rejection::Rejection,
};
use http::{Extensions, HeaderMap, Request, Response};
use http_body::Body;

/// How the requests of a protocol tell of the step they are made in.
///
/// Sealed: [`Plain`], [`Http`] and [`Grpc`] do.
pub trait Tell<Req>: sealed::Sealed {
    /// Writes down which step the request belongs to, if it belongs to one.
    fn tell(&self, request: &mut Req) -> Option<Call>;
}

/// How the answers of a protocol say what became of a call.
///
/// Sealed: [`Plain`], [`Http`] and [`Grpc`] do.
pub trait Hear<Res, E>: sealed::Sealed {
    /// The response of a [`StepService`](super::StepService).
    type Response;
    /// The error of a [`StepService`](super::StepService).
    type Error;

    /// Hands the result on, and tells the step what it says.
    ///
    /// # Errors
    ///
    /// The inner service's error, as this protocol hands it on.
    fn hear(&self, result: Result<Res, E>, call: Option<Call>) -> Result<Self::Response, Self::Error>;

    /// The inner service's error, as this protocol hands it on.
    fn error(&self, error: E) -> Self::Error;
}

/// A call made in a step. Dropped, it may have happened.
#[derive(Debug)]
pub struct Call {
    noted: NotedCall,
    maybe_sent: MaybeSent,
}

impl Call {
    fn end(self, outcome: StepOutcome) {
        // An attempt before the one that was refused may have been carried out.
        let refused_later = outcome == StepOutcome::Refused && self.maybe_sent.is_marked();
        self.noted.end(if refused_later { StepOutcome::Unknown } else { outcome });
    }
}

/// Told by the protocol how the call ended.
#[derive(Debug)]
pub struct EndOfCall(Option<Call>);

impl Observer for EndOfCall {
    fn finish(self, outcome: Outcome) {
        if let Some(call) = self.0 {
            call.end(match outcome {
                Outcome::Success => StepOutcome::Done,
                Outcome::Ignored => StepOutcome::Refused,
                Outcome::Failure(_) | Outcome::Overload(_) => StepOutcome::Unknown,
            });
        }
    }
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for super::Plain {}
    impl Sealed for super::Http {}
    impl Sealed for super::Grpc {}
}

// ===== impl Plain =====

impl<Req> Tell<Req> for Plain {
    fn tell(&self, _request: &mut Req) -> Option<Call> {
        let step = StepContext::current()?;
        Some(Call { noted: step.begin_call(), maybe_sent: MaybeSent::default() })
    }
}

impl<Res, E: Into<BoxError>> Hear<Res, E> for Plain {
    type Response = Res;
    type Error = BoxError;

    fn hear(&self, result: Result<Res, E>, call: Option<Call>) -> Result<Res, BoxError> {
        let result = result.map_err(Into::into);
        if let Some(call) = call {
            // Only our own word counts: a connection refused may be the end of several attempts, and nothing of a plain
            // request tells whether it is.
            call.end(match &result {
                Ok(_) => StepOutcome::Done,
                Err(error) if Rejection::find(error).is_some() => StepOutcome::Refused,
                Err(_) => StepOutcome::Unknown,
            });
        }
        result
    }

    fn error(&self, error: E) -> BoxError {
        error.into()
    }
}

// ===== impl Http =====

impl<B> Tell<Request<B>> for Http {
    fn tell(&self, request: &mut Request<B>) -> Option<Call> {
        tell::<Millis, B>(request)
    }
}

/// The head says it all: a body that breaks off after a 2xx leaves what has happened as it is.
impl<B, E: 'static> Hear<Response<B>, E> for Http {
    type Response = Response<B>;
    type Error = E;

    fn hear(&self, result: Result<Response<B>, E>, call: Option<Call>) -> Result<Response<B>, E> {
        if let Some(call) = call {
            call.end(match &result {
                Ok(response) => of_extensions(response.extensions())
                    .unwrap_or_else(|| StepOutcome::of_http_status(response.status())),
                Err(error) => of_error(error),
            });
        }
        result
    }

    fn error(&self, error: E) -> E {
        error
    }
}

// ===== impl Grpc =====

impl<B> Tell<Request<B>> for Grpc {
    fn tell(&self, request: &mut Request<B>) -> Option<Call> {
        tell::<GrpcTimeout, B>(request)
    }
}

impl<B, E> Hear<Response<B>, E> for Grpc
where
    B: Body,
    B::Data: From<bytes::Bytes>,
    E: 'static,
{
    type Response = Response<WatchedBody<B, TrailersWatch<EndOfCall, Codes>>>;
    type Error = E;

    fn hear(&self, result: Result<Response<B>, E>, call: Option<Call>) -> Result<Self::Response, E> {
        match result {
            Ok(response) => Grpc::new(Codes).observe::<EndOfCall>(Ok::<_, E>(response), EndOfCall(call)),
            Err(error) => {
                if let Some(call) = call {
                    call.end(of_error(&error));
                }
                Err(error)
            }
        }
    }

    fn error(&self, error: E) -> E {
        error
    }
}

/// Judges a gRPC status by what it says of a step: a failure may have happened, and what is ignored didn't.
///
/// An answer that isn't gRPC's at all, such as a proxy's, is translated first, as gRPC lays down.
#[derive(Debug, Clone, Copy)]
pub struct Codes;

impl ClassifyStatus for Codes {
    fn classify(&self, code: Code, _trailers: &HeaderMap) -> Outcome {
        match StepOutcome::of_grpc_code(code as i32) {
            StepOutcome::Done => Outcome::Success,
            StepOutcome::Refused => Outcome::Ignored,
            StepOutcome::Unknown => Outcome::FAILURE,
        }
    }
}

// ===== shared =====

/// Writes the step's headers and what is left of the deadline.
fn tell<F: Format, B>(request: &mut Request<B>) -> Option<Call> {
    let step = request.extensions().get::<StepContext>().cloned().or_else(StepContext::current)?;
    StepHeaders::of(&step).write(request.headers_mut());

    let now = clock::now();
    // An earlier one that the caller wrote itself stays; one that can't be read is none.
    let written = F::read(request.headers()).ok().flatten().map(|left| Deadline::after_at(left, now));
    let known = [request.extensions().get().copied(), Deadline::current(), written];
    if let Some(deadline) = known.into_iter().flatten().min() {
        F::write(request.headers_mut(), deadline.remaining(now));
        // The header is stale by the time a retry sends it again, and a point in time is not.
        request.extensions_mut().insert(deadline);
    }

    let maybe_sent = MaybeSent::default();
    request.extensions_mut().insert(maybe_sent.clone());
    Some(Call { noted: step.begin_call(), maybe_sent })
}

/// What our own layers say.
fn of_extensions(extensions: &Extensions) -> Option<StepOutcome> {
    if extensions.get::<Rejection>().is_some() {
        return Some(StepOutcome::Refused);
    }
    extensions.get::<Elapsed>().map(|_| StepOutcome::Unknown)
}

fn of_error<E: 'static>(error: &E) -> StepOutcome {
    let not_sent = |error: &(dyn Error + 'static)| Rejection::find_in(error).is_some() || cause::was_not_sent(error);
    match cause::view(error) {
        Some(error) if not_sent(error) => StepOutcome::Refused,
        _ => StepOutcome::Unknown,
    }
}
