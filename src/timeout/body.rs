//! The body that is kept to its deadline.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use crate::{
    BoxError,
    protocol::grpc::{Code, status_headers},
    timeout::limit::{Limit, poll_sleep},
};

pin_project! {
    /// The inner body until its end or its deadline, or an answer of ours.
    ///
    /// Data, trailers, size hints and `is_end_stream` are the inner body's own. `Unpin` if the inner body is.
    ///
    /// When the time is up, the inner body is dropped. In HTTP the body then breaks off with an
    /// [`Elapsed`](crate::Elapsed), so that nobody takes half a body for a whole one; in gRPC it ends with the trailers
    /// of a `DEADLINE_EXCEEDED`. A frame that comes too late is dropped with it, unless it is the last. A body that
    /// nobody polls, say because the reader is slow, can't notice that the time is up before it is polled again.
    #[derive(Debug)]
    pub struct TimedBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProj]
    #[derive(Debug)]
    enum Kind<B> {
        // The inner body. The timer is gone once the body has ended.
        Inner { #[pin] body: B, timer: Option<Timer> },
        // The body of an answer of ours, or nothing more.
        Answer { bytes: Option<Bytes> },
    }
}

/// Boxed, so that the body stays `Unpin`, and made only when the body keeps us waiting.
#[derive(Debug)]
struct Timer {
    limit: Limit,
    cut: Cut,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// How a body ends whose time is up.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cut {
    /// With an error.
    BreakOff,
    /// With a gRPC status.
    Trailers,
}

impl<B: Body> TimedBody<B> {
    /// Keeps `body` to its deadline; one that is already at its end costs nothing.
    pub(crate) fn guarded(body: B, mut limit: Limit, cut: Cut) -> Self {
        if body.is_end_stream() {
            limit.ended();
            return Self { kind: Kind::Inner { body, timer: None } };
        }
        if matches!(cut, Cut::BreakOff) {
            limit.may_stay_unread();
        }
        let timer = Some(Timer { limit, cut, sleep: None });
        Self { kind: Kind::Inner { body, timer } }
    }

    pub(crate) fn answer(bytes: Bytes) -> Self {
        Self { kind: Kind::Answer { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()) } }
    }
}

impl<B> Body for TimedBody<B>
where
    B: Body,
    B::Data: From<Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut kind = self.project().kind;
        let (mut body, slot) = match kind.as_mut().project() {
            KindProj::Inner { body, timer } => (body, timer),
            KindProj::Answer { bytes } => {
                return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes.into()))));
            }
        };
        let Some(timer) = slot else {
            return body.poll_frame(cx).map_err(Into::into);
        };
        timer.limit.reading();
        match timer.limit.deadline().sync_scope(|| body.as_mut().poll_frame(cx)) {
            Poll::Ready(frame) if is_last(&frame) || body.is_end_stream() => {
                timer.limit.ended();
                *slot = None;
                return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
            }
            // A body that is always ready never gets to the timer, so the clock is read for each of its frames.
            Poll::Ready(frame) if !timer.limit.has_passed() => {
                return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
            }
            Poll::Pending if timer.poll_sleep(cx).is_pending() => return Poll::Pending,
            Poll::Ready(_) | Poll::Pending => {}
        }
        let last = timer.cut();
        kind.set(Kind::Answer { bytes: None });
        Poll::Ready(Some(last))
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body, .. } => body.is_end_stream(),
            Kind::Answer { bytes } => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body, .. } => body.size_hint(),
            Kind::Answer { bytes } => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }
}

/// hyper never polls again for a `None` once it has the trailers.
fn is_last<D, E>(frame: &Option<Result<Frame<D>, E>>) -> bool {
    match frame {
        Some(Ok(frame)) => frame.is_trailers(),
        Some(Err(_)) | None => true,
    }
}

// ===== impl Timer =====

impl Timer {
    fn poll_sleep(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(self.limit.sleep()));
        poll_sleep(sleep.as_mut(), cx)
    }

    /// The last thing a body says whose time is up.
    fn cut<D>(&mut self) -> Result<Frame<D>, BoxError> {
        let elapsed = self.limit.elapsed();
        match self.cut {
            Cut::BreakOff => Err(elapsed.into()),
            Cut::Trailers => {
                let mut trailers = HeaderMap::with_capacity(2);
                status_headers(&mut trailers, Code::DeadlineExceeded, &elapsed.to_string());
                Ok(Frame::trailers(trailers))
            }
        }
    }
}
