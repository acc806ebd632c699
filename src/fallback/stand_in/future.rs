//! What stands in, under way.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

pin_project! {
    /// The future of a function that may fail.
    #[derive(Debug)]
    pub struct Converted<F, E> {
        #[pin]
        pub(super) future: F,
        pub(super) error: PhantomData<fn() -> E>,
    }
}

impl<F, T, Own, E> Future for Converted<F, E>
where
    F: Future<Output = Result<T, Own>>,
    Own: Into<E>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx).map_err(Into::into)
    }
}

pin_project! {
    /// The future of a function that answers whatever happens.
    #[derive(Debug)]
    pub struct Fine<F, E> {
        #[pin]
        pub(super) future: F,
        pub(super) error: PhantomData<fn() -> E>,
    }
}

impl<F: Future, E> Future for Fine<F, E> {
    type Output = Result<F::Output, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx).map(Ok)
    }
}

pin_project! {
    /// The future of another service, from its being made ready on.
    pub struct Called<S, F, Req, E> {
        #[pin]
        step: CalledStep<S, F, Req>,
        error: PhantomData<fn() -> E>,
    }
}

pin_project! {
    #[project = CalledStepProj]
    enum CalledStep<S, F, Req> {
        Readying { service: S, request: Option<Req> },
        Calling { #[pin] future: F },
    }
}

impl<S, F, Req, E> Called<S, F, Req, E> {
    pub(super) fn new(service: S, request: Req) -> Self {
        Self { step: CalledStep::Readying { service, request: Some(request) }, error: PhantomData }
    }
}

impl<S, Req, E> Future for Called<S, S::Future, Req, E>
where
    S: Service<Req, Error: Into<E>>,
{
    type Output = Result<S::Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.step.as_mut().project() {
                CalledStepProj::Readying { service, request } => {
                    if let Err(error) = ready!(service.poll_ready(cx)) {
                        return Poll::Ready(Err(error.into()));
                    }
                    let future = service.call(request.take().expect("a request is sent once"));
                    this.step.set(CalledStep::Calling { future });
                }
                CalledStepProj::Calling { future } => return future.poll(cx).map_err(Into::into),
            }
        }
    }
}

impl<S, F, Req, E> fmt::Debug for Called<S, F, Req, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Called").finish_non_exhaustive()
    }
}
