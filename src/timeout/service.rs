//! The tower service.

use std::task::{Context, Poll};

use tower_service::Service;

use crate::{
    clock,
    protocol::Plain,
    timeout::{CarryDeadline, Expire, ResponseFuture, Timeout},
};

/// Gives every call of the inner service a deadline.
///
/// The time runs from `call` on; how long the inner service takes to get ready isn't counted, for there is no call yet.
/// Nothing is reserved in `poll_ready`, so a clone is as good as the original if the inner service's is.
#[derive(Debug, Clone)]
pub struct TimeoutService<S, P = Plain> {
    inner: S,
    policy: Timeout,
    protocol: P,
}

impl<S, P> TimeoutService<S, P> {
    /// Guards `inner` by `policy`.
    pub const fn new(inner: S, policy: Timeout, protocol: P) -> Self {
        Self { inner, policy, protocol }
    }

    define_inner_service_accessors!();
}

impl<S, P, Req> Service<Req> for TimeoutService<S, P>
where
    S: Service<Req>,
    P: CarryDeadline<Req> + Expire<S::Response, S::Error> + Clone,
{
    type Response = <P as Expire<S::Response, S::Error>>::Response;
    type Error = <P as Expire<S::Response, S::Error>>::Error;
    type Future = ResponseFuture<S::Future, P>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(|error| self.protocol.error(error))
    }

    #[inline]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let now = clock::now();
        let inherited = self.protocol.inherited(&request, now, self.policy.name());
        match self.policy.limit(now, inherited) {
            Ok(limit) => {
                let deadline = limit.deadline();
                self.protocol.carry(&mut request, deadline, now);
                // A layer further in asks for the current deadline when it is called, and not only when it is polled.
                let future = deadline.sync_scope(|| self.inner.call(request));
                ResponseFuture::called(future, limit, self.protocol.clone())
            }
            Err(rejection) => ResponseFuture::refused(Box::new(rejection), self.protocol.clone()),
        }
    }
}

forward_named_service!(TimeoutService);
