//! The step that the task at hand is carrying out.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::key::StepKey;

tokio::task_local! {
    static CURRENT: StepContext;
}

/// A step that is being carried out: what the clients called in it have to know.
///
/// It is in the task while the step runs, where [`StepLayer`](super::StepLayer) finds it; in a request's
/// [extensions](http::Extensions) it goes before that, for requests that are sent from another task.
#[derive(Debug, Clone)]
pub struct StepContext {
    key: StepKey,
    epoch: u64,
    heard: Arc<Heard>,
}

/// What a step's calls came to, for the step's own outcome to be told by.
#[derive(Debug, Default)]
struct Heard(AtomicU8);

/// What became of a call, as far as can be told from its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepOutcome {
    /// It happened.
    Done,
    /// It certainly did not happen: it wasn't sent, or was refused.
    Refused,
    /// It may have happened: timed out, cut off, cancelled, or failed on the other side.
    Unknown,
}

const REFUSED: u8 = 1;
const OTHERWISE: u8 = 2;

impl StepContext {
    /// The step `key`, carried out by the coordinator that holds its saga in its `epoch`th time.
    pub fn new(key: StepKey, epoch: u64) -> Self {
        Self { key, epoch, heard: Arc::default() }
    }

    /// The step that this task is carrying out.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// What the step is known by.
    pub fn key(&self) -> &StepKey {
        &self.key
    }

    /// How often the saga had changed hands when the step was begun: a participant that has heard of a later one
    /// refuses this one.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Notes what became of a call made in this step.
    pub fn note(&self, outcome: StepOutcome) {
        let bit = if outcome == StepOutcome::Refused { REFUSED } else { OTHERWISE };
        self.heard.0.fetch_or(bit, Ordering::AcqRel);
    }

    /// Whether calls were [noted](Self::note) in this step, and each was refused: then a step that failed didn't happen.
    pub fn was_refused(&self) -> bool {
        self.heard.0.load(Ordering::Acquire) == REFUSED
    }

    /// A future that runs as `future` does, and finds this step as the [current](Self::current) one.
    pub fn scope<F>(self, future: F) -> InStep<F> {
        InStep { step: Some(self), future }
    }

    /// Lets `future` have the step that is [current](Self::current) now, if there is one, wherever it is run: for what a
    /// step spawns.
    pub fn carry<F>(future: F) -> InStep<F> {
        InStep { step: Self::current(), future }
    }
}

pin_project! {
    /// A future with a step as the current one: [`StepContext::scope`], [`StepContext::carry`].
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct InStep<F> {
        step: Option<StepContext>,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for InStep<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        match this.step {
            Some(step) => CURRENT.sync_scope(step.clone(), || this.future.poll(cx)),
            None => this.future.poll(cx),
        }
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use super::*;
    use crate::step::{Op, SagaId};

    fn step() -> StepContext {
        StepContext::new(StepKey::new(SagaId::from_bytes([1; 16]), "charge", 0, Op::Act).unwrap(), 1)
    }

    #[test]
    fn a_step_was_refused_only_if_all_its_calls_were() {
        let silent = step();
        assert!(!silent.was_refused(), "a step that called nobody we know of may have happened");
        let refused = step();
        refused.note(StepOutcome::Refused);
        refused.note(StepOutcome::Refused);
        assert!(refused.was_refused());
        for other in [StepOutcome::Unknown, StepOutcome::Done] {
            let mixed = step();
            mixed.note(other);
            mixed.note(StepOutcome::Refused);
            assert!(!mixed.was_refused(), "{other:?}");
        }
    }

    #[tokio::test]
    async fn a_step_is_current_while_it_runs_and_where_it_is_carried() {
        assert!(StepContext::current().is_none());
        step()
            .scope(async {
                assert_eq!(StepContext::current().unwrap().epoch(), 1);
                assert!(tokio::spawn(async { StepContext::current() }).await.unwrap().is_none());
                let carried = tokio::spawn(StepContext::carry(async { StepContext::current() }));
                assert!(carried.await.unwrap().is_some());
            })
            .await;
        assert!(StepContext::current().is_none());
    }
}
