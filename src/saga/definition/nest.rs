//! A saga in the place of a step: its steps are the outer saga's, in its journal, undone with the others.
//!
//! So nothing has to be agreed on between two sagas, and no crash can find the one decided and the other not.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Plan,
    run::{Merge, Place},
};
use crate::{
    name::Name,
    saga::{
        coordinator::{course::Course, registry::Registry},
        error::SagaError,
    },
};

/// A nested saga whose state's type is put away.
pub(crate) trait Nest<O>: Send + Sync {
    fn name(&self) -> &Name;
    fn len(&self) -> u32;
    fn register(&self, calls: &mut Registry, place: &Place<'_>) -> Result<(), String>;
    fn carry_out<'a>(
        &'a self,
        course: &'a Arc<Course>,
        place: &'a Place<'a>,
        state: &'a O,
    ) -> BoxFuture<'a, Result<Merge<O>, SagaError>>;
}

/// A plan over `I`, in the place of a step.
pub(crate) struct Nested<I, F, M> {
    name: Name,
    number: u32,
    plan: Plan<I>,
    args: F,
    merge: Arc<M>,
}

impl<I, F, M> Nested<I, F, M> {
    pub(crate) fn new(name: Name, number: u32, plan: Plan<I>, args: F, merge: M) -> Self {
        Self { name, number, plan, args, merge: Arc::new(merge) }
    }

    /// Where its steps are, in an outer saga at `outer`.
    fn place<'a>(&self, outer: &Place<'a>) -> Place<'a> {
        Place {
            steps: format!("{}{}:", outer.steps, self.name),
            calls: format!("{}{}:", outer.calls, self.name),
            base: outer.base + self.number,
            ..outer.clone()
        }
    }
}

impl<O, I, F, M> Nest<O> for Nested<I, F, M>
where
    O: Sync,
    I: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    F: Fn(&O) -> I + Send + Sync,
    M: Fn(&mut O, I) + Send + Sync + 'static,
{
    fn name(&self) -> &Name {
        &self.name
    }

    fn len(&self) -> u32 {
        self.plan.len()
    }

    fn register(&self, calls: &mut Registry, place: &Place<'_>) -> Result<(), String> {
        self.plan.register(calls, &self.place(place))
    }

    fn carry_out<'a>(
        &'a self,
        course: &'a Arc<Course>,
        place: &'a Place<'a>,
        state: &'a O,
    ) -> BoxFuture<'a, Result<Merge<O>, SagaError>> {
        async move {
            let inner = self.plan.carry_out(course, &self.place(place), (self.args)(state)).await?;
            let merge = Arc::clone(&self.merge);
            let merge: Merge<O> = Box::new(move |state| merge(state, inner));
            Ok(merge)
        }
        .boxed()
    }
}
