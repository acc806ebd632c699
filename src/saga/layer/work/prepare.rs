//! Before the handler is called: what a request has to wait for, and what may answer in its place.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;
use tokio::time::{Instant, sleep, timeout_at};
use tower_service::Service;

use super::{Held, Tell, Work};
use crate::{
    Reason, Rejection,
    saga::{
        OnConflict, Saga,
        coordinator::{Origin, turns::Turn},
        event,
        journal::State,
        layer::{
            current::Scope,
            idempotency::{Approach, Claim, KeyProblem, StoredAnswer},
            protocol::{Admit, Conclude, Instead, Lineage, Wants},
        },
    },
};
/// Before the handler is called. Whoever hangs up here leaves nothing behind.
impl<P, V> Work<P, V> {
    /// Waits until the request may be carried out, and carries it out; or answers in its place.
    pub(crate) async fn prepare<S, Req, K>(
        self,
        mut inner: S,
        request: Req,
        keys: K,
        mut told: Tell<P::Response, P::Error>,
    ) where
        S: Service<Req>,
        P: Admit<Req> + Conclude<S::Response, S::Error, V>,
        K: Approach<Req>,
        V: Sync,
    {
        let begun = {
            let begin = async {
                let (mut request, held) = self.approach(request, &keys).await?;
                let saga = self.begin(self.protocol.lineage(&request), &held)?;
                let scope = Scope { saga, deadline: self.due.map(|due| due.deadline) };
                self.protocol.admit(&mut request, &scope.saga, scope.deadline);
                let handler = scope.enter(|| inner.call(request));
                Ok::<_, Instead>((scope, handler, held))
            };
            tokio::select! {
                begun = AssertUnwindSafe(begin).catch_unwind() => begun,
                () = told.closed() => return,
            }
        };
        match begun {
            Ok(Ok((scope, handler, held))) => self.carry_out(scope, handler, held, told).await,
            Ok(Err(instead)) => {
                instead.tell(&self.settings.name);
                drop(told.send(Ok(self.protocol.instead(instead, &self.settings.name))));
            }
            Err(panic) => drop(told.send(Err(panic))),
        }
    }

    async fn approach<Req, K>(&self, request: Req, keys: &K) -> Result<(Req, Held), Instead>
    where
        P: Admit<Req>,
        K: Approach<Req>,
    {
        let read = keys.read(request, &self.settings.name);
        let read = match self.due {
            Some(due) => timeout_at(due.deadline.instant(), read).await.map_err(|_| self.too_late())?,
            None => read.await,
        };
        let (request, claim) = read.map_err(Instead::Key)?;
        let key = match &claim {
            Some(claim) => Some(self.join(claim).await?),
            None => None,
        };
        let (request, exclusive) = match &self.settings.exclusive {
            Some(by) => self.protocol.exclusive(request, &Wants(by.clone())),
            None => (request, None),
        };
        let alone = match &exclusive {
            Some(exclusive) => Some(self.alone(exclusive).await?),
            None => None,
        };
        Ok((request, Held { claim, key, exclusive, alone }))
    }

    fn too_late(&self) -> Instead {
        Instead::Refused(Rejection::new("saga", self.settings.name.clone(), Reason::DeadlinePassed))
    }

    /// Until when a request waits for another.
    pub(super) fn patience(&self) -> Instant {
        let longest = Instant::now() + self.settings.max_wait;
        self.due.map_or(longest, |due| longest.min(due.deadline.instant()))
    }

    /// The turn to carry out what a key was sent with, if nobody has; otherwise what came of that.
    async fn join(&self, claim: &Claim) -> Result<Turn, Instead> {
        let hub = self.coordinator.hub();
        let place = hub.keys.line_up(&claim.scope_key, &claim.fingerprint);
        let place = place.ok_or(Instead::Key(KeyProblem::Mismatch))?;
        let until = self.patience();
        let turn = match place.at_once() {
            Ok(turn) => turn,
            Err(place) => {
                event::joined(&self.settings.name);
                timeout_at(until, place.turn()).await.map_err(|_| Instead::Key(KeyProblem::Running))?
            }
        };
        match self.recorded(claim, until).await? {
            Some(answer) => Err(Instead::Replay(answer)),
            None => Ok(turn),
        }
    }

    /// The answer that the journal has for a key. Waits for it, or for the end of an undo, if the key's saga goes on.
    pub(super) async fn recorded(&self, claim: &Claim, until: Instant) -> Result<Option<StoredAnswer>, Instead> {
        let mut pause = Duration::from_millis(10);
        loop {
            let key = claim.scope_key.to_string();
            let asked = self.coordinator.hub().writer.ask(move |journal| journal.by_key(&key)).await;
            let row = asked.map_err(|error| {
                event::not_looked_up(&self.settings.name, &error);
                Instead::Key(KeyProblem::Journal)
            })?;
            let Some(row) = row else { return Ok(None) };
            if row.fingerprint.as_ref() != Some(&claim.fingerprint) {
                return Err(Instead::Key(KeyProblem::Mismatch));
            }
            if row.answer.is_some() || matches!(row.state, State::Committed | State::Done) {
                event::replayed(&row);
                let answer = row.answer.as_ref().and_then(StoredAnswer::read);
                return answer.map(Some).ok_or(Instead::Key(KeyProblem::NotKept));
            }
            if Instant::now() + pause > until {
                return Err(Instead::Key(KeyProblem::Running));
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// The turn to work on what a request wants for itself.
    async fn alone(&self, exclusive: &str) -> Result<Turn, Instead> {
        let place = self.coordinator.hub().exclusive.line_up(&exclusive.into(), &Default::default());
        let place = match place.expect("nobody says what it is about").at_once() {
            Ok(turn) => return Ok(turn),
            Err(place) => place,
        };
        event::exclusive(&self.settings.name);
        let conflict = Instead::Conflict { locked: self.settings.on_conflict == OnConflict::Locked };
        if self.settings.on_conflict != OnConflict::Wait {
            return Err(conflict);
        }
        timeout_at(self.patience(), place.turn()).await.map_err(|_| conflict)
    }

    /// A saga, of which nothing is written yet.
    pub(crate) fn begin(&self, lineage: Lineage, held: &Held) -> Result<Saga, Instead> {
        let origin = Origin {
            version: 0,
            scope_key: held.claim.as_ref().map(|claim| claim.scope_key.to_string()),
            fingerprint: held.claim.as_ref().map(|claim| claim.fingerprint.clone()),
            exclusive: held.exclusive.clone(),
            parent: lineage.parent,
            trace: lineage.trace,
            deadline: self.due.map(|due| due.deadline),
        };
        let begun = self.coordinator.begin_from(self.settings.name.clone(), origin);
        begun.map_err(|error| Instead::not_begun(error, &self.settings.name))
    }
}
