//! The service.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use tokio::sync::oneshot;
use tower_service::Service;
use tracing::Instrument;

use crate::{
    Reason, Rejection, clock,
    failpoint::{self, Planted, planted},
    name::Name,
    protocol::Plain,
    saga::{
        Coordinator, SagaError,
        error::Kind,
        journal::Room,
        layer::{
            current::Scope,
            future::{ResponseFuture, Told},
            idempotency::{Approach, Unkeyed},
            protocol::{Admit, Conclude, Instead, Success},
            settings::Settings,
            work::{Due, Held, Work},
        },
    },
};

/// Carries every call of the inner service out as a saga. Made by [`SagaLayer`](crate::SagaLayer).
///
/// Not ready while the journal's queue is full. The call of the inner service runs as a task of its own. The inner service has
/// to be `Clone`: a request that has to wait for its turn, or is read before it is handed on, takes the instance that is
/// ready along, and leaves a clone behind for the next.
pub struct SagaService<S, P = Plain, V = Success, K = Unkeyed> {
    inner: S,
    coordinator: Coordinator,
    settings: Arc<Settings>,
    protocol: P,
    verdict: V,
    keys: K,
    /// Waits for room in the journal's queue. Never locked; a service has to be `Sync`, and a boxed future isn't.
    room: Mutex<Option<Pin<Box<dyn Future<Output = Room> + Send>>>>,
}

impl<S, P, V, K> SagaService<S, P, V, K> {
    pub(super) fn new(
        inner: S,
        coordinator: Coordinator,
        settings: Arc<Settings>,
        protocol: P,
        verdict: V,
        keys: K,
    ) -> Self {
        Self { inner, coordinator, settings, protocol, verdict, keys, room: Mutex::new(None) }
    }

    define_inner_service_accessors!();

    /// Ready when the journal takes more. The room isn't kept: a call that runs no step needs none.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let room = self.room.get_mut().unwrap_or_else(PoisonError::into_inner);
        let writer = &self.coordinator.hub().writer;
        if room.is_none() {
            if writer.try_room().is_some() {
                return Poll::Ready(());
            }
            *room = Some(Box::pin(writer.room()));
        }
        if let Some(waiting) = room {
            ready!(waiting.as_mut().poll(cx));
            *room = None;
        }
        Poll::Ready(())
    }
}

type Answer<S, P, V, Req> = <P as Conclude<<S as Service<Req>>::Response, <S as Service<Req>>::Error, V>>::Response;
type Failure<S, P, V, Req> = <P as Conclude<<S as Service<Req>>::Response, <S as Service<Req>>::Error, V>>::Error;

impl<S, Req, P, V, K> Service<Req> for SagaService<S, P, V, K>
where
    S: Service<Req> + Clone + Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    S::Future: Send + 'static,
    Req: Send + 'static,
    P: Admit<Req> + Conclude<S::Response, S::Error, V>,
    V: Clone + Send + Sync + 'static,
    K: Approach<Req>,
{
    type Response = Answer<S, P, V, Req>;
    type Error = Failure<S, P, V, Req>;
    type Future = ResponseFuture<P, Self::Response, Self::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // The journal first: who waits for it should not sit meanwhile on what the inner service may reserve.
        ready!(self.poll_room(cx));
        self.inner.poll_ready(cx).map_err(|error| self.protocol.error(error))
    }

    fn call(&mut self, mut request: Req) -> Self::Future {
        failpoint::hit("C1");
        let now = clock::now();
        let due = Due::of(self.settings.deadline, self.protocol.deadline(&request, now), now);
        if due.is_some_and(|due| due.deadline.has_passed(now)) {
            let late = Rejection::new("saga", self.settings.name.clone(), Reason::DeadlinePassed);
            return self.answered(Instead::Refused(late));
        }
        let work = Work {
            coordinator: self.coordinator.clone(),
            settings: self.settings.clone(),
            protocol: self.protocol.clone(),
            verdict: self.verdict.clone(),
            due,
        };
        if K::KEYED || self.settings.exclusive.is_some() {
            let clone = self.inner.clone();
            let ready = mem::replace(&mut self.inner, clone);
            let keys = self.keys.clone();
            return self.spawn(|told| work.prepare(ready, request, keys, told));
        }
        let saga = match work.begin(self.protocol.lineage(&request), &Held::default()) {
            Ok(saga) => saga,
            Err(instead) => return self.answered(instead),
        };
        let scope = Scope { saga, deadline: due.map(|due| due.deadline) };
        self.protocol.admit(&mut request, &scope.saga, scope.deadline);
        let handler = scope.enter(|| self.inner.call(request));
        self.spawn(|told| work.carry_out(scope, handler, Held::default(), told))
    }
}

impl<S, P: Clone, V, K> SagaService<S, P, V, K> {
    fn answered<Res, E>(&self, instead: Instead) -> ResponseFuture<P, P::Response, P::Error>
    where
        P: Conclude<Res, E, V>,
    {
        let name = self.settings.name.clone();
        instead.tell(&name);
        let answer = self.protocol.instead(instead, &name);
        ResponseFuture::answered(answer, self.protocol.clone(), name, gone::<Res, E, V, P>)
    }

    fn spawn<Res, E, F>(
        &self,
        task: impl FnOnce(oneshot::Sender<Told<P::Response, P::Error>>) -> F,
    ) -> ResponseFuture<P, P::Response, P::Error>
    where
        P: Conclude<Res, E, V>,
        F: Future<Output = ()> + Send + 'static,
    {
        let (told, answer) = oneshot::channel();
        let task = tokio::spawn(task(told).in_current_span());
        let name = self.settings.name.clone();
        let waiting = ResponseFuture::waiting(answer, self.protocol.clone(), name, gone::<Res, E, V, P>);
        if planted(Planted::HandlerNotDetached) { waiting.cut_off_with(task.abort_handle()) } else { waiting }
    }
}

/// The task was cut off: whatever it did is decided when the journal is read again.
fn gone<Res, E, V, P: Conclude<Res, E, V>>(protocol: &P, name: &Name) -> Result<P::Response, P::Error> {
    protocol.instead(Instead::Unknown(SagaError::new(Kind::Draining)), name)
}

impl<S: Clone, P: Clone, V: Clone, K: Clone> Clone for SagaService<S, P, V, K> {
    fn clone(&self) -> Self {
        // A clone isn't ready, and waits for itself.
        Self::new(
            self.inner.clone(),
            self.coordinator.clone(),
            self.settings.clone(),
            self.protocol.clone(),
            self.verdict.clone(),
            self.keys.clone(),
        )
    }
}

impl<S: fmt::Debug, P, V, K> fmt::Debug for SagaService<S, P, V, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SagaService")
            .field("inner", &self.inner)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// A tonic server finds a service by its name, so whatever wraps one has to pass the name on.
#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService, P, V, K> tonic::server::NamedService for SagaService<S, P, V, K> {
    const NAME: &'static str = S::NAME;
}
