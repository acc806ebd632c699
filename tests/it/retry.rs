//! The retry layer, in dialogue.

mod bodies;
mod grpc;
mod http;
mod plain;
mod tiers;

use std::{
    future::{Ready, ready},
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use buttress::{
    BoxError,
    backoff::{Backoff, Jitter},
};
use tower::Service;

/// Waits that the tests can count on: 100 ms, 200 ms, 400 ms, ...
fn waits() -> Backoff {
    Backoff::exponential(Duration::from_millis(100)).jitter(Jitter::None)
}

/// Waits that real time can spare.
fn hardly() -> Backoff {
    Backoff::constant(Duration::from_millis(1)).jitter(Jitter::None)
}

/// Answers at once by a function, remembers what it was asked, and panics when called unready. A clone isn't ready.
#[derive(Debug)]
struct Script<F, Req> {
    answer: F,
    asked: Arc<Mutex<Vec<Req>>>,
    ready: bool,
}

impl<F, Req> Script<F, Req> {
    fn new(answer: F) -> Self {
        Self { answer, asked: Arc::default(), ready: false }
    }

    fn calls(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl<F: Clone, Req> Clone for Script<F, Req> {
    fn clone(&self) -> Self {
        Self { answer: self.answer.clone(), asked: self.asked.clone(), ready: false }
    }
}

impl<F, Req, Res, E> Service<Req> for Script<F, Req>
where
    F: FnMut(usize, &Req) -> Result<Res, E>,
    E: Into<BoxError>,
{
    type Response = Res;
    type Error = E;
    type Future = Ready<Result<Res, E>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        if !std::mem::replace(&mut self.ready, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "poll_ready must be called first");
        let mut asked = self.asked.lock().unwrap();
        let answer = (self.answer)(asked.len(), &request);
        asked.push(request);
        ready(answer)
    }
}
