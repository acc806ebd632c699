//! What an injected failure looks like.

use http::Response;
use http_body::Body;

use crate::{
    BoxError,
    fault::{body::FaultyBody, handle::Answer, injected::Injected},
    protocol::{Grpc, Http, Plain, grpc, http as http_protocol},
};

/// What an injected failure looks like in a protocol. Implemented for those there are.
pub trait Inject<Res, E> {
    /// The response of a fault layer.
    type Response;
    /// The error of a fault layer.
    type Error;

    /// Hands on the service's own answer.
    ///
    /// # Errors
    ///
    /// The service's own.
    fn pass(&self, result: Result<Res, E>) -> Result<Self::Response, Self::Error>;

    /// Hands on the service's own answer, with a body that breaks off.
    ///
    /// # Errors
    ///
    /// The service's own; and where there are no bodies, `failure`.
    fn break_off(&self, result: Result<Res, E>, failure: Failure) -> Result<Self::Response, Self::Error>;

    /// Answers that the call failed.
    ///
    /// # Errors
    ///
    /// Where a failure is an error, `failure`.
    fn fail(&self, failure: Failure) -> Result<Self::Response, Self::Error>;

    /// The inner service's error, as this protocol hands it on.
    fn error(&self, error: E) -> Self::Error;
}

/// A failure that is to be injected.
#[derive(Debug)]
pub struct Failure {
    pub(super) injected: Injected,
    pub(super) answer: Answer,
}

impl<Res, E, C> Inject<Res, E> for Plain<C>
where
    E: Into<BoxError>,
{
    type Response = Res;
    type Error = BoxError;

    fn pass(&self, result: Result<Res, E>) -> Result<Res, BoxError> {
        result.map_err(Into::into)
    }

    fn break_off(&self, result: Result<Res, E>, failure: Failure) -> Result<Res, BoxError> {
        result.map_err(Into::into).and(Err(failure.injected.into()))
    }

    fn fail(&self, failure: Failure) -> Result<Res, BoxError> {
        Err(failure.injected.into())
    }

    fn error(&self, error: E) -> BoxError {
        error.into()
    }
}

impl<B, E, C> Inject<Response<B>, E> for Http<C>
where
    B: Body,
{
    type Response = Response<FaultyBody<B>>;
    type Error = E;

    fn pass(&self, result: Result<Response<B>, E>) -> Result<Self::Response, E> {
        result.map(|response| response.map(FaultyBody::whole))
    }

    fn break_off(&self, result: Result<Response<B>, E>, failure: Failure) -> Result<Self::Response, E> {
        result.map(|response| cut(response, failure))
    }

    fn fail(&self, Failure { injected, answer }: Failure) -> Result<Self::Response, E> {
        let members = [("policy", "fault"), ("name", injected.name().as_str()), ("reason", injected.fault().as_str())];
        let mut response = http_protocol::problem(answer.status, "injected fault", &members);
        response.extensions_mut().insert(injected);
        Ok(response.map(FaultyBody::answer))
    }

    fn error(&self, error: E) -> E {
        error
    }
}

impl<B, E, C> Inject<Response<B>, E> for Grpc<C>
where
    B: Body,
{
    type Response = Response<FaultyBody<B>>;
    type Error = E;

    fn pass(&self, result: Result<Response<B>, E>) -> Result<Self::Response, E> {
        result.map(|response| response.map(FaultyBody::whole))
    }

    fn break_off(&self, result: Result<Response<B>, E>, failure: Failure) -> Result<Self::Response, E> {
        result.map(|response| cut(response, failure))
    }

    fn fail(&self, Failure { injected, answer }: Failure) -> Result<Self::Response, E> {
        let mut response = grpc::trailers_only(answer.code, &injected.to_string());
        response.extensions_mut().insert(injected);
        Ok(response.map(FaultyBody::answer))
    }

    fn error(&self, error: E) -> E {
        error
    }
}

fn cut<B>(mut response: Response<B>, failure: Failure) -> Response<FaultyBody<B>> {
    response.extensions_mut().insert(failure.injected.clone());
    response.map(|body| FaultyBody::cut(body, failure.injected))
}
