//! How the candidates are called, and what they call.

use std::{
    fmt,
    future::{Future, Ready, poll_fn, ready},
    hint::black_box,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use buttress::BoxError;
use tokio::runtime::Handle;
use tower::Service;

use crate::harness::Candidate;

/// More than any of this will use.
pub(crate) const ROOMY: usize = 1000;
/// The request that fails.
pub(crate) const FAIL: u64 = u64::MAX;

/// A service, cloned for each call.
#[derive(Clone)]
pub(crate) struct PerCall<S>(pub(crate) S);

impl<S> Candidate for PerCall<S>
where
    S: Service<u64> + Clone + Send + 'static,
{
    #[inline]
    fn call_once(&mut self, number: u64) {
        call(&mut self.0.clone(), number);
    }
}

/// Makes one call. The error's type differs from peer to peer.
#[inline]
pub(crate) fn call<S: Service<u64>>(service: &mut S, number: u64) {
    let ready = drive(poll_fn(|cx| service.poll_ready(cx)));
    assert!(ready.is_ok(), "nothing here fails before it is called");
    drop(black_box(drive(service.call(black_box(number)))));
}

/// seatbelt's own service, which takes calls by reference and is shared rather than cloned.
pub(crate) struct Layered<S>(pub(crate) Arc<S>);

impl<S> Clone for Layered<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Candidate for Layered<S>
where
    S: layered::Service<u64> + 'static,
{
    #[inline]
    fn call_once(&mut self, number: u64) {
        drop(black_box(drive(self.0.execute(black_box(number)))));
    }
}

/// Usually the first poll is all there is. It isn't where a peer waits for a timer, or for its own lock.
#[inline]
fn drive<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => Handle::current().block_on(future),
    }
}

/// Answers at once, and does nothing but fail when it is asked to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Noop;

impl Service<u64> for Noop {
    type Response = u64;
    type Error = BoxError;
    type Future = Ready<Result<u64, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        ready(answer(request))
    }
}

/// The same for seatbelt's own services.
impl layered::Service<u64> for Noop {
    type Out = Result<u64, BoxError>;

    fn execute(&self, request: u64) -> impl Future<Output = Self::Out> + Send {
        ready(answer(request))
    }
}

#[inline]
pub(crate) fn answer(request: u64) -> Result<u64, BoxError> {
    if request == FAIL { Err(Failed.into()) } else { Ok(request) }
}

/// Takes no room, so that boxing it costs nothing.
#[derive(Debug)]
pub(crate) struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("asked to fail")
    }
}

impl std::error::Error for Failed {}
