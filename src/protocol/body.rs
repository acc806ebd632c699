//! The body that carries an observer to the end of the exchange.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::http::HeaderMap;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::{
    outcome::{Cause, Outcome},
    protocol::{Observer, cause},
};

pin_project! {
    /// The inner body with its watch, or the bytes of a refusal.
    ///
    /// Data, trailers, size hints and `is_end_stream` are the inner body's own. `Unpin` if the inner body is.
    ///
    /// Dropped before its end, it ends the exchange: one that nobody began to read is judged by its head (most callers
    /// never read the body of an error, and a `HEAD` has none); one that was being read is a failure if its head said
    /// so, and otherwise cancelled.
    #[project = WatchedBodyProj]
    #[derive(Debug)]
    pub enum WatchedBody<B, W> {
        /// The inner service's body.
        #[doc(hidden)]
        Inner { #[pin] body: B, watch: Option<W> },
        /// The body of an answer that was given without calling the service.
        #[doc(hidden)]
        Refusal { bytes: Option<Bytes> },
    }
}

/// Sees the body go by and tells the observer how it ended.
///
/// Dropped before any of the closing calls, the body was dropped.
pub trait Watch {
    /// Somebody has begun to read the body.
    fn reading(&mut self);
    /// The body ended, with these trailers if it had any.
    fn end(self, trailers: Option<&HeaderMap>);
    /// The body broke off, for this reason.
    fn broken(self, cause: Cause);
}

impl<B: Body, W: Watch> WatchedBody<B, W> {
    /// Watches `body`; one that is already at its end is settled at once.
    pub(crate) fn watched(body: B, watch: W) -> Self {
        if body.is_end_stream() {
            watch.end(None);
            return Self::Inner { body, watch: None };
        }
        Self::Inner { body, watch: Some(watch) }
    }

    pub(crate) fn refusal(bytes: Bytes) -> Self {
        Self::Refusal { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()) }
    }
}

impl<B, W> Body for WatchedBody<B, W>
where
    B: Body,
    B::Data: From<Bytes>,
    B::Error: 'static,
    W: Watch,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let (mut body, watch) = match self.project() {
            WatchedBodyProj::Inner { body, watch } => (body, watch),
            WatchedBodyProj::Refusal { bytes } => {
                return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes.into()))));
            }
        };
        if let Some(watch) = watch {
            watch.reading();
        }
        let frame = ready!(body.as_mut().poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                // hyper never polls again for a `None` once it has the trailers, or once the body says it has ended.
                let trailers = frame.trailers_ref();
                if (trailers.is_some() || body.is_end_stream())
                    && let Some(watch) = watch.take()
                {
                    watch.end(trailers);
                }
            }
            Some(Err(error)) => {
                if let Some(watch) = watch.take() {
                    watch.broken(match cause::of_any(error) {
                        Cause::Error => Cause::Body,
                        known => known,
                    });
                }
            }
            None => {
                if let Some(watch) = watch.take() {
                    watch.end(None);
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Inner { body, .. } => body.is_end_stream(),
            Self::Refusal { bytes } => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Inner { body, .. } => body.size_hint(),
            Self::Refusal { bytes } => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }
}

/// An observer, and what to tell it should the body be dropped.
#[derive(Debug)]
pub(crate) struct Parting<O: Observer> {
    observer: Option<O>,
    if_dropped: Option<Outcome>,
}

impl<O: Observer> Parting<O> {
    pub(crate) fn new(observer: O, head: Option<Outcome>) -> Self {
        Self { observer: Some(observer), if_dropped: head }
    }

    /// From here on a drop says nothing good of the service: it may be that the caller would wait no longer.
    pub(crate) fn reading(&mut self) {
        if self.if_dropped == Some(Outcome::Success) {
            self.if_dropped = None;
        }
    }

    pub(crate) fn finish(mut self, outcome: Outcome) {
        if let Some(observer) = self.observer.take() {
            observer.finish(outcome);
        }
    }

    pub(crate) fn broken(self, cause: Cause) {
        self.finish(Outcome::failure(cause));
    }
}

impl<O: Observer> Drop for Parting<O> {
    fn drop(&mut self) {
        if let Some(observer) = self.observer.take()
            && let Some(outcome) = self.if_dropped
        {
            observer.finish(outcome);
        }
    }
}
