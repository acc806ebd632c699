//! The middleware.

use std::{
    fmt,
    task::{Context, Poll},
};

use tower_service::Service;

use super::policy::{KeyedBulkhead, NoRoom};
use crate::{
    bulkhead::{
        future::ResponseFuture,
        permit::Permit,
        service::call_as_admitted,
        sort::{Alike, Scope, Sort},
        state::Standing,
    },
    keyed::Key,
    priority::Priority,
    protocol::Protocol,
};

/// A service behind a [bulkhead a key](KeyedBulkhead). Made by [`KeyedBulkheadLayer`](super::KeyedBulkheadLayer).
///
/// It is ready when the inner service is: that one is asked before the request is there, and so before the key is known.
/// What its readiness reserved stays reserved when a call is refused, for the next call of this instance.
///
/// The inner service has to be `Clone`: a call that queues takes the instance that is ready along, and leaves a clone
/// behind for the next. Nothing is cloned for a call that gets its permit at once.
#[derive(Clone)]
pub struct KeyedBulkheadService<S, K, F, P, O = Alike> {
    inner: S,
    bulkheads: KeyedBulkhead<K>,
    key: F,
    protocol: P,
    sort: O,
}

impl<S, K, F, P, O> KeyedBulkheadService<S, K, F, P, O> {
    pub(super) fn new(inner: S, bulkheads: KeyedBulkhead<K>, key: F, protocol: P, sort: O) -> Self {
        Self { inner, bulkheads, key, protocol, sort }
    }

    define_inner_service_accessors!();
}

impl<S, Req, K, F, P, O> Service<Req> for KeyedBulkheadService<S, K, F, P, O>
where
    S: Service<Req> + Clone,
    K: Key,
    F: Fn(&Req) -> K,
    P: Protocol<S::Response, S::Error> + Clone,
    O: Sort<P, Req>,
{
    type Response = P::Response<Permit>;
    type Error = P::Error;
    type Future = ResponseFuture<S, Req, P, O::Scope>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), P::Error>> {
        self.inner.poll_ready(cx).map_err(|error| self.protocol.error(error))
    }

    #[inline]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let key = (self.key)(&request);
        let (priority, scope) = self.sort.priority(&self.protocol, &mut request);
        let standing = |bulkhead: &_| Standing { priority, slot: self.sort.slot(&request, bulkhead) };
        match self.bulkheads.enter(&key, standing) {
            Ok(Some(permit)) => {
                let inner = scope.run(|| self.inner.call(request));
                ResponseFuture::called(inner, self.protocol.clone(), permit, scope)
            }
            Ok(None) => self.call_when_full(request, &key, priority, scope),
            Err(NoRoom) => {
                let rejection = self.bulkheads.crowded_out(&key);
                ResponseFuture::refused(Box::new(rejection), self.protocol.clone(), scope)
            }
        }
    }
}

impl<S, K: Key, F, P: Clone, O> KeyedBulkheadService<S, K, F, P, O> {
    #[cold]
    fn call_when_full<Req, C: Scope>(
        &mut self,
        request: Req,
        key: &K,
        priority: Priority,
        scope: C,
    ) -> ResponseFuture<S, Req, P, C>
    where
        S: Service<Req> + Clone,
        O: Sort<P, Req>,
    {
        let standing = |bulkhead: &_| Standing { priority, slot: self.sort.slot(&request, bulkhead) };
        let admission = self.bulkheads.queue_or_refuse(key, standing);
        call_as_admitted(&mut self.inner, admission, request, self.protocol.clone(), scope)
    }
}

#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService, K, F, P, O> tonic::server::NamedService for KeyedBulkheadService<S, K, F, P, O> {
    const NAME: &'static str = S::NAME;
}

/// By hand, because a function has no `Debug`.
impl<S: fmt::Debug, K: Key, F, P: fmt::Debug, O> fmt::Debug for KeyedBulkheadService<S, K, F, P, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inner, bulkheads, protocol, .. } = self;
        let mut debug = f.debug_struct("KeyedBulkheadService");
        debug.field("inner", inner).field("bulkheads", bulkheads).field("protocol", protocol).finish_non_exhaustive()
    }
}
