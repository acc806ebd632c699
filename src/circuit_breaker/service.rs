//! The middleware.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tower_service::Service;

use super::{breaker::CircuitBreaker, permit::Permit, status::ComeBack};
use crate::{
    outcome::{Cause, Outcome},
    protocol::{Observer, Protocol, future::Exchange},
    rejection::Rejection,
};

/// A service behind a [circuit breaker](super).
#[derive(Debug)]
pub struct CircuitBreakerService<S, P> {
    inner: S,
    breaker: CircuitBreaker,
    protocol: P,
    /// Set by `poll_ready` when the breaker is open. The inner service has not been asked then, so the call has to be
    /// refused whatever happens in between.
    refused: Option<ComeBack>,
    /// Set by `poll_ready` when the breaker pauses: the permit is reserved before the call is made.
    paused: Option<Paused>,
}

/// How far a breaker that pauses is with letting the next call through.
enum Paused {
    Waiting(Pin<Box<dyn Future<Output = Permit> + Send + Sync>>),
    Admitted(Permit),
}

impl<S, P> CircuitBreakerService<S, P> {
    /// A service behind `breaker`, in this protocol.
    pub const fn new(inner: S, breaker: CircuitBreaker, protocol: P) -> Self {
        Self { inner, breaker, protocol, refused: None, paused: None }
    }

    define_inner_service_accessors!();

    /// Whether the inner service has to be asked, or the call will be refused without it.
    #[cold]
    fn poll_admitted(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.paused.is_none() && !self.breaker.pauses() {
            // Ready to refuse: an inner service that takes its time must not hold the refusal up.
            self.refused = self.breaker.peek();
            return Poll::Ready(self.refused.is_none());
        }
        self.poll_paused(cx)
    }

    /// As long as it takes until the call may be made.
    #[cold]
    fn poll_paused(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            self.paused = Some(match self.paused.take() {
                Some(Paused::Waiting(mut wait)) => match wait.as_mut().poll(cx) {
                    Poll::Ready(permit) => Paused::Admitted(permit),
                    Poll::Pending => {
                        self.paused = Some(Paused::Waiting(wait));
                        return Poll::Pending;
                    }
                },
                // Asked once: a call that asks twice has two chances on a ramp.
                None => match self.breaker.admit_if_closed() {
                    Some(permit) => Paused::Admitted(permit),
                    None => {
                        let breaker = self.breaker.clone();
                        Paused::Waiting(Box::pin(async move { breaker.acquire().await }))
                    }
                },
                admitted @ Some(Paused::Admitted(_)) => {
                    self.paused = admitted;
                    return Poll::Ready(true);
                }
            });
        }
    }

    /// A service that can't become ready is a service that fails.
    #[cold]
    fn record_unready(&mut self) {
        let permit = match self.paused.take() {
            Some(Paused::Admitted(permit)) => Some(permit),
            _ => self.breaker.admit().ok(),
        };
        if let Some(permit) = permit {
            permit.finish(Outcome::failure(Cause::Error));
        }
    }

    /// The permit of a call that is about to be made, if it isn't simply let through.
    #[cold]
    fn admit_slowly(&mut self) -> Result<Permit, Box<Rejection>> {
        if let Some(come_back) = self.refused.take() {
            // First the place and then what goes there, or it would be written twice.
            let place = Box::new_uninit();
            return Err(Box::write(place, self.breaker.refuse(come_back.retry_after())));
        }
        match self.paused.take() {
            Some(Paused::Admitted(permit)) => Ok(permit),
            Some(Paused::Waiting(_)) => panic!("the breaker is open and pauses; poll_ready must be called first"),
            None => self.breaker.admit().map_err(|refused| Box::new(self.breaker.refuse(refused.retry_after))),
        }
    }
}

forward_named_service!(CircuitBreakerService);

impl<S, P, Req> Service<Req> for CircuitBreakerService<S, P>
where
    S: Service<Req>,
    P: Protocol<S::Response, S::Error> + Clone,
{
    type Response = P::Response<Permit>;
    type Error = P::Error;
    type Future = Exchange<S::Future, P, Permit>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), P::Error>> {
        self.refused = None;
        if (self.paused.is_some() || !self.breaker.lets_all_through()) && !ready!(self.poll_admitted(cx)) {
            return Poll::Ready(Ok(()));
        }
        let result = ready!(self.inner.poll_ready(cx));
        Poll::Ready(result.map_err(|error| {
            self.record_unready();
            self.protocol.error(error)
        }))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let promised = self.refused.is_some() || self.paused.is_some();
        let admitted = if promised { None } else { self.breaker.admit_if_closed() };
        let protocol = self.protocol.clone();
        match admitted.map_or_else(|| self.admit_slowly(), Ok) {
            Ok(permit) => Exchange::called(self.inner.call(request), protocol, permit),
            Err(rejection) => Exchange::refused(rejection, protocol),
        }
    }
}

/// A clone has no readiness: it has asked neither the breaker nor the inner service.
impl<S: Clone, P: Clone> Clone for CircuitBreakerService<S, P> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.breaker.clone(), self.protocol.clone())
    }
}

impl fmt::Debug for Paused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting(_) => "Waiting",
            Self::Admitted(_) => "Admitted",
        })
    }
}
