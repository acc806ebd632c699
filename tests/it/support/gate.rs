//! An inner service that is only let go by hand, and is strict about being ready.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use buttress::BoxError;
use tokio::sync::Semaphore;
use tower::Service;

/// Answers a call when it is let go, counts how many are inside, and panics when called unready.
///
/// As with any service, a clone isn't ready.
#[derive(Debug)]
pub(crate) struct Gate {
    shared: Arc<Shared>,
    ready: bool,
}

#[derive(Debug)]
struct Shared {
    go: Semaphore,
    inside: AtomicUsize,
    most: AtomicUsize,
    calls: AtomicUsize,
}

impl Gate {
    /// Lets nobody go.
    pub(crate) fn shut() -> Self {
        let [inside, most, calls] = std::array::from_fn(|_| AtomicUsize::new(0));
        Self { shared: Arc::new(Shared { go: Semaphore::new(0), inside, most, calls }), ready: false }
    }

    /// Lets everybody go, after having given way once.
    pub(crate) fn open() -> Self {
        let gate = Self::shut();
        gate.let_go(Semaphore::MAX_PERMITS);
        gate
    }

    /// Lets `calls` more go.
    pub(crate) fn let_go(&self, calls: usize) {
        self.shared.go.add_permits(calls);
    }

    /// How many calls are inside.
    pub(crate) fn inside(&self) -> usize {
        self.shared.inside.load(SeqCst)
    }

    /// How many were inside at once at most.
    pub(crate) fn most(&self) -> usize {
        self.shared.most.load(SeqCst)
    }

    /// How many calls there were.
    pub(crate) fn calls(&self) -> usize {
        self.shared.calls.load(SeqCst)
    }
}

impl Clone for Gate {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), ready: false }
    }
}

impl Service<usize> for Gate {
    type Response = usize;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<usize, BoxError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: usize) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "poll_ready must be called first");
        self.shared.calls.fetch_add(1, SeqCst);
        let inside = Inside::of(self.shared.clone());
        Box::pin(async move {
            tokio::task::yield_now().await;
            inside.0.go.acquire().await?.forget();
            Ok(request)
        })
    }
}

/// Counts one inside for as long as it lives, so also when the call is dropped.
struct Inside(Arc<Shared>);

impl Inside {
    fn of(shared: Arc<Shared>) -> Self {
        let inside = shared.inside.fetch_add(1, SeqCst) + 1;
        shared.most.fetch_max(inside, SeqCst);
        Self(shared)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, SeqCst);
    }
}
