//! The body of an answer that may be a fallback's.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::handle::Permit;
use crate::BoxError;

pin_project! {
    /// The inner service's body, or the fallback's, which counts as a fallback under way until it ends or is dropped.
    ///
    /// Data, trailers, size hints and `is_end_stream` are the body's own, and so are errors, but that they are boxed: the
    /// two bodies needn't have the same. `Unpin` if both bodies are.
    #[project = FallbackBodyProj]
    #[derive(Debug)]
    pub enum FallbackBody<B, F = B> {
        /// The inner service's.
        #[doc(hidden)]
        Inner { #[pin] body: B },
        /// The fallback's.
        #[doc(hidden)]
        Instead { #[pin] body: F, permit: Option<Permit> },
    }
}

impl<B, F: Body> FallbackBody<B, F> {
    pub(super) fn instead(body: F, permit: Permit) -> Self {
        let permit = Some(permit).filter(|_| !body.is_end_stream());
        Self::Instead { body, permit }
    }
}

impl<B, F> Body for FallbackBody<B, F>
where
    B: Body<Error: Into<BoxError>>,
    F: Body<Data = B::Data, Error: Into<BoxError>>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        match self.project() {
            FallbackBodyProj::Inner { body } => body.poll_frame(cx).map_err(Into::into),
            FallbackBodyProj::Instead { mut body, permit } => {
                let frame = ready!(body.as_mut().poll_frame(cx));
                // hyper never polls again for a `None` once the body says that it has ended.
                if frame.as_ref().is_none_or(Result::is_err) || body.is_end_stream() {
                    *permit = None;
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Inner { body } => body.is_end_stream(),
            Self::Instead { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Inner { body } => body.size_hint(),
            Self::Instead { body, .. } => body.size_hint(),
        }
    }
}
