//! Reading an error of which only the type is known.

use std::{any::Any, error::Error, io};

use crate::{BoxError, deadline::Elapsed, outcome::Cause};

/// The first `T` among `error` and its sources.
pub(crate) fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// Why it failed, as far as the error and its sources tell.
pub(crate) fn of(error: &(dyn Error + 'static)) -> Cause {
    if find::<Elapsed>(error).is_some() {
        return Cause::TimedOut;
    }
    match chain(error).filter_map(|error| error.downcast_ref::<io::Error>()).last() {
        Some(error) => Cause::Io(error.kind()),
        None => Cause::Error,
    }
}

/// As [`of`], for an error whose type is a parameter.
pub(crate) fn of_any<E: 'static>(error: &E) -> Cause {
    view(error).map_or(Cause::Error, of)
}

/// An error whose type is a parameter, as an `Error`.
///
/// The HTTP and gRPC flavours must hand the inner service's error on as it is, so they can't demand `Into<BoxError>`,
/// and a `BoxError` isn't an `Error`. The error types of the clients we know are told apart here; of any other, nothing
/// more is known than that it is one.
pub(crate) fn view<E: 'static>(error: &E) -> Option<&(dyn Error + 'static)> {
    let error: &dyn Any = error;
    if let Some(error) = error.downcast_ref::<BoxError>() {
        return Some(&**error);
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return Some(error);
    }
    if let Some(error) = error.downcast_ref::<Elapsed>() {
        return Some(error);
    }
    #[cfg(feature = "axum")]
    if let Some(error) = error.downcast_ref::<axum_core::Error>() {
        return Some(error);
    }
    #[cfg(feature = "hyper")]
    if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
        return Some(error);
    }
    #[cfg(feature = "tonic")]
    if let Some(error) = error.downcast_ref::<tonic::Status>() {
        return Some(error);
    }
    #[cfg(feature = "tonic")]
    if let Some(error) = error.downcast_ref::<tonic::transport::Error>() {
        return Some(error);
    }
    None
}

/// `error`, and its sources.
pub(crate) fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        // An `io::Error` names as its source not the error that it wraps but the source of that one.
        let wrapped = (*error).downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map(|error| error as &(dyn Error + 'static)).or_else(|| (*error).source())
    })
}

/// Whether the request provably wasn't sent: no connection was made.
pub(crate) fn was_not_sent(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|error| {
        #[cfg(feature = "hyper")]
        if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
            return error.is_connect();
        }
        // A channel's, while it connects: the request waits until it has.
        #[cfg(feature = "tonic")]
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        error.downcast_ref::<io::Error>().is_some_and(is_refused)
    })
}

/// The kind is enough: only connecting can fail in this way.
fn is_refused(error: &io::Error) -> bool {
    // An `io::Error` around another error leaves that one out of its sources.
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<io::Error>());
    error.kind() == io::ErrorKind::ConnectionRefused || inner.is_some_and(is_refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_io_error_is_the_cause() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let wrapped = io::Error::other(refused);
        assert_eq!(of(&wrapped), Cause::Io(io::ErrorKind::ConnectionRefused));
        let boxed: BoxError = wrapped.into();
        assert_eq!(of_any(&boxed), Cause::Io(io::ErrorKind::ConnectionRefused));
        assert_eq!(of_any(&"an unknown type"), Cause::Error);
    }

    #[test]
    fn a_refused_connection_is_found_however_deep_it_lies() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        assert!(was_not_sent(&refused()));
        assert!(was_not_sent(&io::Error::other(refused())));
        assert!(was_not_sent(&io::Error::other(io::Error::other(refused()))));
        assert!(!was_not_sent(&io::Error::from(io::ErrorKind::ConnectionReset)));
        assert!(!was_not_sent(&io::Error::other("refused")));
    }
}
