//! A definition as a tower service.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};
use tower_service::Service;

use super::Plan;
use crate::saga::{
    Coordinator,
    error::{Kind, SagaError},
};

/// A [definition](super::SagaDefinition) that is carried out for each state it is called with: a tower service, so it takes
/// layers. What it gives is the state at the end, when that is durable.
///
/// A saga goes on though nobody waits for it any more.
pub struct ServeSaga<O> {
    coordinator: Coordinator,
    plan: Arc<Plan<O>>,
}

impl<O> ServeSaga<O> {
    pub(crate) fn new(coordinator: Coordinator, plan: Plan<O>) -> Self {
        Self { coordinator, plan: Arc::new(plan) }
    }
}

impl<O> Service<O> for ServeSaga<O>
where
    O: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    type Response = O;
    type Error = SagaError;
    type Future = BoxFuture<'static, Result<O, SagaError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), SagaError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, state: O) -> Self::Future {
        let (coordinator, plan) = (self.coordinator.clone(), Arc::clone(&self.plan));
        Box::pin(async move {
            let input = serde_json::to_vec(&state).map_err(|error| SagaError::with_source(Kind::Invalid, error))?;
            let saga = coordinator.begin_version(plan.name.clone(), plan.version)?;
            saga.course().tell(|machine, now| machine.given(input.into(), now));
            let running = tokio::spawn(async move { plan.run(saga.course(), state).await });
            match running.await {
                Ok(ended) => ended,
                Err(cut) => match cut.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Err(SagaError::new(Kind::Draining)),
                },
            }
        })
    }
}

// Not derived: the state need not be cloned with its service.
impl<O> Clone for ServeSaga<O> {
    fn clone(&self) -> Self {
        Self { coordinator: self.coordinator.clone(), plan: Arc::clone(&self.plan) }
    }
}

impl<O> fmt::Debug for ServeSaga<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServeSaga({} version {})", self.plan.name, self.plan.version)
    }
}
