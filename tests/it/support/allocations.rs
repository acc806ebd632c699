//! Counting allocations. Linking `allocation-counter` makes it this binary's allocator; it counts for each thread alone,
//! so that the other tests don't disturb.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::pin,
    task::{Context, Poll, Waker},
};

use tower::Service;

/// How often the heap was asked for memory while `work` ran, on this thread.
pub(crate) fn allocations(work: impl FnOnce()) -> u64 {
    allocation_counter::measure(work).count_total
}

/// Allocates nothing by itself.
#[derive(Debug, Clone)]
pub(crate) struct Echo;

impl<Req> Service<Req> for Echo {
    type Response = Req;
    type Error = Infallible;
    type Future = Ready<Result<Req, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        ready(Ok(request))
    }
}

/// Makes one call of a service that has all it needs at hand, without a runtime.
pub(crate) fn call_now<S, Req>(service: &mut S, request: Req) -> Result<S::Response, S::Error>
where
    S: Service<Req>,
{
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(())) = service.poll_ready(&mut cx) else {
        panic!("the service should be ready");
    };
    match pin!(service.call(request)).poll(&mut cx) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the service should answer at once"),
    }
}
