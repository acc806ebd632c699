//! HTTP: the head is the verdict.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response};
use http_body::Body;
use tokio::time::Instant;

use super::{Admit, CommitHead, Conclude, Conclusion, Instead, Judged, Lineage, NoRest, SagaBody, Wants, front};
use crate::{
    Deadline, Elapsed, Rejection,
    deadline::header::{Format, Millis},
    name::Name,
    protocol::{Http, cause},
    saga::{
        Saga,
        layer::idempotency::{Keep, is_final},
    },
    step::StepHeaders,
};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The earlier of the extension and the header; one that can't be read is as if it weren't there.
pub(super) fn deadline<F: Format, B>(request: &Request<B>, now: Instant) -> Option<Deadline> {
    let written = F::read(request.headers()).ok().flatten().map(|left| Deadline::after_at(left, now));
    [request.extensions().get().copied(), written].into_iter().flatten().min()
}

/// What the headers say of whose call it is. It is told to operators, and nothing is decided by it.
pub(super) fn lineage(headers: &HeaderMap) -> Lineage {
    const LONGEST: usize = 128;
    let trace = headers.get(TRACEPARENT).and_then(|trace| trace.to_str().ok());
    let step = StepHeaders::read(headers).ok().flatten();
    Lineage {
        trace: trace.filter(|trace| trace.len() <= LONGEST).map(str::to_owned),
        parent: step.map(|step| (step.key.saga(), step.key.step().to_string())),
    }
}

pub(super) fn exclusive<B>(request: Request<B>, by: &Wants) -> (Request<B>, Option<String>) {
    let (parts, body) = request.into_parts();
    let wanted = (by.0)(&parts);
    (Request::from_parts(parts, body), wanted)
}

pub(super) fn admit<B>(request: &mut Request<B>, saga: &Saga, deadline: Option<Deadline>) {
    request.extensions_mut().insert(saga.clone());
    if let Some(deadline) = deadline {
        request.extensions_mut().insert(deadline);
    }
}

/// An answer that says that nothing was done, or that it isn't known, doesn't commit whatever its status.
pub(super) fn is_ours<B>(response: &Response<B>) -> bool {
    let extensions = response.extensions();
    !extensions.is_empty() && (extensions.get::<Rejection>().is_some() || extensions.get::<Elapsed>().is_some())
}

pub(super) fn failed<E: 'static>(error: &E) -> Conclusion {
    Conclusion::fail(format!("the handler failed: {}", cause::of_any(error)), None)
}

impl<B, C> Admit<Request<B>> for Http<C>
where
    C: Clone + Send + Sync + 'static,
{
    fn deadline(&self, request: &Request<B>, now: Instant) -> Option<Deadline> {
        deadline::<Millis, B>(request, now)
    }

    fn lineage(&self, request: &Request<B>) -> Lineage {
        lineage(request.headers())
    }

    fn exclusive(&self, request: Request<B>, by: &Wants) -> (Request<B>, Option<String>) {
        exclusive(request, by)
    }

    fn admit(&self, request: &mut Request<B>, saga: &Saga, deadline: Option<Deadline>) {
        admit(request, saga, deadline);
    }
}

impl<B, E, V, C> Conclude<Response<B>, E, V> for Http<C>
where
    B: Body + Send + 'static,
    B::Data: From<Bytes> + Send,
    B::Error: Send,
    E: Send + 'static,
    V: CommitHead + Sync,
    C: Clone + Send + Sync + 'static,
{
    type Response = Response<SagaBody<B>>;
    type Error = E;
    type Rest = NoRest;

    async fn judge(
        &self,
        verdict: &V,
        result: Result<Response<B>, E>,
        keep: Option<&Keep>,
    ) -> Judged<Self::Response, E, NoRest> {
        let response = match result {
            Ok(response) => response,
            Err(error) => {
                let conclusion = failed(&error);
                return Judged::known(Err(error), conclusion);
            }
        };
        let status = response.status();
        let commits = !is_ours(&response) && verdict.commits(status, response.headers());
        let conclude = |kept| match commits {
            true => Conclusion::commit(kept),
            false => Conclusion::fail(format!("answered {}", status.as_u16()), kept),
        };
        match keep.filter(|_| commits || is_final(status)) {
            Some(keep) => {
                let (response, kept) = front::kept(response, keep).await;
                Judged::known(Ok(response), conclude(kept))
            }
            None => Judged::known(Ok(response.map(SagaBody::inner)), conclude(None)),
        }
    }

    fn instead(&self, instead: Instead, name: &Name) -> Result<Self::Response, E> {
        Ok(SagaBody::respond(instead.http(name)))
    }

    fn error(&self, error: E) -> E {
        error
    }
}
