//! The saga that the task at hand is carrying out.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::{Deadline, saga::Saga};

tokio::task_local! {
    static CURRENT: Saga;
}

impl Saga {
    /// The saga of the handler or service that this task is running: wherever a [`SagaLayer`](super::SagaLayer) is further
    /// out, and in the same task.
    ///
    /// For services that can't get it from their request; an axum handler has it as an argument, a tonic one in the
    /// request's extensions.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }
}

/// Under what a handler runs.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) saga: Saga,
    pub(crate) deadline: Option<Deadline>,
}

impl Scope {
    pub(crate) fn enter<R>(&self, f: impl FnOnce() -> R) -> R {
        CURRENT.sync_scope(self.saga.clone(), || match self.deadline {
            Some(deadline) => deadline.sync_scope(f),
            None => f(),
        })
    }

    pub(crate) fn around<F>(&self, future: F) -> InScope<F> {
        InScope { scope: self.clone(), future }
    }
}

pin_project! {
    pub(crate) struct InScope<F> {
        scope: Scope,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for InScope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.scope.enter(|| this.future.poll(cx))
    }
}
