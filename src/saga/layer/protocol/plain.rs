//! Plain services: the result is the verdict.

use tokio::time::Instant;

use super::{Admit, CommitResult, Conclude, Conclusion, Instead, Judged, Lineage, NoRest, Wants};
use crate::{
    BoxError, Deadline,
    name::Name,
    protocol::Plain,
    saga::{Saga, coordinator::hub::causes, layer::idempotency::Keep},
};

/// Nothing is known of the request; the handler finds the saga in its task.
impl<Req, C> Admit<Req> for Plain<C>
where
    C: Clone + Send + Sync + 'static,
{
    fn deadline(&self, _request: &Req, _now: Instant) -> Option<Deadline> {
        None
    }

    fn lineage(&self, _request: &Req) -> Lineage {
        Lineage::default()
    }

    fn exclusive(&self, request: Req, _by: &Wants) -> (Req, Option<String>) {
        (request, None)
    }

    fn admit(&self, _request: &mut Req, _saga: &Saga, _deadline: Option<Deadline>) {}
}

impl<Res, E, V, C> Conclude<Res, E, V> for Plain<C>
where
    Res: Send + 'static,
    E: Into<BoxError> + Send,
    V: CommitResult<Res> + Sync,
    C: Clone + Send + Sync + 'static,
{
    type Response = Res;
    type Error = BoxError;
    type Rest = NoRest;

    async fn judge(&self, verdict: &V, result: Result<Res, E>, _keep: Option<&Keep>) -> Judged<Res, BoxError, NoRest> {
        let answer = result.map_err(Into::into);
        let conclusion = match verdict.commits(answer.as_ref()) {
            true => Conclusion::commit(None),
            false => {
                Conclusion::fail(answer.as_ref().map_or_else(|error| causes(&**error), |_| "refused".into()), None)
            }
        };
        Judged::known(answer, conclusion)
    }

    fn instead(&self, instead: Instead, name: &Name) -> Result<Res, BoxError> {
        Err(instead.plain(name))
    }

    fn error(&self, error: E) -> BoxError {
        error.into()
    }
}
