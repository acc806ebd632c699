//! A request's body, made again of what was read of it.

use bytes::Bytes;
use http_body::Body;
use http_body_util::{
    BodyExt, Empty, Full,
    combinators::{BoxBody, UnsyncBoxBody},
};

/// A request body that can be made of bytes: with an idempotency key, the body is read before the handler sees it.
///
/// Implemented for axum's and tonic's body, the boxed ones, [`Full`], [`Empty`] and `String`.
pub trait Rebuild: Body<Data: Send, Error: Send> + Send + 'static {
    /// A body of these bytes.
    fn rebuild(bytes: Bytes) -> Self;
}

impl<D> Rebuild for Full<D>
where
    D: bytes::Buf + From<Bytes> + Send + 'static,
{
    fn rebuild(bytes: Bytes) -> Self {
        Self::new(bytes.into())
    }
}

impl<D> Rebuild for Empty<D>
where
    D: bytes::Buf + Send + 'static,
{
    fn rebuild(_bytes: Bytes) -> Self {
        Self::new()
    }
}

impl Rebuild for String {
    fn rebuild(bytes: Bytes) -> Self {
        // It was a `String` when it was read.
        Self::from_utf8_lossy(&bytes).into_owned()
    }
}

impl<E: Send + 'static> Rebuild for BoxBody<Bytes, E> {
    fn rebuild(bytes: Bytes) -> Self {
        Full::new(bytes).map_err(|never| match never {}).boxed()
    }
}

impl<E: Send + 'static> Rebuild for UnsyncBoxBody<Bytes, E> {
    fn rebuild(bytes: Bytes) -> Self {
        Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
    }
}

#[cfg(feature = "axum")]
impl Rebuild for axum_core::body::Body {
    fn rebuild(bytes: Bytes) -> Self {
        Self::from(bytes)
    }
}

#[cfg(feature = "tonic")]
impl Rebuild for tonic::body::Body {
    fn rebuild(bytes: Bytes) -> Self {
        Self::new(Full::new(bytes))
    }
}
