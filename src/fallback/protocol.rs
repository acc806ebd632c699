//! What a fallback needs to know of a protocol: what a failure is, and what is handed on when the fallback fails too.

use std::error::Error;

use http::Response;

use super::failure::{Failure, FallbackFailed};
use crate::{
    BoxError,
    deadline::Elapsed,
    name::Name,
    outcome::{Cause, Fault},
    protocol::{ClassifyHead, ClassifyResult, ClassifyStatus, Grpc, Http, Plain, cause},
    rejection::Rejection,
};

/// The error of a layer over a service whose own is `E`.
///
/// Sealed, as [`Judge`] is: what users replace is the judge of the protocol, by `classify`.
pub trait HandOn<E>: sealed::Sealed {
    /// The error of the layer.
    type Error;

    /// The inner service's error, as this protocol hands it on.
    fn error(&self, error: E) -> Self::Error;
}

/// What a failure is, of the service and of what stands in for it.
pub trait Judge<Res, E>: sealed::Sealed {
    /// Why the answer won't do.
    fn failure(&self, answer: Result<&Res, &E>) -> Option<Failure>;

    /// The answer of a fallback that failed too, after this `failure` with this `error`.
    ///
    /// # Errors
    ///
    /// The fallback's own.
    fn failed_too(&self, answer: Result<Res, E>, name: &Name, failure: &Failure, error: Option<E>) -> Result<Res, E>;
}

mod sealed {
    pub trait Sealed {}

    impl<C> Sealed for super::Plain<C> {}
    impl<C> Sealed for super::Http<C> {}
    impl<C> Sealed for super::Grpc<C> {}
}

// ===== impl Plain =====

impl<E: Into<BoxError>, C> HandOn<E> for Plain<C> {
    type Error = BoxError;

    fn error(&self, error: E) -> BoxError {
        error.into()
    }
}

impl<Res, C: ClassifyResult<Res>> Judge<Res, BoxError> for Plain<C> {
    fn failure(&self, answer: Result<&Res, &BoxError>) -> Option<Failure> {
        if let Some(rejection) = answer.err().and_then(Rejection::find) {
            return Some(Failure::Rejected(rejection.clone()));
        }
        let fault = *self.judge(answer).fault()?;
        let elapsed = answer.err().and_then(|error| cause::find::<Elapsed>(&**error));
        Some(elapsed.map_or(Failure::Failed(fault), |elapsed| Failure::Elapsed(elapsed.clone())))
    }

    fn failed_too(
        &self,
        answer: Result<Res, BoxError>,
        name: &Name,
        failure: &Failure,
        error: Option<BoxError>,
    ) -> Result<Res, BoxError> {
        answer.map_err(|own| FallbackFailed::new(name.clone(), failure.clone(), error, own).into())
    }
}

// ===== impl Http, Grpc =====

impl<E, C> HandOn<E> for Http<C> {
    type Error = E;

    fn error(&self, error: E) -> E {
        error
    }
}

impl<E, C> HandOn<E> for Grpc<C> {
    type Error = E;

    fn error(&self, error: E) -> E {
        error
    }
}

impl<B, E: 'static, C: ClassifyHead> Judge<Response<B>, E> for Http<C> {
    fn failure(&self, answer: Result<&Response<B>, &E>) -> Option<Failure> {
        match answer {
            Ok(response) => marked(response).or_else(|| Some(Failure::Failed(*self.judge(response).fault()?))),
            Err(error) => Some(of_error(error, cause::view(error))),
        }
    }

    fn failed_too(
        &self,
        answer: Result<Response<B>, E>,
        _: &Name,
        failure: &Failure,
        _: Option<E>,
    ) -> Result<Response<B>, E> {
        unless_nothing_was_sent(answer, failure)
    }
}

impl<B, E: 'static, C: ClassifyStatus> Judge<Response<B>, E> for Grpc<C> {
    fn failure(&self, answer: Result<&Response<B>, &E>) -> Option<Failure> {
        let error = match answer {
            Ok(response) => {
                return marked(response).or_else(|| Some(Failure::Failed(*self.judge_head(response)?.fault()?)));
            }
            Err(error) => error,
        };
        let seen = cause::view(error);
        #[cfg(feature = "tonic")]
        if let Some(status) = seen.and_then(cause::find::<tonic::Status>) {
            let mut head = Response::new(());
            *head.headers_mut() = status.metadata().clone().into_headers();
            head.headers_mut().insert("grpc-status", http::HeaderValue::from(status.code() as i32));
            return Some(Failure::Failed(*self.judge_head(&head)?.fault()?));
        }
        Some(of_error(error, seen))
    }

    fn failed_too(
        &self,
        answer: Result<Response<B>, E>,
        _: &Name,
        failure: &Failure,
        _: Option<E>,
    ) -> Result<Response<B>, E> {
        unless_nothing_was_sent(answer, failure)
    }
}

/// What a layer of ours says of the response it gave.
fn marked<B>(response: &Response<B>) -> Option<Failure> {
    let extensions = response.extensions();
    let rejected = extensions.get::<Rejection>().cloned().map(Failure::Rejected);
    rejected.or_else(|| extensions.get::<Elapsed>().cloned().map(Failure::Elapsed))
}

fn of_error<E: 'static>(error: &E, seen: Option<&(dyn Error + 'static)>) -> Failure {
    if let Some(rejection) = seen.and_then(Rejection::find_in) {
        return Failure::Rejected(rejection.clone());
    }
    if let Some(elapsed) = seen.and_then(cause::find::<Elapsed>) {
        return Failure::Elapsed(elapsed.clone());
    }
    let cause: Cause = cause::of_any(error);
    Failure::Failed(Fault { cause, retry_after: None })
}

/// A rejection of the fallback says that nothing was sent; of the call before it, something may have been.
fn unless_nothing_was_sent<B, E>(answer: Result<Response<B>, E>, failure: &Failure) -> Result<Response<B>, E> {
    answer.map(|mut response| {
        if !failure.is_rejection() {
            response.extensions_mut().remove::<Rejection>();
        }
        response
    })
}
