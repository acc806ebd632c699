//! The middleware.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tower_service::Service;

use super::{breaker::CircuitBreaker, permit::Permit, state::Refused};
use crate::{
    outcome::{Cause, Outcome},
    protocol::{Observer, Protocol, future::Exchange},
};

/// A service behind a [circuit breaker](super).
#[derive(Debug)]
pub struct CircuitBreakerService<S, P> {
    inner: S,
    breaker: CircuitBreaker,
    protocol: P,
    readiness: Readiness,
}

/// What `poll_ready` found out, for `call` to act on.
#[derive(Default)]
enum Readiness {
    /// The inner service is ready, or nobody has asked.
    #[default]
    Inner,
    /// The breaker is open. The inner service has not been asked, so the call has to be refused whatever happens since.
    Refused(Refused),
    /// The breaker is open and pauses.
    Waiting(Pin<Box<dyn Future<Output = Permit> + Send + Sync>>),
    /// A breaker that pauses has let the next call through.
    Admitted(Permit),
}

impl<S, P> CircuitBreakerService<S, P> {
    /// A service behind `breaker`, in this protocol.
    pub const fn new(inner: S, breaker: CircuitBreaker, protocol: P) -> Self {
        Self { inner, breaker, protocol, readiness: Readiness::Inner }
    }

    define_inner_service_accessors!();

    /// Gets a permit before the call is made, however long it takes.
    fn poll_admitted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.readiness = match &mut self.readiness {
                Readiness::Admitted(_) => return Poll::Ready(()),
                Readiness::Waiting(wait) => Readiness::Admitted(ready!(wait.as_mut().poll(cx))),
                Readiness::Inner | Readiness::Refused(_) => match self.breaker.admit() {
                    Ok(permit) => Readiness::Admitted(permit),
                    Err(_) => {
                        let breaker = self.breaker.clone();
                        Readiness::Waiting(Box::pin(async move { breaker.acquire().await }))
                    }
                },
            };
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

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), P::Error>> {
        if self.breaker.pauses() || matches!(self.readiness, Readiness::Admitted(_) | Readiness::Waiting(_)) {
            ready!(self.poll_admitted(cx));
        } else if let Some(refused) = self.breaker.peek() {
            // Ready to refuse: an inner service that takes its time must not hold the refusal up.
            self.readiness = Readiness::Refused(refused);
            return Poll::Ready(Ok(()));
        } else {
            self.readiness = Readiness::Inner;
        }
        let result = ready!(self.inner.poll_ready(cx));
        Poll::Ready(result.map_err(|error| {
            let permit = match mem::take(&mut self.readiness) {
                Readiness::Admitted(permit) => Some(permit),
                _ => self.breaker.admit().ok(),
            };
            if let Some(permit) = permit {
                permit.finish(Outcome::failure(Cause::Error));
            }
            self.protocol.error(error)
        }))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let admitted = match mem::take(&mut self.readiness) {
            Readiness::Inner => self.breaker.admit(),
            Readiness::Admitted(permit) => Ok(permit),
            Readiness::Refused(refused) => Err(refused),
            Readiness::Waiting(_) => panic!("the breaker is open and pauses; poll_ready must be called first"),
        };
        let protocol = self.protocol.clone();
        match admitted {
            Ok(permit) => Exchange::called(self.inner.call(request), protocol, permit),
            Err(refused) => Exchange::refused(self.breaker.refuse(&refused), protocol),
        }
    }
}

/// A clone has no readiness: it has asked neither the breaker nor the inner service.
impl<S: Clone, P: Clone> Clone for CircuitBreakerService<S, P> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.breaker.clone(), self.protocol.clone())
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inner => "Inner",
            Self::Refused(_) => "Refused",
            Self::Waiting(_) => "Waiting",
            Self::Admitted(_) => "Admitted",
        })
    }
}
