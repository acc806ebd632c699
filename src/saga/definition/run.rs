//! Carries a definition out, from its beginning or from where it was.

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    sync::Arc,
};

use futures_util::{FutureExt, future::BoxFuture, future::join_all};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep, timeout_at};

use super::{BeforePivot, Part, Plan, step::DefinedStep};
use crate::{
    BoxError, Rejection, failpoint,
    name::Name,
    saga::{
        coordinator::{course::Course, hub::causes},
        error::{Kind, SagaError},
        event,
        handle::UnderWay,
        journal::{Entry, Record},
        machine::{Item, Phase, Status},
    },
    step::{Op, StepContext, StepKey, StepOutcome},
};

/// In what state a saga was found when it was taken over.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Why what would be next is to be parked.
    pub(crate) poisoned: Option<String>,
    /// When it is cut off if it isn't decided.
    pub(crate) until: Option<Instant>,
}

/// A definition whose state's type is put away: what recovery needs of it.
pub(crate) trait Resume: Send + Sync {
    fn name(&self) -> &Name;
    fn version(&self) -> u32;
    /// Whether a saga that isn't past its pivot goes on where it was.
    fn goes_on(&self) -> bool;
    /// Whether the saga waits for the outcome of its pivot, so that nobody knows whether to go on or back.
    fn is_at_pivot(&self, records: &[Record]) -> bool;
    /// Goes on where the records end; or, `poisoned`, parks what would be next.
    fn resume(&self, course: Arc<Course>, records: &[Record], found: Found) -> BoxFuture<'static, ()>;
}

/// Where in a saga a plan is carried out: at its top, or nested in another.
#[derive(Debug, Clone)]
pub(crate) struct Place<'a> {
    /// What the names of the steps begin with.
    pub(crate) steps: String,
    /// What the names of the calls that undo them begin with.
    pub(crate) calls: String,
    /// The number of the first step.
    pub(crate) base: u32,
    /// Whether there is no way back any more.
    pub(crate) forward: bool,
    /// Whether what may have happened is carried out again.
    pub(crate) may_repeat: bool,
    /// Why what would be next is to be parked.
    pub(crate) poisoned: Option<&'a str>,
    /// When what isn't decided is cut off.
    pub(crate) until: Option<Instant>,
}

/// Puts what a step gave into the state.
pub(crate) type Merge<O> = Box<dyn FnOnce(&mut O) + Send>;

impl<O> Resume for Plan<O>
where
    O: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    fn name(&self) -> &Name {
        &self.name
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn goes_on(&self) -> bool {
        self.before_pivot == BeforePivot::Resume
    }

    fn is_at_pivot(&self, records: &[Record]) -> bool {
        let Some(pivot) = self.pivot_step().filter(|step| !step.has_undo()) else { return false };
        let ours = records.iter().filter(|record| record.entry.number() == Some(pivot.number));
        ours.last().is_some_and(|record| !matches!(record.entry, Entry::Refused { .. }))
    }

    fn resume(&self, course: Arc<Course>, records: &[Record], found: Found) -> BoxFuture<'static, ()> {
        let plan = self.clone();
        let input = records.iter().find_map(|record| match &record.entry {
            Entry::Begun { input } => Some(input.clone()),
            _ => None,
        });
        async move {
            let input = input.ok_or_else(|| "the journal doesn't say what it was given".to_owned());
            match input.and_then(|input| serde_json::from_slice(&input).map_err(|error| error.to_string())) {
                // Nobody waits for what becomes of it.
                Ok(input) => drop(plan.go_on(&course, input, &found).await),
                Err(problem) => {
                    event::not_resumed(&course, &problem);
                    let _ = course.fail(&problem, None).await;
                }
            }
        }
        .boxed()
    }
}

impl<O> Plan<O>
where
    O: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// Carries it out from its beginning, and gives the state at the end.
    pub(crate) async fn run(&self, course: &Arc<Course>, state: O, until: Option<Instant>) -> Result<O, SagaError> {
        self.go_on(course, state, &Found { until, ..Found::default() }).await
    }

    async fn go_on(&self, course: &Arc<Course>, state: O, found: &Found) -> Result<O, SagaError> {
        let poisoned = found.poisoned.as_deref();
        let place = Place { poisoned, until: found.until, may_repeat: self.goes_on(), ..self.top() };
        let carried_out = AssertUnwindSafe(self.carry_out(course, &place, state)).catch_unwind().await;
        let (ended, panic) = match carried_out {
            Ok(ended) => (ended, None),
            Err(panic) => (Err(invalid("it panicked")), Some(panic)),
        };
        match ended {
            Ok(_) if self.pivot.is_some() => course.tell(|machine, now| machine.complete(now)),
            Ok(_) => course.commit(None).await?,
            Err(ref error) if matches!(error.kind(), Kind::Parked { .. }) => {}
            Err(ref error) if course.phase() == Phase::Forward => course.fail(&causes(error), None).await?,
            // It was decided already that it goes back, by the coordinator before this one for example.
            Err(_) if matches!(course.phase(), Phase::Undoing { .. } | Phase::Ended { .. }) => {}
            // Past the pivot, and it can't be gone on with: what is journaled doesn't fit the definition any more.
            Err(ref error) => course.give_up(error),
        }
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
        ended
    }

    /// Carries out what isn't yet, stage by stage, and gives the state at the end.
    pub(crate) async fn carry_out(
        &self,
        course: &Arc<Course>,
        place: &Place<'_>,
        mut state: O,
    ) -> Result<O, SagaError> {
        for (nth, stage) in self.stages.iter().enumerate() {
            let decides = self.pivot == Some(nth);
            let place = Place { forward: place.forward || self.is_past_pivot(nth), ..place.clone() };
            let parts = stage.iter().map(|part| part.carry_out(course, &place, decides, &state));
            // All are awaited, also if one fails: what isn't known of the others would have to be undone.
            let parts = join_all(parts);
            let merges = match place.until {
                Some(until) if self.may_be_cut_off(nth, &place) => {
                    timeout_at(until, parts).await.map_err(|_| SagaError::new(Kind::DeadlinePassed))?
                }
                _ => parts.await,
            };
            let merges = merges.into_iter().collect::<Result<Vec<_>, _>>()?;
            merges.into_iter().for_each(|merge| merge(&mut state));
            if decides && course.phase() == Phase::Forward {
                course.commit_and(None, true).await?;
            }
        }
        Ok(state)
    }

    /// What can be undone can be cut off.
    fn may_be_cut_off(&self, stage: usize, place: &Place<'_>) -> bool {
        let decides = self.pivot == Some(stage) && self.pivot_step().is_none_or(|step| !step.has_undo());
        !place.forward && !decides
    }

    fn pivot_step(&self) -> Option<&DefinedStep<O>> {
        match self.stages.get(self.pivot?)?.first()? {
            Part::Step(step) => Some(step),
            Part::Nested(_) => None,
        }
    }
}

impl<O> DefinedStep<O> {
    /// Carries the step out, unless the records say that it was; as often as it takes where there is no way back.
    pub(crate) async fn carry_out(
        &self,
        course: &Arc<Course>,
        place: &Place<'_>,
        decides: bool,
        state: &O,
    ) -> Result<Merge<O>, SagaError> {
        // A pivot that something undoes is undone if nobody knows whether it happened.
        let decides = decides && !self.has_undo();
        let may_repeat = place.forward || decides || place.may_repeat;
        let rules = course.hub().config.rules();
        let number = place.base + self.number;
        let mut attempt = 0;
        loop {
            let error = match self.attempt(course, place, may_repeat, state).await {
                Ok(merge) => return Ok(merge),
                Err(error) => error,
            };
            let again = match error.kind() {
                Kind::Step { outcome, .. } => place.forward || (decides && *outcome != StepOutcome::Refused),
                _ => false,
            };
            if !again {
                return Err(error);
            }
            let postponed = Rejection::find_in(&error).map(|rejection| rejection.retry_after().unwrap_or_default());
            attempt += u32::from(postponed.is_none());
            if attempt >= rules.attempts {
                let reason = causes(&error);
                course.tell(|machine, now| machine.park(number, &reason, now));
                return Err(SagaError::with_source(Kind::Parked { step: self.name.clone() }, error));
            }
            let wait = rules.backoff.delay(attempt.saturating_sub(1), None, fastrand::f64());
            sleep(wait.max(postponed.unwrap_or_default())).await;
        }
    }

    async fn attempt(
        &self,
        course: &Arc<Course>,
        place: &Place<'_>,
        may_repeat: bool,
        state: &O,
    ) -> Result<Merge<O>, SagaError> {
        let number = place.base + self.number;
        let name = Name::from(format!("{}{}", place.steps, self.name));
        let key = StepKey::new(course.id(), name.clone(), number, Op::Act).map_err(invalid)?;
        match course.item(number) {
            None => {
                let undo = self.undo(&place.calls, state, &key).map_err(invalid)?;
                if let Some(undo) = &undo {
                    course.hub().check_size(undo)?;
                }
                let settle = u32::try_from(self.settle.as_millis()).unwrap_or(u32::MAX);
                course.begin(number, name.clone(), undo, settle).await?;
            }
            Some(Item { status: Status::Done, output, .. }) => {
                return self.merge(&output.unwrap_or_default()).map_err(|error| self.unreadable(error));
            }
            // An operator took it as done, and nobody knows what it gave.
            Some(Item { status: Status::Closed, .. }) => return Ok(Box::new(|_| {})),
            Some(_) if may_repeat => course.resume()?,
            Some(item) => {
                let outcome = if item.status == Status::Refused { StepOutcome::Refused } else { StepOutcome::Unknown };
                return Err(SagaError::new(Kind::Step { step: name, outcome }));
            }
        }
        if let Some(reason) = place.poisoned {
            course.tell(|machine, now| machine.park(number, reason, now));
            return Err(SagaError::with_source(Kind::Parked { step: name }, reason));
        }
        let mut under_way = UnderWay::sent(course, number);
        failpoint::reach("C3").await;
        let context = StepContext::new(key, course.epoch());
        let act = AssertUnwindSafe(async { self.act(state).await }).catch_unwind();
        let result = context.clone().scope(act).await.unwrap_or_else(|_panic| Err("it panicked".into()));
        failpoint::reach("C7").await;
        let merged = result.and_then(|output| {
            let merge = self.merge(&output).map_err(|error| self.unreadable(error))?;
            Ok((merge, output))
        });
        match merged {
            Ok((merge, output)) => {
                under_way.done(Some(output));
                Ok(merge)
            }
            Err(error) => Err(under_way.failed(&context, &name, error)),
        }
    }

    fn unreadable(&self, error: serde_json::Error) -> SagaError {
        invalid(format!("what step {} gave can't be read back: {error}", self.name))
    }
}

fn invalid(problem: impl Into<BoxError>) -> SagaError {
    SagaError::with_source(Kind::Invalid, problem)
}
