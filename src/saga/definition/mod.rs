//! Sagas that are data: steps by name, each a tower service, over a state that they share.
//!
//! A saga that is a handler can only be undone after a crash, for nobody can run the handler again. A definition can be:
//! what it was given and what each step gave is in the journal, so it can go on where it was. It has a *pivot*, the step
//! from which on it only goes forward.

mod nest;
mod run;
mod serve;
mod step;

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use tower_service::Service;

pub(crate) use self::run::{Found, Place, Resume};
pub use self::serve::ServeSaga;
use self::{
    nest::{Nest, Nested},
    run::Merge,
    step::DefinedStep,
};
use crate::{
    BoxError,
    config::check_duration,
    name::Name,
    saga::{
        coordinator::{course::Course, registry::Registry},
        error::SagaError,
    },
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
    stages: Vec<Vec<Part<O>>>,
    /// The stage that decides.
    pivot: Option<usize>,
    before_pivot: BeforePivot,
    /// How long it may take until it is decided.
    deadline: Option<Duration>,
    exclusive_by: Option<Arc<ExclusiveBy<O>>>,
    problems: Vec<String>,
}

/// What a saga has for itself.
type ExclusiveBy<O> = dyn Fn(&O) -> Option<String> + Send + Sync;

/// A part of a stage.
pub(crate) enum Part<O> {
    Step(DefinedStep<O>),
    Nested(Arc<dyn Nest<O>>),
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
        let plan = Plan {
            name,
            version,
            stages: Vec::new(),
            pivot: None,
            before_pivot: BeforePivot::Undo,
            deadline: None,
            exclusive_by: None,
            problems,
        };
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
        self.plan.check_unused(&name);
        let step = DefinedStep::new(name, self.plan.len(), service, args, merge);
        self.plan.stages.push(vec![Part::Step(step)]);
        SagaDefinition { plan: self.plan, last: PhantomData }
    }

    /// A saga in the place of a step: `inner` is carried out with the state that `args` makes, and `merge` takes over the
    /// state that it ends with. Its steps are undone with the others, and are known as `name:step`.
    ///
    /// It is part of this saga, and decides nothing: it may have no pivot of its own.
    pub fn nest<I, L>(
        mut self,
        name: impl Into<Name>,
        inner: &SagaDefinition<I, L>,
        args: impl Fn(&O) -> I + Send + Sync + 'static,
        merge: impl Fn(&mut O, I) + Send + Sync + 'static,
    ) -> SagaDefinition<O, ()>
    where
        I: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    {
        let name = name.into();
        self.plan.check_unused(&name);
        if inner.plan.pivot.is_some() {
            self.plan
                .problem(format!("{}, which is nested in it, has a pivot; the outer saga decides", inner.plan.name));
        }
        let nested = Nested::new(name, self.plan.len(), inner.plan.clone(), args, merge);
        self.plan.stages.push(vec![Part::Nested(Arc::new(nested))]);
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
            Some(step) => step.undone_as_done::<A, S>(service),
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
            Some(step) => step.undone_by(service, args),
            None => self.plan.problem("undo comes after the step that it undoes"),
        }
        self
    }

    /// Waits this long before the step described last is undone, if it may still be under way; see
    /// [`Step::settle`](crate::saga::Step::settle).
    pub fn settle(mut self, settle: Duration) -> Self {
        match self.plan.last_mut() {
            Some(step) => step.settle = settle,
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
            (Some(stage), None) if self.plan.last_mut().is_some() => self.plan.pivot = Some(stage),
            (Some(_), None) => self.plan.problem("a saga that is nested can't be the pivot"),
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

    /// How long it may take until it is decided: a step that is under way then is cut off, and what was done is undone. A
    /// pivot that nothing undoes isn't cut off, and what follows it takes as long as it takes. More than zero and at most a
    /// year; no deadline by default.
    pub fn deadline(mut self, within: Duration) -> Self {
        if let Err(invalid) = check_duration("saga.deadline", within) {
            self.plan.problem(invalid.to_string());
        }
        self.plan.deadline = Some(within);
        self
    }

    /// Lets only one saga at a time work on the same thing, of all that have the coordinator's journal: what that is says
    /// `by`; `None` is nothing in particular. It is over when the saga is at rest.
    ///
    /// One that finds another at work waits for it until its deadline, for 10 s if it has none, and is then refused:
    /// [`Kind::Exclusive`](crate::saga::Kind::Exclusive).
    pub fn exclusive_by(mut self, by: impl Fn(&O) -> Option<String> + Send + Sync + 'static) -> Self {
        self.plan.exclusive_by = Some(Arc::new(by));
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
            deadline: self.deadline,
            exclusive_by: self.exclusive_by.clone(),
            problems: self.problems.clone(),
        }
    }
}

impl<O> Plan<O> {
    fn parts(&self) -> impl Iterator<Item = &Part<O>> {
        self.stages.iter().flatten()
    }

    /// How many steps it has, those of nested sagas among them.
    pub(crate) fn len(&self) -> u32 {
        self.parts().map(Part::len).sum()
    }

    pub(crate) fn has_pivot(&self) -> bool {
        self.pivot.is_some()
    }

    /// What a saga that is given `state` has for itself.
    fn exclusive(&self, state: &O) -> Option<String> {
        self.exclusive_by.as_ref().and_then(|by| by(state))
    }

    /// The step described last.
    fn last_mut(&mut self) -> Option<&mut DefinedStep<O>> {
        match self.stages.last_mut()?.last_mut()? {
            Part::Step(step) => Some(step),
            Part::Nested(_) => None,
        }
    }

    fn check_unused(&mut self, name: &Name) {
        if let Err(error) = check_name(name.as_str()) {
            self.problem(error.to_string());
        }
        if self.parts().any(|part| part.name() == name) {
            self.problem(format!("it has two steps called {name}"));
        }
    }

    fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(format!("definition {} version {}: {}", self.name, self.version, problem.into()));
    }

    /// Where its steps are when it is a saga of its own.
    pub(crate) fn top(&self) -> Place<'static> {
        Place {
            steps: String::new(),
            calls: format!("{}@{}:", self.name, self.version),
            base: 0,
            forward: false,
            may_repeat: false,
            poisoned: None,
            until: None,
        }
    }

    /// What is wrong with it, and otherwise registers what undoes its steps.
    pub(crate) fn register(&self, calls: &mut Registry, place: &Place<'_>) -> Result<(), String> {
        if let Some(problem) = self.problems.first() {
            return Err(problem.clone());
        }
        if self.stages.is_empty() {
            return Err(format!("definition {} version {} has no step", self.name, self.version));
        }
        self.parts().try_for_each(|part| part.register(calls, place))
    }

    /// Whether nothing is undone any more once `stage` has begun.
    fn is_past_pivot(&self, stage: usize) -> bool {
        self.pivot.is_some_and(|pivot| stage > pivot)
    }
}

// ===== impl Part =====

impl<O> Part<O> {
    fn name(&self) -> &Name {
        match self {
            Self::Step(step) => &step.name,
            Self::Nested(nested) => nested.name(),
        }
    }

    fn len(&self) -> u32 {
        match self {
            Self::Step(_) => 1,
            Self::Nested(nested) => nested.len(),
        }
    }

    fn register(&self, calls: &mut Registry, place: &Place<'_>) -> Result<(), String> {
        match self {
            Self::Step(step) => step.register(calls, place),
            Self::Nested(nested) => nested.register(calls, place),
        }
    }

    async fn carry_out(
        &self,
        course: &Arc<Course>,
        place: &Place<'_>,
        decides: bool,
        state: &O,
    ) -> Result<Merge<O>, SagaError> {
        match self {
            Self::Step(step) => step.carry_out(course, place, decides, state).await,
            Self::Nested(nested) => nested.carry_out(course, place, state).await,
        }
    }
}

// Not derived: the state need not be cloned with its parts.
impl<O> Clone for Part<O> {
    fn clone(&self) -> Self {
        match self {
            Self::Step(step) => Self::Step(step.clone()),
            Self::Nested(nested) => Self::Nested(Arc::clone(nested)),
        }
    }
}

impl<O, A> fmt::Debug for SagaDefinition<O, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SagaDefinition")
            .field("name", &self.plan.name)
            .field("version", &self.plan.version)
            .field("steps", &self.plan.parts().map(Part::name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
