//! What is done about a request, in a task of its own: its handler is run, its saga decided, its answer given.

mod prepare;

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    Deadline, Elapsed, failpoint,
    saga::{
        Coordinator, OnConflict, OnDisconnect, SagaError,
        coordinator::{
            course::{Course, Stage},
            turns::Turn,
        },
        error::Kind,
        event,
        layer::{
            current::Scope,
            future::Told,
            idempotency::{Claim, KeyProblem},
            protocol::{Conclude, Conclusion, End, Instead, Judged, Rest},
            settings::Settings,
        },
        meter::CutOff,
    },
};

/// What it takes to carry a request out.
pub(crate) struct Work<P, V> {
    pub(crate) coordinator: Coordinator,
    pub(crate) settings: Arc<Settings>,
    pub(crate) protocol: P,
    pub(crate) verdict: V,
    pub(crate) due: Option<Due>,
}

/// When the handler is cut off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    pub(crate) deadline: Deadline,
    inherited: bool,
}

/// What a request has for itself.
#[derive(Debug, Default)]
pub(crate) struct Held {
    claim: Option<Claim>,
    /// Nobody else works on the same key.
    key: Option<Turn>,
    exclusive: Option<String>,
    /// Nobody else works on the same thing.
    alone: Option<Turn>,
}

/// What a handler came to.
enum Ended<T> {
    Itself(T),
    Late,
    ClientGone,
}

type Tell<R, E> = oneshot::Sender<Told<R, E>>;

impl Due {
    /// The earliest of our own, the one the request came `with`, and the task's.
    pub(crate) fn of(own: Option<Duration>, with: Option<Deadline>, now: Instant) -> Option<Self> {
        let own = own.map(|within| Deadline::after_at(within, now));
        let inherited = [with, Deadline::current()].into_iter().flatten().min();
        match (own, inherited) {
            (Some(own), Some(inherited)) if own <= inherited => Some(Self { deadline: own, inherited: false }),
            (_, Some(inherited)) => Some(Self { deadline: inherited, inherited: true }),
            (Some(own), None) => Some(Self { deadline: own, inherited: false }),
            (None, None) => None,
        }
    }

    async fn passed(due: Option<Self>) {
        match due {
            Some(due) => sleep_until(due.deadline.instant()).await,
            None => std::future::pending().await,
        }
    }
}

/// From the handler to the answer. Nobody who hangs up stops it.
impl<P, V> Work<P, V> {
    pub(crate) async fn carry_out<Res, E, F>(
        self,
        scope: Scope,
        handler: F,
        mut held: Held,
        mut told: Tell<P::Response, P::Error>,
    ) where
        F: Future<Output = Result<Res, E>>,
        P: Conclude<Res, E, V>,
    {
        let course = scope.saga.course();
        let ended = {
            let keep = held.claim.as_ref().map(|claim| &claim.keep);
            let handling = async {
                let result = handler.await;
                self.protocol.judge(&self.verdict, result, keep).await
            };
            let handling = scope.around(AssertUnwindSafe(handling).catch_unwind());
            // An answer that is there is taken, even if the time is up as well.
            tokio::select! {
                biased;
                judged = handling => Ended::Itself(judged),
                () = Due::passed(self.due) => Ended::Late,
                () = told.closed(), if self.settings.on_disconnect == OnDisconnect::Undo => Ended::ClientGone,
            }
        };
        let answer = match ended {
            Ended::Itself(Ok(Judged { answer, end: End::Known(conclusion) })) => {
                let concluded = self.conclude(course, conclusion, &held).await;
                Ok(concluded.map_or_else(|instead| self.instead(instead), |()| answer))
            }
            Ended::Itself(Ok(Judged { answer, end: End::Rest(rest) })) => {
                drop(told.send(Ok(answer)));
                return self.carry_on(scope, rest, held).await;
            }
            Ended::Itself(Err(panic)) => {
                self.give_up(course, CutOff::Panicked).await;
                self.undone(course).await;
                Err(panic)
            }
            Ended::Late => {
                self.give_up(course, CutOff::Deadline).await;
                Ok(self.instead(self.elapsed()))
            }
            Ended::ClientGone => {
                self.give_up(course, CutOff::ClientGone).await;
                return held.leave(course);
            }
        };
        held.leave(course);
        drop(told.send(answer));
    }

    /// The answer streams, and tells only at its end what it comes to.
    async fn carry_on<R: Rest>(self, scope: Scope, mut rest: R, mut held: Held) {
        let course = scope.saga.course();
        let name = &self.settings.name;
        let ended = {
            let run = scope.around(AssertUnwindSafe(rest.run(self.settings.on_disconnect)).catch_unwind());
            tokio::select! {
                biased;
                ended = run => Ended::Itself(ended),
                () = Due::passed(self.due) => Ended::Late,
            }
        };
        match ended {
            Ended::Itself(Ok(Some(conclusion))) => {
                let instead = self.conclude(course, conclusion, &held).await.err().map(|instead| match instead {
                    // Messages of this one are out already.
                    Instead::Replay(_) => Instead::Key(KeyProblem::Running),
                    instead => instead,
                });
                if let Some(instead) = &instead {
                    instead.tell(name);
                }
                held.leave(course);
                rest.finish(instead.map(|instead| (instead, name))).await;
            }
            Ended::Itself(Ok(None)) | Ended::ClientGone => {
                self.give_up(course, CutOff::ClientGone).await;
                held.leave(course);
            }
            Ended::Itself(Err(panic)) => {
                self.give_up(course, CutOff::Panicked).await;
                held.leave(course);
                rest.panic(panic).await;
            }
            Ended::Late => {
                self.give_up(course, CutOff::Deadline).await;
                held.leave(course);
                let elapsed = self.elapsed();
                elapsed.tell(name);
                rest.finish(Some((elapsed, name))).await;
            }
        }
    }

    /// Decides, and returns when that is durable and the answer may be given; or what to answer instead.
    async fn conclude(&self, course: &Arc<Course>, conclusion: Conclusion, held: &Held) -> Result<(), Instead> {
        if conclusion.commits {
            failpoint::reach("C10").await;
            if let Err(error) = course.commit(conclusion.kept).await {
                return Err(self.not_committed(course, error, held).await);
            }
            failpoint::reach("C11").await;
            return Ok(());
        }
        failpoint::reach("C14").await;
        match course.fail(&conclusion.reason, conclusion.kept).await.map_err(|error| error.kind().clone()) {
            Err(Kind::KeyTaken) => Err(self.taken(held).await),
            Err(Kind::Exclusive) => Err(self.conflict()),
            // Whoever decides now decides the same: there is no commit.
            Ok(()) | Err(_) => {
                self.undone(course).await;
                Ok(())
            }
        }
    }

    async fn not_committed(&self, course: &Arc<Course>, error: SagaError, held: &Held) -> Instead {
        match error.kind() {
            Kind::KeyTaken => self.taken(held).await,
            Kind::Exclusive => self.conflict(),
            Kind::Journal => {
                event::outcome_unknown(course, &error);
                Instead::Unknown(error)
            }
            _ => {
                self.undone(course).await;
                Instead::Undone(error)
            }
        }
    }

    fn conflict(&self) -> Instead {
        Instead::Conflict { locked: self.settings.on_conflict == OnConflict::Locked }
    }

    /// Another node was first with the same key.
    async fn taken(&self, held: &Held) -> Instead {
        let Some(claim) = &held.claim else { return Instead::Key(KeyProblem::Running) };
        match self.recorded(claim, self.patience()).await {
            Ok(Some(answer)) => Instead::Replay(answer),
            Ok(None) => Instead::Key(KeyProblem::Running),
            Err(instead) => instead,
        }
    }

    /// Has it undone though there was no answer. Whoever waits is answered soon, even if the journal isn't.
    async fn give_up(&self, course: &Arc<Course>, why: CutOff) {
        event::cut_off(course, why);
        failpoint::reach("C14").await;
        let _ = timeout(self.settings.undo_wait, course.fail(why.reason(), None)).await;
    }

    /// Waits a little for the undo to be over.
    async fn undone(&self, course: &Course) {
        let mut stage = course.watch();
        let over = stage.wait_for(|stage| matches!(stage, Stage::Settled(_) | Stage::Lost(_)));
        let _ = timeout(self.settings.undo_wait, over).await;
    }

    /// The answer in the handler's place.
    fn instead<Res, E>(&self, instead: Instead) -> Result<P::Response, P::Error>
    where
        P: Conclude<Res, E, V>,
    {
        instead.tell(&self.settings.name);
        self.protocol.instead(instead, &self.settings.name)
    }

    fn elapsed(&self) -> Instead {
        let name = self.settings.name.clone();
        let inherited = self.due.is_some_and(|due| due.inherited);
        Instead::Elapsed(if inherited { Elapsed::inherited(name) } else { Elapsed::new(name) })
    }
}

impl Held {
    /// Lets the next one have the key, for it is decided what becomes of it; and the next one work on the same thing, once
    /// the saga is at rest.
    fn leave(&mut self, course: &Course) {
        self.key = None;
        if let Some(turn) = self.alone.take() {
            turn.until_rest_of(course);
        }
    }
}
