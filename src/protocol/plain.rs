//! Services of any request and response.

use crate::{
    BoxError,
    outcome::Outcome,
    protocol::{Observer, Protocol, cause},
    rejection::Rejection,
};

/// Any service: the exchange ends with its `Result`, and a refusal is an error.
#[derive(Debug, Clone, Copy)]
pub struct Plain<C = Errors> {
    classify: C,
}

/// The default judge of [`Plain`]: every `Err` is a failure.
#[derive(Debug, Clone, Copy, Default)]
pub struct Errors;

/// Judges the result of a plain service. Implemented for closures.
pub trait ClassifyResult<Res> {
    /// How the exchange ended. Not asked about a [`Rejection`], which says nothing of the service.
    fn classify(&self, result: Result<&Res, &BoxError>) -> Outcome;
}

/// Not for every judge, so that `Plain::default()` needs no type spelt out.
impl Default for Plain {
    fn default() -> Self {
        Self::new(Errors)
    }
}

impl<C> Plain<C> {
    /// Judges by `classify`.
    pub const fn new(classify: C) -> Self {
        Self { classify }
    }

    #[inline]
    pub(crate) fn judge<Res>(&self, result: Result<&Res, &BoxError>) -> Outcome
    where
        C: ClassifyResult<Res>,
    {
        match result {
            Err(error) if Rejection::find(error).is_some() => Outcome::Ignored,
            result => self.classify.classify(result),
        }
    }
}

impl<Res, E, C> Protocol<Res, E> for Plain<C>
where
    E: Into<BoxError>,
    C: ClassifyResult<Res>,
{
    type Response<O: Observer> = Res;
    type Error = BoxError;

    // Always, so that the observer's words stay in registers; the observers' own `finish` is small.
    #[inline(always)]
    fn observe<O: Observer>(&self, result: Result<Res, E>, observer: O) -> Result<Res, BoxError> {
        let result = result.map_err(Into::into);
        observer.finish(self.judge(result.as_ref()));
        result
    }

    fn reject<O: Observer>(&self, rejection: Box<Rejection>) -> Result<Res, BoxError> {
        Err(rejection)
    }

    fn error(&self, error: E) -> BoxError {
        error.into()
    }
}

// ===== impl Errors =====

impl<Res> ClassifyResult<Res> for Errors {
    fn classify(&self, result: Result<&Res, &BoxError>) -> Outcome {
        match result {
            Ok(_) => Outcome::Success,
            Err(error) => Outcome::failure(cause::of(&**error)),
        }
    }
}

impl<F, Res> ClassifyResult<Res> for F
where
    F: Fn(Result<&Res, &BoxError>) -> Outcome,
{
    fn classify(&self, result: Result<&Res, &BoxError>) -> Outcome {
        self(result)
    }
}
