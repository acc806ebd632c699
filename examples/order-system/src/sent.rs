//! Whether anything of a call went out, whatever became of its last attempt.
//!
//! A client's error speaks of the last attempt only: a connection that was refused may follow an attempt that was made.
//! So attempts are counted where they leave, below all layers, and looked at where the call ends, above them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::http::{Request, Response};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tower::Service;

/// How many attempts of a call went out. Rides in the request's extensions, which a retry clones.
#[derive(Clone, Debug, Default)]
struct Sent(Arc<AtomicUsize>);

/// Below all layers: counts an attempt, unless its error proves that it never went out.
#[derive(Clone, Debug)]
pub(crate) struct Count<S, F> {
    inner: S,
    never_sent: F,
}

/// Above all layers: makes of the answer, and of whether anything was sent, what the caller is to see.
#[derive(Clone, Debug)]
pub(crate) struct Judge<S, F> {
    inner: S,
    judge: F,
}

impl<S, F> Count<S, F> {
    pub(crate) fn new(inner: S, never_sent: F) -> Self {
        Self { inner, never_sent }
    }
}

impl<S, F> Judge<S, F> {
    pub(crate) fn new(inner: S, judge: F) -> Self {
        Self { inner, judge }
    }
}

impl<S, F, B> Service<Request<B>> for Count<S, F>
where
    S: Service<Request<B>>,
    S::Future: Send + 'static,
    F: Fn(&S::Error) -> bool + Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let sent = request.extensions().get::<Sent>().cloned().unwrap_or_default();
        let never_sent = self.never_sent.clone();
        // Counted now and not at the end: an attempt that is cut off by a timeout has been sent.
        sent.0.fetch_add(1, Ordering::Relaxed);
        let attempt = self.inner.call(request);
        attempt
            .inspect(move |answer| {
                if answer.as_ref().is_err_and(never_sent) {
                    sent.0.fetch_sub(1, Ordering::Relaxed);
                }
            })
            .boxed()
    }
}

impl<S, F, Req, Res, Out, E> Service<Request<Req>> for Judge<S, F>
where
    S: Service<Request<Req>, Response = Response<Res>>,
    S::Future: Send + 'static,
    F: Fn(Result<Response<Res>, S::Error>, bool) -> Result<Out, E> + Clone + Send + 'static,
    E: From<S::Error>,
{
    type Response = Out;
    type Error = E;
    type Future = BoxFuture<'static, Result<Out, E>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        self.inner.poll_ready(cx).map_err(E::from)
    }

    fn call(&mut self, mut request: Request<Req>) -> Self::Future {
        let sent = Sent::default();
        request.extensions_mut().insert(sent.clone());
        let judge = self.judge.clone();
        self.inner.call(request).map(move |answer| judge(answer, sent.0.load(Ordering::Relaxed) > 0)).boxed()
    }
}
