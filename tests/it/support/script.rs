//! A service that answers by a function, and is strict about being ready.

use std::{
    future::{Ready, ready},
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use buttress::BoxError;
use tower::Service;

/// Answers at once by a function, remembers what it was asked, and panics when called unready. A clone isn't ready.
#[derive(Debug)]
pub(crate) struct Script<F, Req> {
    answer: F,
    pub(crate) asked: Arc<Mutex<Vec<Req>>>,
    ready: bool,
}

impl<F, Req> Script<F, Req> {
    pub(crate) fn new(answer: F) -> Self {
        Self { answer, asked: Arc::default(), ready: false }
    }

    pub(crate) fn calls(&self) -> usize {
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
        // Not at once, so that a layer which doesn't wait is found out.
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
