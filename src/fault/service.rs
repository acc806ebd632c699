//! The service.

use std::{
    fmt, mem,
    task::{Context, Poll},
};

use tower_service::Service;

use crate::fault::{
    config::Fault,
    future::{ResponseFuture, Then},
    handle::Faults,
    protocol::{Failure, Inject},
    when::{Always, When},
};

/// Calls the inner service, unless something is to go wrong. Made by [`FaultLayer`](crate::FaultLayer).
///
/// The inner service has to be `Clone`: a call that is late takes the instance that is ready along, and leaves a clone
/// behind for the next.
#[derive(Clone)]
pub struct FaultService<S, P, W = Always> {
    inner: S,
    faults: Faults,
    protocol: P,
    when: W,
}

impl<S, P, W> FaultService<S, P, W> {
    pub(super) fn new(inner: S, faults: Faults, protocol: P, when: W) -> Self {
        Self { inner, faults, protocol, when }
    }

    define_inner_service_accessors!();
}

impl<S, Req, P, W> Service<Req> for FaultService<S, P, W>
where
    S: Service<Req> + Clone,
    P: Inject<S::Response, S::Error> + Clone,
    W: When<Req>,
{
    type Response = P::Response;
    type Error = P::Error;
    type Future = ResponseFuture<S, Req, P>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), P::Error>> {
        self.inner.poll_ready(cx).map_err(|error| self.protocol.error(error))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let protocol = self.protocol.clone();
        let may_fail = self.faults.is_active() && self.when.may_fail(&request);
        let Some((injected, answer)) = may_fail.then(|| self.faults.next()).flatten() else {
            return ResponseFuture::called(self.inner.call(request), Then::Pass, protocol);
        };
        let fault = injected.fault();
        let failure = Failure { injected, answer };
        let then = match fault {
            Fault::Delay(by) => {
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                return ResponseFuture::late(by, ready, request, protocol);
            }
            Fault::Fail => return ResponseFuture::fails(failure, protocol),
            Fault::Hang => return ResponseFuture::silent(request, protocol),
            Fault::FailAfter => Then::Fail(failure),
            Fault::DropReply => Then::Drop,
            Fault::BreakBody => Then::BreakOff(failure),
        };
        ResponseFuture::called(self.inner.call(request), then, protocol)
    }
}

impl<S: fmt::Debug, P, W> fmt::Debug for FaultService<S, P, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultService").field("inner", &self.inner).field("faults", &self.faults).finish_non_exhaustive()
    }
}

#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService, P, W> tonic::server::NamedService for FaultService<S, P, W> {
    const NAME: &'static str = S::NAME;
}
