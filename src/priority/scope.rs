//! The priority of the task at hand.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::{priority::Priority, scope};

thread_local! {
    static CURRENT: Cell<Option<Priority>> = const { Cell::new(None) };
}

impl Priority {
    /// The priority of the handler or call this task is running in.
    #[inline]
    pub fn current() -> Option<Self> {
        CURRENT.get()
    }

    /// Runs `f`, usually the polling of a future, so that it finds this priority as the [current](Self::current) one.
    #[inline]
    pub fn sync_scope<R>(self, f: impl FnOnce() -> R) -> R {
        scope::run(&CURRENT, self, f)
    }

    /// A future that runs as `future` does, and finds this priority as the [current](Self::current) one.
    pub fn scope<F>(self, future: F) -> Prioritized<F> {
        Prioritized { priority: Some(self), future }
    }

    /// Lets `future` have the priority that is [current](Self::current) now, if there is one, wherever it is run: for
    /// what a handler spawns.
    pub fn carry<F>(future: F) -> Prioritized<F> {
        Prioritized { priority: Self::current(), future }
    }
}

pin_project! {
    /// A future with a priority as the current one: [`Priority::scope`], [`Priority::carry`].
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct Prioritized<F> {
        priority: Option<Priority>,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Prioritized<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        match this.priority {
            Some(priority) => priority.sync_scope(|| this.future.poll(cx)),
            None => this.future.poll(cx),
        }
    }
}
