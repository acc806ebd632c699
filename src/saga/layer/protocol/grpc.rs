//! gRPC: the status is the verdict, and it comes last.
//!
//! An answer that is there at once, as a unary one is, is read to its trailers and handed on when its saga is durable. Of one
//! that streams, the messages are handed on as they come, and only the trailers wait.

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use tokio::time::Instant;

use super::{
    Admit, CommitStatus, Conclude, Conclusion, End, Instead, Judged, Lineage, SagaBody, Wants,
    front::{Front, Last},
    http::{admit, deadline, exclusive, failed, is_ours, lineage},
    pump::Pump,
};
use crate::{
    Deadline,
    deadline::header::GrpcTimeout,
    name::Name,
    protocol::{Grpc, grpc::Code},
    saga::{
        Saga,
        layer::idempotency::{Keep, StoredAnswer, is_final_code},
    },
};

/// How much of an answer is held until its trailers are there: as much as a tonic client takes by default.
const HELD_BYTES: usize = 4 << 20;

impl<B, C> Admit<Request<B>> for Grpc<C>
where
    C: Clone + Send + Sync + 'static,
{
    fn deadline(&self, request: &Request<B>, now: Instant) -> Option<Deadline> {
        deadline::<GrpcTimeout, B>(request, now)
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

impl<B, E, V, C> Conclude<Response<B>, E, V> for Grpc<C>
where
    B: Body + Send + 'static,
    B::Data: From<Bytes> + Send,
    B::Error: Send,
    E: Send + 'static,
    V: CommitStatus + Clone + Send + Sync + 'static,
    C: Clone + Send + Sync + 'static,
{
    type Response = Response<SagaBody<B>>;
    type Error = E;
    type Rest = Pump<B, V>;

    async fn judge(
        &self,
        verdict: &V,
        result: Result<Response<B>, E>,
        keep: Option<&Keep>,
    ) -> Judged<Self::Response, E, Pump<B, V>> {
        let response = match result {
            Ok(response) => response,
            Err(error) => {
                let conclusion = failed(&error);
                return Judged::known(Err(error), conclusion);
            }
        };
        let told = match is_ours(&response) {
            true => Some(Code::of_head(&response).filter(|code| *code != Code::Ok).unwrap_or(Code::Unknown)),
            false => Code::of_head(&response),
        };
        if let Some(code) = told {
            let kept = keep.and_then(|keep| StoredAnswer::of(&response, None, Bytes::new(), keep));
            let conclusion = conclude(verdict, code, response.headers(), kept);
            return Judged::known(Ok(response.map(SagaBody::inner)), conclusion);
        }
        let (head, body) = response.into_parts();
        let head = Response::from_parts(head, ());
        let mut front = Front::new(body, keep.map_or(0, |keep| keep.limit));
        let last = front.read_what_is_there(HELD_BYTES).await;
        let Some(last) = last else {
            let (answer, pump) = Pump::begin(head, front, verdict.clone(), keep.cloned());
            return Judged { answer: Ok(answer), end: End::Rest(pump) };
        };
        let conclusion = judge_last(verdict, &last, || {
            keep.and_then(|keep| StoredAnswer::of(&head, last.trailers(), front.kept()?, keep))
        });
        Judged::known(Ok(head.map(|()| front.into_body(Some(last)))), conclusion)
    }

    fn instead(&self, instead: Instead, name: &Name) -> Result<Self::Response, E> {
        Ok(SagaBody::respond(instead.grpc(name)))
    }

    fn error(&self, error: E) -> E {
        error
    }
}

/// What the end of an answer says.
pub(super) fn judge_last<V, E>(verdict: &V, last: &Last<E>, kept: impl FnOnce() -> Option<Bytes>) -> Conclusion
where
    V: CommitStatus,
    E: 'static,
{
    let none = HeaderMap::new();
    match last {
        Last::Trailers(trailers) => conclude(verdict, Code::read(trailers).unwrap_or(Code::Unknown), trailers, kept()),
        // An answer without a status is UNKNOWN (gRPC, "Status codes and their use").
        Last::End => conclude(verdict, Code::Unknown, &none, None),
        Last::Broken(_) => Conclusion::fail("the answer broke off", None),
    }
}

fn conclude<V: CommitStatus>(verdict: &V, code: Code, trailers: &HeaderMap, kept: Option<Bytes>) -> Conclusion {
    match verdict.commits(code, trailers) {
        true => Conclusion::commit(kept),
        false => Conclusion::fail(format!("answered {code}"), kept.filter(|_| is_final_code(code))),
    }
}
