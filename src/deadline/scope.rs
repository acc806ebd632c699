//! The deadline of the task at hand.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::{deadline::Deadline, scope};

thread_local! {
    static CURRENT: Cell<Option<Deadline>> = const { Cell::new(None) };
}

impl Deadline {
    /// The deadline of the handler or call this task is running in.
    #[inline]
    pub fn current() -> Option<Self> {
        CURRENT.get()
    }

    /// Runs `f`, usually the polling of a future, so that it finds this deadline as the [current](Self::current) one.
    #[inline]
    pub fn sync_scope<R>(self, f: impl FnOnce() -> R) -> R {
        scope::run(&CURRENT, self, f)
    }

    /// A future that runs as `future` does, and finds this deadline as the [current](Self::current) one.
    ///
    /// It isn't cut off when the deadline passes; that is [`Timeout::run`](crate::timeout::Timeout::run).
    pub fn scope<F>(self, future: F) -> Scoped<F> {
        Scoped { deadline: Some(self), future }
    }

    /// Lets `future` have the deadline that is [current](Self::current) now, if there is one, wherever it is run: for
    /// what a handler spawns.
    pub fn carry<F>(future: F) -> Scoped<F> {
        Scoped { deadline: Self::current(), future }
    }
}

pin_project! {
    /// A future with a deadline as the current one: [`Deadline::scope`], [`Deadline::carry`].
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct Scoped<F> {
        deadline: Option<Deadline>,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        match this.deadline {
            Some(deadline) => deadline.sync_scope(|| this.future.poll(cx)),
            None => this.future.poll(cx),
        }
    }
}
