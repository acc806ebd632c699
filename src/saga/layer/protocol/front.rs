//! The front of a response's body, read before it is handed on.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use tokio::time::timeout;

use super::SagaBody;
use crate::saga::layer::idempotency::{Keep, StoredAnswer};

/// What was read of a body, and what is left of it.
pub(super) struct Front<B: Body> {
    frames: VecDeque<Frame<B::Data>>,
    bytes: usize,
    rest: Pin<Box<B>>,
    kept: Option<Vec<u8>>,
    limit: usize,
}

/// How a body ended.
pub(super) enum Last<E> {
    Trailers(HeaderMap),
    End,
    Broken(E),
}

type Next<B> = Result<Frame<<B as Body>::Data>, Last<<B as Body>::Error>>;

/// For how long an answer that is to be kept is waited for after its head.
const PATIENCE: Duration = Duration::from_secs(1);

/// Reads a response that is to be kept. One that is too large for that, or takes too long, is handed on unkept.
pub(super) async fn kept<B>(response: Response<B>, keep: &Keep) -> (Response<SagaBody<B>>, Option<Bytes>)
where
    B: Body,
    B::Data: From<Bytes>,
{
    let (head, body) = response.into_parts();
    let head = Response::from_parts(head, ());
    let mut front = Front::new(body, keep.limit);
    let last = timeout(PATIENCE, front.read(keep.limit)).await.ok().flatten();
    let kept = match &last {
        Some(Last::Trailers(trailers)) => {
            front.kept().and_then(|body| StoredAnswer::of(&head, Some(trailers), body, keep))
        }
        Some(Last::End) => front.kept().and_then(|body| StoredAnswer::of(&head, None, body, keep)),
        Some(Last::Broken(_)) | None => None,
    };
    (head.map(|()| front.into_body(last)), kept)
}

impl<B> Front<B>
where
    B: Body,
    B::Data: From<Bytes>,
{
    /// Of `body`, of which up to `keep` bytes are kept.
    pub(super) fn new(body: B, keep: usize) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, rest: Box::pin(body), kept: (keep > 0).then(Vec::new), limit: keep }
    }

    /// Reads to the end, or until more than `limit` bytes were read.
    async fn read(&mut self, limit: usize) -> Option<Last<B::Error>> {
        while self.bytes <= limit {
            if let Some(last) = poll_fn(|cx| self.poll_next(cx)).await {
                return Some(last);
            }
        }
        None
    }

    /// As far as it doesn't have to wait.
    pub(super) async fn read_what_is_there(&mut self, limit: usize) -> Option<Last<B::Error>> {
        while self.bytes <= limit {
            match poll_fn(|cx| Poll::Ready(self.poll_next(cx))).await {
                Poll::Ready(None) => {}
                Poll::Ready(Some(last)) => return Some(last),
                Poll::Pending => return None,
            }
        }
        None
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Last<B::Error>>> {
        Poll::Ready(match ready!(self.poll_frame(cx)) {
            Ok(frame) => {
                self.frames.push_back(frame);
                None
            }
            Err(last) => Some(last),
        })
    }

    /// The next frame of data, with what has to be kept of it kept; or the end.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Next<B>> {
        Poll::Ready(match ready!(self.rest.as_mut().poll_frame(cx)) {
            None => Err(Last::End),
            Some(Err(error)) => Err(Last::Broken(error)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => Ok(Frame::data(self.keep(data))),
                Err(frame) => match frame.into_trailers() {
                    Ok(trailers) => Err(Last::Trailers(trailers)),
                    Err(frame) => Ok(frame),
                },
            },
        })
    }

    fn keep(&mut self, mut data: B::Data) -> B::Data {
        self.bytes = self.bytes.saturating_add(data.remaining());
        let Some(kept) = &mut self.kept else { return data };
        if self.bytes > self.limit {
            self.kept = None;
            return data;
        }
        let bytes = data.copy_to_bytes(data.remaining());
        kept.extend_from_slice(&bytes);
        bytes.into()
    }

    /// All that was read, if it was to be kept and wasn't too much.
    pub(super) fn kept(&mut self) -> Option<Bytes> {
        self.kept.take().map(Bytes::from)
    }

    pub(super) fn take_frames(&mut self) -> VecDeque<Frame<B::Data>> {
        std::mem::take(&mut self.frames)
    }

    /// A body that begins with what was read; with its `last`, if that was read too.
    pub(super) fn into_body(self, last: Option<Last<B::Error>>) -> SagaBody<B> {
        let Self { mut frames, rest, .. } = self;
        match last {
            None => SagaBody::read(frames, None, Some(rest)),
            Some(Last::End) => SagaBody::read(frames, None, None),
            Some(Last::Broken(error)) => SagaBody::read(frames, Some(error), None),
            Some(Last::Trailers(trailers)) => {
                frames.push_back(Frame::trailers(trailers));
                SagaBody::read(frames, None, None)
            }
        }
    }
}

impl<E> Last<E> {
    pub(super) fn trailers(&self) -> Option<&HeaderMap> {
        match self {
            Self::Trailers(trailers) => Some(trailers),
            Self::End | Self::Broken(_) => None,
        }
    }
}
