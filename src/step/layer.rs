//! The tower layer and its service.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::call::{Call, Hear, Tell};
use crate::protocol::{Grpc, Http, Plain};

/// Tells the service which step of which saga it is called in, and the step what became of the call.
/// See the [module](crate::step).
///
/// A call that isn't made in a step is passed on untouched.
#[derive(Debug, Clone, Copy)]
pub struct StepLayer<P = Plain> {
    protocol: P,
}

impl StepLayer {
    /// For any service. It has no headers, so all this does is to tell the step what became of the call: done if it
    /// succeeded, refused if the error is a [`Rejection`](crate::Rejection) of one of our layers, else unknown.
    pub fn new() -> Self {
        Self { protocol: Plain::default() }
    }

    /// For HTTP clients.
    pub fn http() -> StepLayer<Http> {
        StepLayer { protocol: Http::default() }
    }

    /// For gRPC clients: a tonic channel.
    pub fn grpc() -> StepLayer<Grpc> {
        StepLayer { protocol: Grpc::default() }
    }
}

impl Default for StepLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S, P: Clone> Layer<S> for StepLayer<P> {
    type Service = StepService<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        StepService::new(inner, self.protocol.clone())
    }
}

/// Tells the inner service which step it is called in. Made by [`StepLayer`].
///
/// It keeps nothing, and nothing is reserved in `poll_ready`, so a clone is as good as the original if the inner service's
/// is.
#[derive(Debug, Clone)]
pub struct StepService<S, P = Plain> {
    inner: S,
    protocol: P,
}

impl<S, P> StepService<S, P> {
    /// Tells `inner`.
    pub const fn new(inner: S, protocol: P) -> Self {
        Self { inner, protocol }
    }

    define_inner_service_accessors!();
}

impl<S, P, Req> Service<Req> for StepService<S, P>
where
    S: Service<Req>,
    P: Tell<Req> + Hear<S::Response, S::Error> + Clone,
{
    type Response = <P as Hear<S::Response, S::Error>>::Response;
    type Error = <P as Hear<S::Response, S::Error>>::Error;
    type Future = ResponseFuture<S::Future, P>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(|error| self.protocol.error(error))
    }

    fn call(&mut self, mut request: Req) -> Self::Future {
        let call = self.protocol.tell(&mut request);
        ResponseFuture { inner: self.inner.call(request), call, protocol: self.protocol.clone() }
    }
}

forward_named_service!(StepService);

pin_project! {
    /// The future of a [`StepService`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, the step is told that the call may have happened.
    #[derive(Debug)]
    pub struct ResponseFuture<F, P> {
        #[pin]
        inner: F,
        call: Option<Call>,
        protocol: P,
    }
}

impl<F, P, Res, E> Future for ResponseFuture<F, P>
where
    F: Future<Output = Result<Res, E>>,
    P: Hear<Res, E>,
{
    type Output = Result<P::Response, P::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        Poll::Ready(this.protocol.hear(result, this.call.take()))
    }
}
