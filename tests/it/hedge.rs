//! The hedge, in dialogue.

mod bodies;
mod grpc;
mod http;
mod plain;
mod quantile;

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tower::Service;

const MS: Duration = Duration::from_millis(1);

/// Answers each call after a while, by a function of how many there were before; knows how many are under way, and when
/// each request came. Panics when called unready; a clone isn't ready.
struct Course<F, Req> {
    answer: F,
    seen: Arc<Seen<Req>>,
    ready: bool,
}

struct Seen<Req> {
    asked: Mutex<Vec<(Instant, Req)>>,
    running: AtomicUsize,
}

impl<F, Req> Course<F, Req> {
    fn new<Res, E>(answer: F) -> Self
    where
        F: FnMut(usize) -> (Duration, Result<Res, E>),
    {
        let seen = Seen { asked: Mutex::default(), running: AtomicUsize::new(0) };
        Self { answer, seen: Arc::new(seen), ready: false }
    }

    fn calls(&self) -> usize {
        self.seen.asked.lock().unwrap().len()
    }

    fn running(&self) -> usize {
        self.seen.running.load(SeqCst)
    }

    /// When the calls came, in milliseconds since `began`.
    fn times(&self, began: Instant) -> Vec<u64> {
        let asked = self.seen.asked.lock().unwrap();
        asked.iter().map(|(at, _)| at.duration_since(began).as_millis() as u64).collect()
    }
}

impl<F: Clone, Req> Clone for Course<F, Req> {
    fn clone(&self) -> Self {
        Self { answer: self.answer.clone(), seen: self.seen.clone(), ready: false }
    }
}

impl<F, Req, Res, E> Service<Req> for Course<F, Req>
where
    F: FnMut(usize) -> (Duration, Result<Res, E>),
    Req: Send + 'static,
    Res: Send + 'static,
    E: Send + 'static,
{
    type Response = Res;
    type Error = E;
    type Future = Pin<Box<dyn Future<Output = Result<Res, E>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        // Not at once, so that a layer which doesn't wait is found out.
        if !std::mem::replace(&mut self.ready, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "poll_ready must be called first");
        let mut asked = self.seen.asked.lock().unwrap();
        let (wait, answer) = (self.answer)(asked.len());
        asked.push((Instant::now(), request));
        self.seen.running.fetch_add(1, SeqCst);
        let running = Running(self.seen.clone());
        Box::pin(async move {
            let _running = running;
            sleep(wait).await;
            answer
        })
    }
}

struct Running<Req>(Arc<Seen<Req>>);

impl<Req> Drop for Running<Req> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}
