//! The future of a [`SagaService`](super::SagaService).

use std::{
    any::Any,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{sync::oneshot, task::AbortHandle};

use crate::name::Name;

/// What a request comes to: an answer, or the panic of its handler.
pub(crate) type Told<R, E> = Result<Result<R, E>, Box<dyn Any + Send>>;

/// Waits for the answer of a handler that runs as a task of its own.
///
/// # Cancel safety
///
/// Dropped, the handler goes on, or is cut off and undone: [`OnDisconnect`](super::OnDisconnect). One that still waits for
/// its turn isn't begun.
///
/// # Panics
///
/// When polled, if the handler did.
pub struct ResponseFuture<P, R, E> {
    step: Step<R, E>,
    protocol: P,
    name: Name,
    /// What to answer when the task is gone: the runtime is shutting down.
    gone: fn(&P, &Name) -> Result<R, E>,
    cut: Option<CutOff>,
}

enum Step<R, E> {
    Waiting(oneshot::Receiver<Told<R, E>>),
    Answered(Option<Result<R, E>>),
}

/// Ends the task with whoever waits for it: a mistake, made only where it is planted.
struct CutOff(AbortHandle);

impl<P, R, E> ResponseFuture<P, R, E> {
    pub(super) fn waiting(
        told: oneshot::Receiver<Told<R, E>>,
        protocol: P,
        name: Name,
        gone: fn(&P, &Name) -> Result<R, E>,
    ) -> Self {
        Self { step: Step::Waiting(told), protocol, name, gone, cut: None }
    }

    pub(super) fn answered(answer: Result<R, E>, protocol: P, name: Name, gone: fn(&P, &Name) -> Result<R, E>) -> Self {
        Self { step: Step::Answered(Some(answer)), protocol, name, gone, cut: None }
    }

    pub(super) fn cut_off_with(mut self, task: AbortHandle) -> Self {
        self.cut = Some(CutOff(task));
        self
    }
}

/// Nothing in it is pinned.
impl<P, R, E> Unpin for ResponseFuture<P, R, E> {}

impl<P, R, E> Future for ResponseFuture<P, R, E> {
    type Output = Result<R, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.step {
            Step::Answered(answer) => Poll::Ready(answer.take().expect("polled after it was ready")),
            Step::Waiting(told) => Poll::Ready(match ready!(Pin::new(told).poll(cx)) {
                Ok(Ok(answer)) => answer,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                Err(_) => (self.gone)(&self.protocol, &self.name),
            }),
        }
    }
}

impl<P, R, E> fmt::Debug for ResponseFuture<P, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Drop for CutOff {
    fn drop(&mut self) {
        self.0.abort();
    }
}
