//! A definition as a tower service.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::timeout_at;
use tower_service::Service;

use super::Plan;
use crate::{
    Deadline,
    saga::{
        Coordinator,
        coordinator::{Origin, turns::Turn},
        error::{Kind, SagaError},
    },
};

/// How long a saga without a deadline waits for another that works on the same.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

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
            let deadline = plan.deadline.map(Deadline::after);
            let exclusive = plan.exclusive(&state);
            let turn = match &exclusive {
                Some(key) => Some(alone(&coordinator, key, deadline).await?),
                None => None,
            };
            let origin = Origin { version: plan.version, exclusive, deadline, ..Origin::default() };
            let saga = coordinator.begin_from(plan.name.clone(), origin)?;
            saga.course().tell(|machine, now| machine.given(input.into(), now));
            if let Some(turn) = turn {
                turn.until_rest_of(saga.course());
            }
            let until = deadline.map(Deadline::instant);
            let running = tokio::spawn(async move { plan.run(saga.course(), state, until).await });
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

/// Waits for the turn to work on what a saga has for itself.
async fn alone(coordinator: &Coordinator, key: &str, deadline: Option<Deadline>) -> Result<Turn, SagaError> {
    let place = coordinator.hub().exclusive.line_up(&key.into(), &Bytes::new());
    let place = place.ok_or_else(|| SagaError::new(Kind::Exclusive))?;
    let until = deadline.unwrap_or_else(|| Deadline::after(PATIENCE));
    timeout_at(until.instant(), place.turn()).await.map_err(|_| SagaError::new(Kind::Exclusive))
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
