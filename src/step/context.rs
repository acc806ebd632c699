//! The step that the task at hand is carrying out.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{key::StepKey, outcome::StepOutcome};

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
///
/// One word: whether a call was refused, whether one ended otherwise, and how many haven't ended.
#[derive(Debug, Default)]
struct Heard(AtomicU64);

const REFUSED: u64 = 1;
const OTHERWISE: u64 = 2;
const CALL: u64 = 4;

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
        self.heard.note(outcome);
    }

    /// A call is made in this step, and its outcome will be told.
    pub(crate) fn begin_call(&self) -> NotedCall {
        self.heard.0.fetch_add(CALL, Ordering::AcqRel);
        NotedCall { step: self.clone(), outcome: StepOutcome::Unknown }
    }

    /// Whether calls were [noted](Self::note) in this step, and each was refused: then a step that failed didn't happen.
    ///
    /// A call whose end isn't known yet, for it runs in another task or its answer hasn't been read, may have happened.
    pub fn was_refused(&self) -> bool {
        self.heard.0.load(Ordering::Acquire) == REFUSED
    }

    /// Whether no call was noted in this step, nor is one under way.
    #[cfg(feature = "saga")]
    pub(crate) fn heard_nothing(&self) -> bool {
        self.heard.0.load(Ordering::Acquire) == 0
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

/// A call whose outcome the step will be told, when this is dropped at the latest.
#[derive(Debug)]
pub(crate) struct NotedCall {
    step: StepContext,
    outcome: StepOutcome,
}

impl NotedCall {
    pub(crate) fn end(mut self, outcome: StepOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for NotedCall {
    fn drop(&mut self) {
        // The outcome first, so that there is no moment at which the call has ended and left no trace.
        self.step.heard.note(self.outcome);
        self.step.heard.0.fetch_sub(CALL, Ordering::AcqRel);
        tracing::debug!(policy = "step", key = %self.step.key, outcome = ?self.outcome, "call ended");
    }
}

impl Heard {
    fn note(&self, outcome: StepOutcome) {
        let bit = if outcome == StepOutcome::Refused { REFUSED } else { OTHERWISE };
        self.0.fetch_or(bit, Ordering::AcqRel);
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

    #[test]
    fn a_call_that_has_not_ended_may_have_happened() {
        let step = step();
        let (refused, under_way) = (step.begin_call(), step.begin_call());
        refused.end(StepOutcome::Refused);
        assert!(!step.was_refused(), "the other call may yet happen");
        under_way.end(StepOutcome::Refused);
        assert!(step.was_refused());
        drop(step.begin_call());
        assert!(!step.was_refused(), "a call that was dropped may have happened");
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
