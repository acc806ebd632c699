//! An answer that streams: its messages are handed on as they come, its status when the saga is durable.

use std::{any::Any, fmt, future::poll_fn};

use bytes::Bytes;
use http::{Response, header::CONTENT_TYPE};
use http_body::{Body, Frame};
use tokio::sync::mpsc;

use super::{
    CommitStatus, Conclusion, Instead, Rest, SagaBody,
    body::Item,
    front::{Front, Last},
    grpc::judge_last,
};
use crate::{
    name::Name,
    saga::{
        OnDisconnect,
        layer::idempotency::{Keep, StoredAnswer},
    },
};

/// How many messages a client may lag behind before the handler waits for it.
const LAG: usize = 4;

/// Reads a body to its end, whether the client does or not.
#[doc(hidden)]
pub struct Pump<B: Body, V> {
    head: Response<()>,
    front: Front<B>,
    verdict: V,
    keep: Option<Keep>,
    items: mpsc::Sender<Item<B>>,
    last: Option<Last<B::Error>>,
}

impl<B, V> Pump<B, V>
where
    B: Body,
    B::Data: From<Bytes>,
{
    /// The answer, and what feeds it.
    pub(super) fn begin(
        head: Response<()>,
        front: Front<B>,
        verdict: V,
        keep: Option<Keep>,
    ) -> (Response<SagaBody<B>>, Self) {
        let (items, received) = mpsc::channel(LAG);
        let answer = head.clone().map(|()| SagaBody::pumped(received));
        (answer, Self { head, front, verdict, keep, items, last: None })
    }

    /// Hands a frame on, if anybody wants it.
    async fn hand_on(&mut self, frame: Frame<B::Data>) {
        let _ = self.items.send(Item::Frame(frame)).await;
    }

    async fn read(&mut self) -> Last<B::Error> {
        for frame in self.front.take_frames() {
            self.hand_on(frame).await;
        }
        loop {
            match poll_fn(|cx| self.front.poll_frame(cx)).await {
                Ok(frame) => self.hand_on(frame).await,
                Err(last) => return last,
            }
        }
    }
}

impl<B, V> Rest for Pump<B, V>
where
    B: Body + Send + 'static,
    B::Data: From<Bytes> + Send,
    B::Error: Send + 'static,
    V: CommitStatus + Send + Sync + 'static,
{
    async fn run(&mut self, on_disconnect: OnDisconnect) -> Option<Conclusion> {
        let items = self.items.clone();
        let last = tokio::select! {
            biased;
            last = self.read() => last,
            () = items.closed(), if on_disconnect == OnDisconnect::Undo => return None,
        };
        let conclusion = judge_last(&self.verdict, &last, || {
            let body = self.front.kept()?;
            StoredAnswer::of(&self.head, last.trailers(), body, self.keep.as_ref()?)
        });
        self.last = Some(last);
        Some(conclusion)
    }

    async fn finish(self, instead: Option<(Instead, &Name)>) {
        let last = match instead {
            Some((instead, name)) => {
                let mut trailers = instead.grpc(name).into_parts().0.headers;
                trailers.remove(CONTENT_TYPE);
                Last::Trailers(trailers)
            }
            None => self.last.unwrap_or(Last::End),
        };
        let _ = match last {
            Last::Trailers(trailers) => self.items.send(Item::Frame(Frame::trailers(trailers))).await,
            Last::Broken(error) => self.items.send(Item::Broken(error)).await,
            Last::End => return,
        };
    }

    async fn panic(self, panic: Box<dyn Any + Send>) {
        let _ = self.items.send(Item::Panic(panic)).await;
    }
}

impl<B: Body, V> fmt::Debug for Pump<B, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pump").field("head", &self.head).finish_non_exhaustive()
    }
}
