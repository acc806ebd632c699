//! Carries a definition out, from its beginning or from where it was.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture, future::join_all};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::sleep;

use super::{BeforePivot, Plan, step::DefinedStep};
use crate::{
    Rejection, failpoint,
    name::Name,
    saga::{
        course::Course,
        error::{Kind, SagaError},
        handle::UnderWay,
        hub::causes,
        journal::{Entry, Record},
        machine::{Phase, Status},
    },
    step::{Op, StepContext, StepKey, StepOutcome},
};

/// A definition whose state's type is put away: what recovery needs of it.
pub(crate) trait Resume: Send + Sync {
    fn name(&self) -> &Name;
    fn version(&self) -> u32;
    /// Whether a saga that isn't past its pivot goes on where it was.
    fn goes_on(&self) -> bool;
    /// Whether the saga waits for the outcome of its pivot, so that nobody knows whether to go on or back.
    fn is_at_pivot(&self, records: &[Record]) -> bool;
    /// Goes on where the records end; or, `poisoned`, parks what would be next.
    fn resume(&self, course: Arc<Course>, records: &[Record], poisoned: Option<String>) -> BoxFuture<'static, ()>;
}

/// What became of one step.
enum Stepped {
    /// What it gave; nothing if an operator took it as done.
    Done(Option<Bytes>),
    Failed(SagaError),
}

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

    fn resume(&self, course: Arc<Course>, records: &[Record], poisoned: Option<String>) -> BoxFuture<'static, ()> {
        let plan = self.clone();
        let input = records.iter().find_map(|record| match &record.entry {
            Entry::Begun { input } => Some(input.clone()),
            _ => None,
        });
        async move {
            let input = input.ok_or_else(|| "the journal doesn't say what it was given".to_owned());
            match input.and_then(|input| serde_json::from_slice(&input).map_err(|error| error.to_string())) {
                // Nobody waits for what becomes of it.
                Ok(input) => drop(plan.go_on(&course, input, poisoned.as_deref()).await),
                Err(problem) => {
                    tracing::error!(saga = %course.id(), name = %plan.name, problem, "can't go on with a saga");
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
    /// Carries out what isn't yet, and gives the state at the end.
    pub(crate) async fn run(&self, course: &Arc<Course>, state: O) -> Result<O, SagaError> {
        self.go_on(course, state, None).await
    }

    async fn go_on(&self, course: &Arc<Course>, mut state: O, poisoned: Option<&str>) -> Result<O, SagaError> {
        for (nth, stage) in self.stages.iter().enumerate() {
            let steps = stage.iter().map(|step| self.carry_out(course, nth, step, &state, poisoned));
            let mut failure = None;
            let mut gave = Vec::with_capacity(stage.len());
            for (step, stepped) in stage.iter().zip(join_all(steps).await) {
                match stepped {
                    Stepped::Done(output) => gave.push((step, output)),
                    Stepped::Failed(error) => failure = failure.or(Some(error)),
                }
            }
            let merged = gave.into_iter().try_for_each(|(step, output)| match output {
                Some(output) => step.merge(&mut state, &output).map_err(|error| unreadable(step, error)),
                None => Ok(()),
            });
            if let Some(error) = failure.or(merged.err()) {
                return Err(self.failed(course, error).await);
            }
            if self.pivot == Some(nth) && course.phase() == Phase::Forward {
                course.commit_and(None, true).await?;
            }
        }
        if self.pivot.is_some() {
            course.tell(|machine, now| machine.complete(now));
        } else {
            course.commit(None).await?;
        }
        Ok(state)
    }

    /// Has it undone, if it isn't decided otherwise.
    async fn failed(&self, course: &Arc<Course>, error: SagaError) -> SagaError {
        let is_parked = course.phase() != Phase::Forward || matches!(error.kind(), Kind::Parked { .. });
        match is_parked {
            true => error,
            false => course.fail(&causes(&error), None).await.err().unwrap_or(error),
        }
    }

    /// Carries out one step, unless the records say that it was; as often as it takes where there is no way back.
    async fn carry_out(
        &self,
        course: &Arc<Course>,
        stage: usize,
        step: &DefinedStep<O>,
        state: &O,
        poisoned: Option<&str>,
    ) -> Stepped {
        let forward = self.is_past_pivot(stage);
        let decides = self.pivot == Some(stage) && !step.has_undo();
        let rules = course.hub().config.rules();
        let mut attempt = 0;
        loop {
            let may_repeat = forward || decides || self.goes_on();
            let error = match self.attempt(course, step, state, may_repeat, poisoned).await {
                Ok(output) => return Stepped::Done(output),
                Err(error) => error,
            };
            let again = match error.kind() {
                Kind::Step { outcome, .. } => forward || (decides && *outcome != StepOutcome::Refused),
                _ => false,
            };
            if !again {
                return Stepped::Failed(error);
            }
            attempt += 1;
            let postponed = Rejection::find_in(&error).map(|rejection| rejection.retry_after().unwrap_or_default());
            if attempt >= rules.attempts && postponed.is_none() {
                let reason = causes(&error);
                course.tell(|machine, now| machine.park(step.number, &reason, now));
                return Stepped::Failed(SagaError::with_source(Kind::Parked { step: step.name.clone() }, error));
            }
            let wait = rules.backoff.delay(attempt - 1, None, fastrand::f64());
            sleep(wait.max(postponed.unwrap_or_default())).await;
        }
    }

    async fn attempt(
        &self,
        course: &Arc<Course>,
        step: &DefinedStep<O>,
        state: &O,
        may_repeat: bool,
        poisoned: Option<&str>,
    ) -> Result<Option<Bytes>, SagaError> {
        let invalid = |error: serde_json::Error| SagaError::with_source(Kind::Invalid, error);
        let key = StepKey::new(course.id(), step.name.clone(), step.number, Op::Act)
            .map_err(|error| SagaError::with_source(Kind::Invalid, error))?;
        match course.item(step.number) {
            None => {
                let undo = step.undo(state, &key).map_err(invalid)?;
                if let Some(undo) = &undo {
                    course.hub().check_size(undo)?;
                }
                let settle = u32::try_from(step.settle.as_millis()).unwrap_or(u32::MAX);
                course.begin(step.number, step.name.clone(), undo, settle).await?;
            }
            Some(item) if item.status == Status::Done => return Ok(item.output),
            Some(item) if item.status == Status::Closed => return Ok(None),
            Some(_) if may_repeat => course.resume()?,
            Some(item) => {
                let outcome = if item.status == Status::Refused { StepOutcome::Refused } else { StepOutcome::Unknown };
                return Err(SagaError::new(Kind::Step { step: step.name.clone(), outcome }));
            }
        }
        if let Some(reason) = poisoned {
            course.tell(|machine, now| machine.park(step.number, reason, now));
            return Err(SagaError::with_source(Kind::Parked { step: step.name.clone() }, reason));
        }
        let mut under_way = UnderWay::sent(course, step.number);
        failpoint::reach("C3").await;
        let context = StepContext::new(key, course.epoch());
        let result = context.clone().scope(step.act(state)).await;
        failpoint::reach("C7").await;
        match result {
            Ok(output) => {
                under_way.done(Some(output.clone()));
                Ok(Some(output))
            }
            Err(error) => Err(under_way.failed(&context, &step.name, error)),
        }
    }

    fn pivot_step(&self) -> Option<&DefinedStep<O>> {
        self.stages.get(self.pivot?)?.first()
    }
}

fn unreadable<O>(step: &DefinedStep<O>, error: serde_json::Error) -> SagaError {
    SagaError::with_source(Kind::Invalid, format!("what step {} gave can't be read back: {error}", step.name))
}
