//! A response body whose frames the test sends one by one.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use tokio::sync::mpsc;

pub(crate) type ScriptedBody = UnsyncBoxBody<Bytes, std::io::Error>;

/// The sending end and the body; the body ends when the sender is dropped.
pub(crate) fn scripted() -> (mpsc::UnboundedSender<std::io::Result<Frame<Bytes>>>, ScriptedBody) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let frames =
        stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|frame| (frame, receiver)) });
    (sender, StreamBody::new(frames.boxed()).boxed_unsync())
}

/// A frame of data.
pub(crate) fn data(text: &'static str) -> std::io::Result<Frame<Bytes>> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

/// A frame of trailers.
pub(crate) fn trailers<const N: usize>(trailers: [(&'static str, &'static str); N]) -> std::io::Result<Frame<Bytes>> {
    let pairs = trailers.map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap()));
    Ok(Frame::trailers(http::HeaderMap::from_iter(pairs)))
}
