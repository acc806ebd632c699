//! The future of a layer that watches an exchange or refuses it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use crate::{
    protocol::{Observer, Protocol},
    rejection::Rejection,
};

pin_project! {
    /// Awaits the inner service and hands the observer to the protocol; or answers with a refusal.
    #[derive(Debug)]
    pub struct Exchange<F, P, O> {
        #[pin]
        step: Step<F, O>,
        protocol: P,
    }
}

pin_project! {
    #[project = StepProj]
    #[derive(Debug)]
    enum Step<F, O> {
        // The inner service has been called. Dropping the observer here says that the exchange was cancelled.
        Called { #[pin] inner: F, observer: Option<O> },
        // The inner service has not been called.
        Refused { rejection: Option<Box<Rejection>> },
    }
}

impl<F, P, O> Exchange<F, P, O> {
    #[inline]
    pub(crate) fn called(inner: F, protocol: P, observer: O) -> Self {
        Self { step: Step::Called { inner, observer: Some(observer) }, protocol }
    }

    pub(crate) fn refused(rejection: Box<Rejection>, protocol: P) -> Self {
        Self { step: Step::Refused { rejection: Some(rejection) }, protocol }
    }
}

impl<F, P, O, Res, E> Future for Exchange<F, P, O>
where
    F: Future<Output = Result<Res, E>>,
    P: Protocol<Res, E>,
    O: Observer,
{
    type Output = Result<P::Response<O>, P::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.step.project() {
            StepProj::Called { inner, observer } => {
                let result = ready!(inner.poll(cx));
                let observer = observer.take().expect("polled after it was ready");
                Poll::Ready(this.protocol.observe(result, observer))
            }
            StepProj::Refused { rejection } => {
                let rejection = rejection.take().expect("polled after it was ready");
                Poll::Ready(this.protocol.reject(rejection))
            }
        }
    }
}
