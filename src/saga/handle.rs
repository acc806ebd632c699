//! The saga, as the handler sees it.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    BoxError, Rejection, failpoint,
    name::Name,
    saga::{
        Call, SagaDefinition,
        coordinator::{course::Course, hub::causes},
        definition::Place,
        error::{Kind, SagaError},
        event,
        journal::Invocation,
    },
    step::{Op, SagaId, StepContext, StepKey, StepOutcome, check_name},
};

/// A saga that is being carried out.
///
/// Clones are the same saga. A step of it may run beside another.
#[derive(Clone)]
pub struct Saga {
    course: Arc<Course>,
}

/// A step that is being described: [`undo`](Self::undo) says how it is undone, [`run`](Self::run) carries it out.
#[must_use = "a step does nothing until it is run"]
#[derive(Debug)]
pub struct Step {
    saga: Saga,
    name: Name,
    /// The number is taken when it is first needed, for the key.
    key: Option<Result<StepKey, SagaError>>,
    undo: Option<Result<Invocation, SagaError>>,
    settle: Duration,
}

impl Saga {
    pub(crate) fn new(course: Arc<Course>) -> Self {
        Self { course }
    }

    pub(crate) fn course(&self) -> &Arc<Course> {
        &self.course
    }

    /// Which saga it is.
    pub fn id(&self) -> SagaId {
        self.course.id()
    }

    /// What kind of saga it is.
    pub fn name(&self) -> &Name {
        self.course.name()
    }

    /// Describes the next step: `name` is 1 to 64 letters, digits and `-_.@:`.
    pub fn step(&self, name: impl Into<Name>) -> Step {
        Step { saga: self.clone(), name: name.into(), key: None, undo: None, settle: Duration::ZERO }
    }

    /// Promises a call: it is made if, and only if, the saga commits, and as often as it takes.
    ///
    /// The promise is part of the commit. A call that can't be promised (it isn't registered, its arguments are no JSON or
    /// too large) makes the saga fail instead of committing.
    pub fn then<A: Serialize>(&self, call: Call<A>, args: A) {
        self.course.then(self.invocation(call, &args));
    }

    /// Carries a definition out as part of this saga: its steps are this saga's, called `name:step`, where `name` is the
    /// definition's, and are undone with it. Gives the state at the end.
    ///
    /// If it fails, what it had done stays until this saga is undone.
    ///
    /// # Errors
    ///
    /// A step failed. Or the definition has a pivot, though only the whole saga can decide, or the coordinator was not told
    /// of it, by [`define`](crate::saga::CoordinatorBuilder::define), before it started.
    pub async fn nest<O, A>(&self, definition: &SagaDefinition<O, A>, state: O) -> Result<O, SagaError>
    where
        O: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    {
        let plan = &definition.plan;
        let invalid = |problem| SagaError::with_source(Kind::Invalid, format!("definition {} {problem}", plan.name));
        if plan.has_pivot() {
            return Err(invalid("has a pivot, and can't be nested"));
        }
        if self.course.hub().definition(plan.name.as_str(), plan.version).is_none() {
            return Err(invalid("was not defined before the coordinator started"));
        }
        let base = self.course.reserve_many(plan.len())?;
        let place = Place { steps: format!("{}:", plan.name), base, ..plan.top() };
        plan.carry_out(&self.course, &place, state).await
    }

    fn invocation<A: Serialize>(&self, call: Call<A>, args: &A) -> Result<Invocation, SagaError> {
        let hub = self.course.hub();
        let name = call.name();
        let invalid = |problem: String| SagaError::with_source(Kind::Invalid, problem);
        if hub.calls.get(name).is_none() {
            return Err(invalid(format!("call {name} is not registered with the coordinator")));
        }
        let json = serde_json::to_vec(args)
            .map_err(|error| invalid(format!("the arguments of {name} can't be written as JSON: {error}")))?;
        let invocation = Invocation { call: name.into(), args: Bytes::from(json) };
        hub.check_size(&invocation)?;
        Ok(invocation)
    }
}

impl fmt::Debug for Saga {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Saga({} {})", self.name(), self.id())
    }
}

// ===== impl Step =====

impl Step {
    /// Says what undoes the step: it is in the journal before the step is begun, with arguments that are known by then. The
    /// key is what the step itself will be known by.
    ///
    /// It is called if the step happened or may have happened, and the saga doesn't commit; and if the saga commits though
    /// nobody knows whether this step happened.
    pub fn undo<A: Serialize>(mut self, call: Call<A>, args: impl FnOnce(&StepKey) -> A) -> Self {
        // Why there is no key, `run` says.
        if let Ok(key) = self.key() {
            let args = args(key);
            self.undo = Some(self.saga.invocation(call, &args));
        }
        self
    }

    /// Waits this long before a step is undone that may still be under way: for services that would take an action that
    /// arrives after its undo. Those with a [barrier](crate::step) refuse it, and need no wait. At most 49 days; none by
    /// default.
    pub fn settle(self, settle: Duration) -> Self {
        Self { settle, ..self }
    }

    /// Carries the step out: `action` is called when the step, and how it is undone, is durable.
    ///
    /// A step that gives an error counts as *refused*, and needs no undo, if a [`Rejection`] of one of this crate's layers is
    /// among the error's sources, or if every call that a [`StepLayer`](crate::step) saw in it was refused. Otherwise nobody
    /// knows whether it happened, and it is undone.
    ///
    /// # Errors
    ///
    /// The step's own error, with what is known of its outcome; or the step wasn't begun, see [`Kind`].
    ///
    /// # Cancel safety
    ///
    /// A step that is dropped before its action was called didn't happen. Dropped later, it may have happened, and is
    /// undone.
    pub async fn run<T, E, Fut>(mut self, action: impl FnOnce(StepKey) -> Fut) -> Result<T, SagaError>
    where
        Fut: Future<Output = Result<T, E>>,
        E: Into<BoxError>,
    {
        self.key().ok();
        let key = self.key.take().expect("was just made")?;
        let undo = self.undo.take().transpose()?;
        let course = self.saga.course();
        let mut under_way = UnderWay { course, number: key.number(), sent: false, ended: false };
        let settle = u32::try_from(self.settle.as_millis()).unwrap_or(u32::MAX);
        course.begin(key.number(), self.name.clone(), undo, settle).await?;
        under_way.sent = true;
        failpoint::reach("C3").await;
        let context = StepContext::new(key.clone(), course.epoch());
        let result = context.clone().scope(action(key)).await;
        failpoint::reach("C7").await;
        let result = match result {
            Ok(value) => {
                under_way.done(None);
                Ok(value)
            }
            Err(error) => Err(under_way.failed(&context, &self.name, error.into())),
        };
        failpoint::reach("C9").await;
        result
    }

    fn key(&mut self) -> Result<&StepKey, &SagaError> {
        let (saga, name) = (&self.saga, &self.name);
        let key = self.key.get_or_insert_with(|| {
            check_name(name.as_str()).map_err(|error| SagaError::with_source(Kind::Invalid, error))?;
            let number = saga.course.reserve()?;
            StepKey::new(saga.id(), name.clone(), number, Op::Act)
                .map_err(|error| SagaError::with_source(Kind::Invalid, error))
        });
        key.as_ref()
    }
}

/// A step whose end hasn't been told: dropped, it tells.
pub(crate) struct UnderWay<'a> {
    course: &'a Course,
    number: u32,
    sent: bool,
    ended: bool,
}

impl<'a> UnderWay<'a> {
    pub(crate) fn sent(course: &'a Course, number: u32) -> Self {
        Self { course, number, sent: true, ended: false }
    }

    pub(crate) fn done(&mut self, output: Option<Bytes>) {
        self.ended(StepOutcome::Done, "", output);
    }

    pub(crate) fn failed(&mut self, context: &StepContext, step: &Name, error: BoxError) -> SagaError {
        // A refusal tells only of the call that it is of; there may have been others.
        let refused = context.was_refused() || (context.heard_nothing() && Rejection::find(&error).is_some());
        let outcome = if refused { StepOutcome::Refused } else { StepOutcome::Unknown };
        let outcome = self.ended(outcome, &causes(&*error), None);
        SagaError::with_source(Kind::Step { step: step.clone(), outcome }, error)
    }

    fn ended(&mut self, outcome: StepOutcome, reason: &str, output: Option<Bytes>) -> StepOutcome {
        self.ended = true;
        let outcome = self.course.ended(self.number, outcome, reason, output);
        event::stepped(self.course, self.number, Some(outcome));
        outcome
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (course, number) = (self.course, self.number);
        if self.sent {
            course.ended(number, StepOutcome::Unknown, "dropped while it was being carried out", None);
            event::stepped(course, number, None);
        } else {
            course.ended(number, StepOutcome::Refused, "dropped before it was begun", None);
        }
    }
}
