//! What a protocol answers when the time is up.

use http::{Response, StatusCode};
use http_body::Body;

use crate::{
    BoxError,
    deadline::Elapsed,
    protocol::{
        Grpc, Http, Plain,
        grpc::{self, Code},
        http as http_protocol,
    },
    rejection::Rejection,
    timeout::{
        body::{Cut, TimedBody},
        limit::Limit,
    },
};

/// What the answers of a protocol are when the time is up, before the call and after it.
pub trait Expire<Res, E> {
    /// The response of a service with a timeout.
    type Response;
    /// The error of such a service.
    type Error;

    /// Hands the result on, and keeps the response to its deadline until its end.
    ///
    /// # Errors
    ///
    /// The inner service's error, as this protocol hands it on.
    fn guard(&self, result: Result<Res, E>, guard: Guard) -> Result<Self::Response, Self::Error>;

    /// The call was not made.
    ///
    /// # Errors
    ///
    /// Where a refusal is an error, the `rejection`.
    fn refuse(&self, rejection: Box<Rejection>) -> Result<Self::Response, Self::Error>;

    /// The call was made, and the time is up.
    ///
    /// # Errors
    ///
    /// Where a timeout is an error, `elapsed`.
    fn expire(&self, elapsed: Elapsed) -> Result<Self::Response, Self::Error>;

    /// The inner service's error, as this protocol hands it on.
    fn error(&self, error: E) -> Self::Error;
}

/// What is left to be guarded of an exchange whose head has come in time.
#[derive(Debug)]
pub struct Guard(pub(crate) Limit);

impl<Res, E, C> Expire<Res, E> for Plain<C>
where
    E: Into<BoxError>,
{
    type Response = Res;
    type Error = BoxError;

    fn guard(&self, result: Result<Res, E>, mut guard: Guard) -> Result<Res, BoxError> {
        guard.0.ended();
        result.map_err(Into::into)
    }

    fn refuse(&self, rejection: Box<Rejection>) -> Result<Res, BoxError> {
        Err(rejection)
    }

    fn expire(&self, elapsed: Elapsed) -> Result<Res, BoxError> {
        Err(elapsed.into())
    }

    fn error(&self, error: E) -> BoxError {
        error.into()
    }
}

impl<B, E, C> Expire<Response<B>, E> for Http<C>
where
    B: Body,
{
    type Response = Response<TimedBody<B>>;
    type Error = E;

    fn guard(&self, result: Result<Response<B>, E>, mut guard: Guard) -> Result<Self::Response, E> {
        match result {
            Ok(response) => Ok(response.map(|body| TimedBody::guarded(body, guard.0, Cut::BreakOff))),
            Err(error) => {
                guard.0.ended();
                Err(error)
            }
        }
    }

    fn refuse(&self, rejection: Box<Rejection>) -> Result<Self::Response, E> {
        Ok(http_protocol::refusal(*rejection).map(TimedBody::answer))
    }

    fn expire(&self, elapsed: Elapsed) -> Result<Self::Response, E> {
        let mut response = http_protocol::problem(
            StatusCode::GATEWAY_TIMEOUT,
            elapsed.title(),
            &[("policy", "timeout"), ("name", elapsed.name().as_str()), ("reason", "elapsed")],
        );
        response.extensions_mut().insert(elapsed);
        Ok(response.map(TimedBody::answer))
    }

    fn error(&self, error: E) -> E {
        error
    }
}

impl<B, E, C> Expire<Response<B>, E> for Grpc<C>
where
    B: Body,
{
    type Response = Response<TimedBody<B>>;
    type Error = E;

    /// A transport error that comes once the time is up counts as the time being up. A tonic channel watches the
    /// deadline too, for it reads the header we wrote: whose timer fires first is chance, and tonic's answer,
    /// `CANCELLED`, would be judged as the caller's doing.
    fn guard(&self, result: Result<Response<B>, E>, mut guard: Guard) -> Result<Self::Response, E> {
        match result {
            Ok(response) => Ok(response.map(|body| TimedBody::guarded(body, guard.0, Cut::Trailers))),
            Err(_) if guard.0.has_passed() => Expire::<Response<B>, E>::expire(self, guard.0.elapsed()),
            Err(error) => {
                guard.0.ended();
                Err(error)
            }
        }
    }

    fn refuse(&self, rejection: Box<Rejection>) -> Result<Self::Response, E> {
        Ok(grpc::refusal(*rejection).map(TimedBody::answer))
    }

    fn expire(&self, elapsed: Elapsed) -> Result<Self::Response, E> {
        let mut response = grpc::trailers_only(Code::DeadlineExceeded, &elapsed.to_string());
        response.extensions_mut().insert(elapsed);
        Ok(response.map(TimedBody::answer))
    }

    fn error(&self, error: E) -> E {
        error
    }
}
