//! The body of an answer that went through a saga.

use std::{
    any::Any,
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::sync::mpsc;

use crate::saga::layer::idempotency::Trailers;

pin_project! {
    /// The handler's own body; what was read of it, and the rest; or an answer in its place.
    ///
    /// Data, trailers, errors, size hints and `is_end_stream` are the inner body's own.
    #[project = SagaBodyProj]
    pub struct SagaBody<B: Body> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<B: Body> {
        // Handed through.
        Inner { #[pin] body: B },
        // Read up to here.
        Read { frames: VecDeque<Frame<B::Data>>, error: Option<B::Error>, rest: Option<Pin<Box<B>>> },
        // Read elsewhere, to its end, whether we are listening or not.
        Pumped { items: mpsc::Receiver<Item<B>> },
    }
}

/// What comes of a body that is read elsewhere.
pub(super) enum Item<B: Body> {
    Frame(Frame<B::Data>),
    Broken(B::Error),
    Panic(Box<dyn Any + Send>),
}

impl<B: Body> SagaBody<B> {
    pub(super) fn inner(body: B) -> Self {
        Self { kind: Kind::Inner { body } }
    }

    pub(super) fn read(frames: VecDeque<Frame<B::Data>>, error: Option<B::Error>, rest: Option<Pin<Box<B>>>) -> Self {
        Self { kind: Kind::Read { frames, error, rest } }
    }

    pub(super) fn pumped(items: mpsc::Receiver<Item<B>>) -> Self {
        Self { kind: Kind::Pumped { items } }
    }

    /// An answer of our own, or one that was kept.
    pub(super) fn respond(mut answer: Response<Bytes>) -> Response<Self>
    where
        B::Data: From<Bytes>,
    {
        let trailers = answer.extensions_mut().remove::<Trailers>().map(|trailers| Frame::trailers(trailers.0));
        answer.map(|bytes| {
            let data = Some(bytes).filter(|bytes| !bytes.is_empty()).map(|bytes| Frame::data(bytes.into()));
            Self::read(data.into_iter().chain(trailers).collect(), None, None)
        })
    }
}

impl<B: Body> Body for SagaBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().kind.project() {
            KindProj::Inner { body } => body.poll_frame(cx),
            KindProj::Read { frames, error, rest } => {
                if let Some(frame) = frames.pop_front() {
                    return Poll::Ready(Some(Ok(frame)));
                }
                if let Some(error) = error.take() {
                    return Poll::Ready(Some(Err(error)));
                }
                rest.as_mut().map_or(Poll::Ready(None), |rest| rest.as_mut().poll_frame(cx))
            }
            KindProj::Pumped { items } => Poll::Ready(match ready!(items.poll_recv(cx)) {
                None => None,
                Some(Item::Frame(frame)) => Some(Ok(frame)),
                Some(Item::Broken(error)) => Some(Err(error)),
                Some(Item::Panic(panic)) => std::panic::resume_unwind(panic),
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } => body.is_end_stream(),
            Kind::Read { frames, error, rest } => {
                frames.is_empty() && error.is_none() && rest.as_ref().is_none_or(|rest| rest.is_end_stream())
            }
            Kind::Pumped { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } => body.size_hint(),
            Kind::Read { frames, error, rest } => {
                let read = frames.iter().filter_map(Frame::data_ref).map(|data| data.remaining() as u64).sum::<u64>();
                let rest = match rest {
                    Some(rest) => rest.size_hint(),
                    None if error.is_some() => SizeHint::default(),
                    None => SizeHint::with_exact(0),
                };
                let mut hint = SizeHint::new();
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper.saturating_add(read));
                }
                hint.set_lower(rest.lower().saturating_add(read).min(hint.upper().unwrap_or(u64::MAX)));
                hint
            }
            Kind::Pumped { .. } => SizeHint::default(),
        }
    }
}

impl<B: Body> fmt::Debug for SagaBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Inner { .. } => "Inner",
            Kind::Read { .. } => "Read",
            Kind::Pumped { .. } => "Pumped",
        };
        f.debug_tuple("SagaBody").field(&kind).finish()
    }
}
