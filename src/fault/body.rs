//! The body that breaks off.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::{BoxError, fault::injected::Injected};

pin_project! {
    /// The inner body, whole or broken off; or an injected answer.
    ///
    /// Of a body that is to break off, half of the first frame of data still comes through; then it ends with an
    /// [`Injected`]. Its size hint is that of the whole, so that over HTTP it falls short of its length.
    ///
    /// `Unpin` if the inner body is.
    #[derive(Debug)]
    pub struct FaultyBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProj]
    #[derive(Debug)]
    enum Kind<B> {
        // As it is.
        Whole { #[pin] body: B },
        // Breaks off after half of the first frame.
        Cut { #[pin] body: B, injected: Injected },
        // Breaks off now.
        Broken { injected: Option<Injected> },
        // The body of an answer of ours.
        Answer { bytes: Option<Bytes> },
    }
}

impl<B> FaultyBody<B> {
    pub(super) fn whole(body: B) -> Self {
        Self { kind: Kind::Whole { body } }
    }

    pub(super) fn cut(body: B, injected: Injected) -> Self {
        Self { kind: Kind::Cut { body, injected } }
    }

    pub(super) fn answer(bytes: Bytes) -> Self {
        Self { kind: Kind::Answer { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()) } }
    }
}

impl<B> Body for FaultyBody<B>
where
    B: Body,
    B::Data: From<Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut kind = self.project().kind;
        match kind.as_mut().project() {
            KindProj::Whole { body } => body.poll_frame(cx).map_err(Into::into),
            KindProj::Answer { bytes } => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes.into())))),
            KindProj::Broken { injected } => Poll::Ready(injected.take().map(|injected| Err(injected.into()))),
            KindProj::Cut { body, injected } => {
                let frame = ready!(body.poll_frame(cx));
                let injected = injected.clone();
                let half = match frame.map(|frame| frame.map(Frame::into_data)) {
                    Some(Ok(Ok(data))) => Some(first_half(data)),
                    // At its end already, or failed by itself.
                    Some(Ok(Err(_)) | Err(_)) | None => None,
                };
                kind.set(Kind::Broken { injected: half.is_some().then(|| injected.clone()) });
                Poll::Ready(Some(match half {
                    Some(half) => Ok(Frame::data(half)),
                    None => Err(injected.into()),
                }))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole { body } => body.is_end_stream(),
            Kind::Cut { .. } => false,
            Kind::Broken { injected } => injected.is_none(),
            Kind::Answer { bytes } => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole { body } | Kind::Cut { body, .. } => body.size_hint(),
            Kind::Broken { .. } => SizeHint::default(),
            Kind::Answer { bytes } => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }
}

fn first_half<D: Buf + From<Bytes>>(mut data: D) -> D {
    let half = data.remaining() / 2;
    data.copy_to_bytes(half).into()
}
