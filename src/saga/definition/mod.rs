//! Sagas that are data: steps by name, each a tower service, over a state that they share.
//!
//! A saga that is a handler can only be undone after a crash, for nobody can run the handler again. A definition can be:
//! what it was given and what each step gave is in the journal, so it can go on where it was. It has a *pivot*, the step
//! from which on it only goes forward.

mod run;
mod serve;
mod step;

use std::{fmt, marker::PhantomData, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use tower_service::Service;

pub(crate) use self::run::Resume;
pub use self::serve::ServeSaga;
use self::step::DefinedStep;
use crate::{
    BoxError,
    name::Name,
    saga::registry::Registry,
    step::{StepKey, check_name},
};

/// A saga of named steps over a state `O`: what it is given, what the steps read and add to, and what it gives.
///
/// Steps are carried out in order; those given [`together`](Self::together), side by side. If one fails, those before it are
/// undone in reverse. From the [`pivot`](Self::pivot) on nothing is undone: what fails is tried again until it works, or
/// somebody looks at it.
///
/// `A` is what the step described last is given.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower::BoxError> {
/// use buttress::saga::{Coordinator, SagaDefinition};
/// use serde::{Deserialize, Serialize};
/// use tower::{BoxError, Service, ServiceExt, service_fn};
///
/// #[derive(Clone, Serialize, Deserialize)]
/// struct Trip {
///     to: String,
///     seat: Option<u32>,
/// }
///
/// let book = service_fn(async |to: String| Ok::<_, BoxError>(to.len() as u32));
/// let cancel = service_fn(async |_to: String| Ok::<_, BoxError>(()));
/// let confirm = service_fn(async |_seat: Option<u32>| Ok::<_, BoxError>(()));
///
/// let trip = SagaDefinition::new("book-trip", 1)
///     .step("book-seat", book, |trip: &Trip| trip.to.clone(), |trip, seat| trip.seat = Some(seat))
///     .undo(cancel)
///     .step("confirm", confirm, |trip| trip.seat, |_, ()| {})
///     .pivot();
/// let coordinator = Coordinator::in_memory().define(&trip).start().await?;
///
/// let booked = coordinator.serve(&trip).oneshot(Trip { to: "Graz".to_owned(), seat: None }).await?;
/// assert_eq!(booked.seat, Some(4));
/// # Ok(())
/// # }
/// ```
#[must_use = "a definition does nothing until it is served"]
pub struct SagaDefinition<O, A = ()> {
    pub(crate) plan: Plan<O>,
    last: PhantomData<fn(A)>,
}

/// What is to be done, in stages; the steps of a stage run side by side.
pub(crate) struct Plan<O> {
    pub(crate) name: Name,
    pub(crate) version: u32,
    stages: Vec<Vec<DefinedStep<O>>>,
    /// The stage that decides.
    pivot: Option<usize>,
    before_pivot: BeforePivot,
    problems: Vec<String>,
}

/// What becomes of a saga that wasn't past its pivot when its coordinator died.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BeforePivot {
    /// It is undone.
    #[default]
    Undo,
    /// It goes on where it was: a step of which nobody knows whether it happened is carried out again, under the same key.
    Resume,
}

impl<O> SagaDefinition<O>
where
    O: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// The saga called `name`, 1 to 64 letters, digits and `-_.@:`.
    ///
    /// The version, from 1 on, says which steps it has: when they change, give it a new one, and keep the old definition
    /// [defined](crate::saga::CoordinatorBuilder::define) until no saga of it is unfinished.
    pub fn new(name: impl Into<Name>, version: u32) -> Self {
        let name = name.into();
        let mut problems = Vec::new();
        if let Err(error) = check_name(name.as_str()) {
            problems.push(error.to_string());
        }
        if version == 0 {
            problems.push(format!("the versions of definition {name} are counted from 1 on"));
        }
        let plan = Plan { name, version, stages: Vec::new(), pivot: None, before_pivot: BeforePivot::Undo, problems };
        Self { plan, last: PhantomData }
    }
}

impl<O, A> SagaDefinition<O, A>
where
    O: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// The next step: `service` is called with what `args` makes of the state, and `merge` puts what it gives into the state.
    ///
    /// Both must say the same of the same state whenever they are asked: after a crash they are asked again.
    pub fn step<B, T, S>(
        mut self,
        name: impl Into<Name>,
        service: S,
        args: impl Fn(&O) -> B + Send + Sync + 'static,
        merge: impl Fn(&mut O, T) + Send + Sync + 'static,
    ) -> SagaDefinition<O, B>
    where
        B: Send + 'static,
        T: Serialize + DeserializeOwned + Send + 'static,
        S: Service<B, Response = T> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        let name = name.into();
        if let Err(error) = check_name(name.as_str()) {
            self.plan.problem(error.to_string());
        }
        if self.plan.steps().any(|step| step.name == name) {
            self.plan.problem(format!("it has two steps called {name}"));
        }
        let number = u32::try_from(self.plan.steps().count()).unwrap_or(u32::MAX);
        self.plan.stages.push(vec![DefinedStep::new(name, number, service, args, merge)]);
        SagaDefinition { plan: self.plan, last: PhantomData }
    }

    /// Says what undoes the step described last. It is given what the step was given, which is in the journal before the
    /// step begins; a participant with a [barrier](crate::step) remembers what the step gave.
    pub fn undo<S>(mut self, service: S) -> Self
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        S: Service<A> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        match self.plan.last_mut() {
            Some((call, step)) => step.undone_as_done::<A, S>(call, service),
            None => self.plan.problem("undo comes after the step that it undoes"),
        }
        self
    }

    /// As [`undo`](Self::undo), with arguments of its own, made of the state as it is before the step, and of the step's key.
    pub fn undo_with<U, S>(mut self, service: S, args: impl Fn(&O, &StepKey) -> U + Send + Sync + 'static) -> Self
    where
        U: Serialize + DeserializeOwned + Send + 'static,
        S: Service<U> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        match self.plan.last_mut() {
            Some((call, step)) => step.undone_by(call, service, args),
            None => self.plan.problem("undo comes after the step that it undoes"),
        }
        self
    }

    /// Waits this long before the step described last is undone, if it may still be under way; see
    /// [`Step::settle`](crate::saga::Step::settle).
    pub fn settle(mut self, settle: Duration) -> Self {
        match self.plan.last_mut() {
            Some((_, step)) => step.settle = settle,
            None => self.plan.problem("settle comes after the step that it is about"),
        }
        self
    }

    /// With the step described last, once it is done, the saga has happened: from there on it only goes forward.
    ///
    /// A pivot that may have happened, and that nothing undoes, is tried again until that is known. Without a pivot the
    /// last step is what decides.
    pub fn pivot(mut self) -> Self {
        match (self.plan.stages.len().checked_sub(1), self.plan.pivot) {
            (Some(stage), None) => self.plan.pivot = Some(stage),
            (None, _) => self.plan.problem("pivot comes after the step that decides"),
            (_, Some(_)) => self.plan.problem("a saga has one pivot"),
        }
        self
    }

    /// Carries the steps that `steps` describes out side by side: each is given the state as it is before all of them. What
    /// they give is put into the state in the order in which they are written, when all have ended.
    pub fn together<B>(
        self,
        steps: impl FnOnce(SagaDefinition<O, ()>) -> SagaDefinition<O, B>,
    ) -> SagaDefinition<O, ()> {
        let before = self.plan.stages.len();
        let mut plan = steps(SagaDefinition { plan: self.plan, last: PhantomData }).plan;
        let stage: Vec<_> = plan.stages.drain(before.min(plan.stages.len())..).flatten().collect();
        if plan.pivot.is_some_and(|pivot| pivot >= before) {
            plan.problem("a pivot is carried out alone");
        }
        if stage.is_empty() {
            plan.problem("there is nothing to be carried out together");
        } else {
            plan.stages.push(stage);
        }
        SagaDefinition { plan, last: PhantomData }
    }

    /// Says what becomes of a saga that wasn't past its pivot when its coordinator died; [`BeforePivot::Undo`] by default.
    pub fn before_pivot(mut self, before_pivot: BeforePivot) -> Self {
        self.plan.before_pivot = before_pivot;
        self
    }
}

// ===== impl Plan =====

// Not derived: the state need not be cloned with its plan.
impl<O> Clone for Plan<O> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            version: self.version,
            stages: self.stages.clone(),
            pivot: self.pivot,
            before_pivot: self.before_pivot,
            problems: self.problems.clone(),
        }
    }
}

impl<O> Plan<O> {
    fn steps(&self) -> impl Iterator<Item = &DefinedStep<O>> {
        self.stages.iter().flatten()
    }

    /// The step described last, and under which name what undoes it is registered.
    fn last_mut(&mut self) -> Option<(String, &mut DefinedStep<O>)> {
        let (name, version) = (&self.name, self.version);
        let step = self.stages.last_mut()?.last_mut()?;
        Some((format!("{name}@{version}:{}", step.name), step))
    }

    fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(format!("definition {} version {}: {}", self.name, self.version, problem.into()));
    }

    /// What is wrong with it, and otherwise registers what undoes its steps.
    pub(crate) fn register(&self, calls: &mut Registry) -> Result<(), String> {
        if let Some(problem) = self.problems.first() {
            return Err(problem.clone());
        }
        if self.stages.is_empty() {
            return Err(format!("definition {} version {} has no step", self.name, self.version));
        }
        for step in self.steps() {
            step.register(calls)?;
        }
        Ok(())
    }

    /// Whether nothing is undone any more once `stage` has begun.
    fn is_past_pivot(&self, stage: usize) -> bool {
        self.pivot.is_some_and(|pivot| stage > pivot)
    }
}

impl<O, A> fmt::Debug for SagaDefinition<O, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SagaDefinition")
            .field("name", &self.plan.name)
            .field("version", &self.plan.version)
            .field("steps", &self.plan.steps().map(|step| &step.name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
