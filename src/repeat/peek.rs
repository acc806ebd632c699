//! A body whose first frame has been looked at.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Buf;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

/// How long a gRPC answer's first frame is waited for once its head is there. A stream whose first message comes later,
/// such as a subscription's, is handed on by then, and not sent again from there on.
pub const FIRST_FRAME_WITHIN: Duration = Duration::from_millis(10);

pin_project! {
    /// A gRPC response's body, whose first frame was looked at to see whether the call had failed already.
    ///
    /// Data, trailers, errors, size hints and `is_end_stream` are the inner body's own. `Unpin` if the inner body is.
    pub struct PeekedBody<B: Body> {
        first: First<B::Data, B::Error>,
        #[pin]
        inner: B,
    }
}

enum First<D, E> {
    /// Not looked at, or handed on.
    Unknown,
    Frame(Result<Frame<D>, E>),
    End,
}

/// What the first frame is.
pub(crate) enum Peeked<'a, E> {
    Unknown,
    Data,
    Trailers(&'a HeaderMap),
    Error(&'a E),
    End,
}

impl<B: Body> PeekedBody<B> {
    pub(crate) fn new(inner: B) -> Self {
        Self { first: First::Unknown, inner }
    }

    /// Ready once the first frame is there.
    pub(crate) fn poll_peek(&mut self, cx: &mut Context<'_>) -> Poll<()>
    where
        B: Unpin,
    {
        if let First::Unknown = self.first {
            let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
            self.first = frame.map_or(First::End, First::Frame);
        }
        Poll::Ready(())
    }

    pub(crate) fn peeked(&self) -> Peeked<'_, B::Error> {
        match &self.first {
            First::Unknown => Peeked::Unknown,
            First::End => Peeked::End,
            First::Frame(Err(error)) => Peeked::Error(error),
            First::Frame(Ok(frame)) => frame.trailers_ref().map_or(Peeked::Data, Peeked::Trailers),
        }
    }
}

impl<B: Body> Body for PeekedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        match std::mem::replace(this.first, First::Unknown) {
            First::Unknown => this.inner.poll_frame(cx),
            First::Frame(frame) => Poll::Ready(Some(frame)),
            First::End => {
                *this.first = First::End;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.first {
            First::Unknown => self.inner.is_end_stream(),
            First::Frame(_) => false,
            First::End => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.inner.size_hint();
        if let First::Frame(Ok(frame)) = &self.first
            && let Some(data) = frame.data_ref()
        {
            let first = data.remaining() as u64;
            if let Some(upper) = hint.upper() {
                hint.set_upper(upper.saturating_add(first));
            }
            hint.set_lower(hint.lower().saturating_add(first).min(hint.upper().unwrap_or(u64::MAX)));
        }
        hint
    }
}

impl<B: Body + fmt::Debug> fmt::Debug for PeekedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeekedBody").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use std::{collections::VecDeque, io, task::Waker};

    use bytes::Bytes;

    use super::*;

    /// A body whose frames are known, and whose length is that of its data.
    struct Frames(VecDeque<io::Result<Frame<Bytes>>>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            Poll::Ready(self.0.pop_front())
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_empty()
        }

        fn size_hint(&self) -> SizeHint {
            let data = self.0.iter().flatten().filter_map(Frame::data_ref);
            SizeHint::with_exact(data.map(|data| data.len() as u64).sum())
        }
    }

    fn peeked<const N: usize>(frames: [io::Result<Frame<Bytes>>; N]) -> PeekedBody<Frames> {
        let mut body = PeekedBody::new(Frames(VecDeque::from(frames)));
        assert!(body.poll_peek(&mut Context::from_waker(Waker::noop())).is_ready());
        body
    }

    fn next(body: &mut PeekedBody<Frames>) -> Option<io::Result<Frame<Bytes>>> {
        match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(frame) => frame,
            Poll::Pending => panic!("pending"),
        }
    }

    #[test]
    fn what_was_looked_at_is_still_to_come() {
        let data = |bytes: &'static str| Ok(Frame::data(Bytes::from_static(bytes.as_bytes())));
        let mut body = peeked([data("ab"), data("cde"), Ok(Frame::trailers(HeaderMap::new()))]);
        assert!(matches!(body.peeked(), Peeked::Data));
        assert_eq!(body.size_hint().exact(), Some(5));
        assert!(!body.is_end_stream());
        assert_eq!(next(&mut body).unwrap().unwrap().into_data().unwrap(), "ab");
        assert_eq!(body.size_hint().exact(), Some(3));
        assert_eq!(next(&mut body).unwrap().unwrap().into_data().unwrap(), "cde");
        assert!(next(&mut body).unwrap().unwrap().is_trailers());
        assert!(body.is_end_stream());
        assert!(next(&mut body).is_none());
    }

    #[test]
    fn trailers_errors_and_the_end_are_handed_on_once() {
        let mut body = peeked([Ok(Frame::trailers(HeaderMap::new()))]);
        assert!(matches!(body.peeked(), Peeked::Trailers(_)));
        assert!(!body.is_end_stream() && body.size_hint().exact() == Some(0));
        assert!(next(&mut body).unwrap().unwrap().is_trailers());
        assert!(body.is_end_stream() && next(&mut body).is_none());

        let mut body = peeked([Err(io::Error::other("broke"))]);
        assert!(matches!(body.peeked(), Peeked::Error(_)) && !body.is_end_stream());
        assert!(next(&mut body).unwrap().is_err());
        assert!(next(&mut body).is_none());

        let mut body = peeked([]);
        assert!(matches!(body.peeked(), Peeked::End) && body.is_end_stream());
        assert!(next(&mut body).is_none() && next(&mut body).is_none());
    }
}
