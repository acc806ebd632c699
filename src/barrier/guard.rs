//! The barrier, as a handler has it.

use std::{fmt, future::Future};

use http::HeaderMap;
use serde::{Serialize, de::DeserializeOwned};
use sqlx::Pool;

use super::{
    event,
    meter::{UnderWay, Watch},
    run,
    stop::Stop,
    store::Store,
    tx::Tx,
};
use crate::step::{InvalidStepHeaders, Op, StepHeaders, StepKey};

/// The barrier of one call: does what the step asks for, once, in one transaction with the fact that it was done.
/// See the [module](crate::barrier).
///
/// [`BarrierLayer`](super::BarrierLayer) puts one into each request's extensions. With feature `axum` it is an extractor.
/// With tonic, [`of`](Self::of) finds it.
pub struct Barrier<Db: Store> {
    pool: Pool<Db>,
    step: Step,
    watch: Watch,
}

#[derive(Debug, Clone)]
enum Step {
    In(StepHeaders),
    /// The call wasn't made in a step.
    Outside {
        allowed: bool,
    },
    Unreadable(InvalidStepHeaders),
}

impl<Db: Store> Barrier<Db> {
    /// The barrier of a call with these headers, or this metadata. In events and metrics it is called `barrier`; one that has
    /// a name of its own is made by a [layer](super::BarrierLayer::barrier).
    pub fn new(pool: Pool<Db>, headers: &HeaderMap) -> Self {
        Self::watched(pool, headers, Watch::unnamed())
    }

    pub(super) fn watched(pool: Pool<Db>, headers: &HeaderMap, watch: Watch) -> Self {
        let step = match StepHeaders::read(headers) {
            Ok(Some(step)) => Step::In(step),
            Ok(None) => Step::Outside { allowed: false },
            Err(problem) => Step::Unreadable(problem),
        };
        Self { pool, step, watch }
    }

    pub(super) fn or_plainly(mut self) -> Self {
        if let Step::Outside { allowed } = &mut self.step {
            *allowed = true;
        }
        self
    }

    /// The step that the call was made in; `None` if it was made in none.
    pub fn key(&self) -> Option<&StepKey> {
        match &self.step {
            Step::In(step) => Some(&step.key),
            Step::Outside { .. } | Step::Unreadable(_) => None,
        }
    }

    /// Why nothing can be done for this call at all, if that is so.
    ///
    /// # Errors
    ///
    /// It wasn't made in a step and should have been, or doesn't say properly in which.
    pub fn check(&self) -> Result<(), Stop> {
        match &self.step {
            Step::In(_) | Step::Outside { allowed: true } => Ok(()),
            Step::Outside { allowed: false } => Err(Stop::NoStep),
            Step::Unreadable(problem) => Err(Stop::Unreadable(problem.clone())),
        }
    }

    /// As [`check`](Self::check), and says and counts that nothing is done.
    pub(super) fn checked(&self) -> Result<(), Stop> {
        self.check().inspect_err(|stop| self.no_step(stop))
    }

    pub(super) fn no_step(&self, stop: &Stop) {
        event::no_step(&self.watch.name, stop);
    }

    /// The step, if it asks for `wanted`; `None` for a call that was made in none, where that is allowed.
    fn asked(&self, wanted: Op) -> Result<Option<&StepHeaders>, Stop> {
        self.check()?;
        match &self.step {
            Step::In(step) if step.key.op() != wanted => Err(Stop::WrongOp { key: step.key.clone(), wanted }),
            Step::In(step) => Ok(Some(step)),
            Step::Outside { .. } | Step::Unreadable(_) => Ok(None),
        }
    }

    /// Does what the step is for, unless that has been done or must not be done any more.
    ///
    /// `effect` does it with the transaction that it is lent. When it returns `Ok`, the transaction is committed together
    /// with its answer, and a repeated call gets that answer without another effect. When it returns `Err`, everything is
    /// rolled back; a [refusal](Stop::refuse) is then stored by itself, see [`Stop`].
    ///
    /// Whatever the effect does elsewhere than in this transaction isn't rolled back, and may happen again.
    ///
    /// Outside of a step, where the layer [allows](super::BarrierLayer::optional) that, it is a transaction and no more.
    ///
    /// # Errors
    ///
    /// What the effect returned, and all that [`Stop`] lists. Nothing was changed; but of a commit whose own answer was
    /// lost, which is [`Stop::Database`], nobody knows.
    ///
    /// # Cancel safety
    ///
    /// Dropped before the commit, everything is rolled back. Dropped during it, either may be.
    pub async fn act<T, F, Fut>(&self, effect: F) -> Result<T, Stop>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce(Tx<Db>) -> Fut,
        Fut: Future<Output = Result<T, Stop>>,
    {
        let asked = self.asked(Op::Act).inspect_err(|stop| self.no_step(stop))?;
        let Some(step) = asked else { return run::plainly(&self.pool, effect).await };
        let mut call = UnderWay::new(&self.watch, Op::Act);
        let ended = run::act(&self.pool, step, &mut call, effect).await;
        self.ended(step, call, ended)
    }

    /// Undoes what the step did, unless that has been undone or never was done.
    ///
    /// `undo` does it with the transaction that it is lent, and is handed the answer that [`act`](Self::act) stored, so it
    /// works though the coordinator may never have seen it. If the action never happened, or was refused, `undo` isn't
    /// called, the answer is the default one, and the action will be refused should it still come. A repeated call gets the
    /// stored answer. When `undo` returns `Err`, everything is rolled back and nothing stored: the next call tries again.
    ///
    /// # Errors
    ///
    /// What `undo` returned, and all that [`Stop`] lists; a call that wasn't made in a step has nothing to undo.
    ///
    /// # Cancel safety
    ///
    /// As [`act`](Self::act).
    pub async fn undo<D, U, F, Fut>(&self, undo: F) -> Result<U, Stop>
    where
        D: DeserializeOwned,
        U: Serialize + DeserializeOwned + Default,
        F: FnOnce(Tx<Db>, D) -> Fut,
        Fut: Future<Output = Result<U, Stop>>,
    {
        let asked = self.asked(Op::Undo).and_then(|step| step.ok_or(Stop::NoStep));
        let step = asked.inspect_err(|stop| self.no_step(stop))?;
        let mut call = UnderWay::new(&self.watch, Op::Undo);
        let ended = run::undo(&self.pool, step, &mut call, undo).await;
        self.ended(step, call, ended)
    }

    fn ended<T>(&self, step: &StepHeaders, call: UnderWay<'_>, ended: Result<T, Stop>) -> Result<T, Stop> {
        let stop = ended.as_ref().err();
        call.ended(stop);
        if let Some(stop) = stop {
            event::stopped(&self.watch.name, step, stop);
        }
        ended
    }
}

/// By hand, for a database needn't be `Clone`.
impl<Db: Store> Clone for Barrier<Db> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.clone(), step: self.step.clone(), watch: self.watch.clone() }
    }
}

impl<Db: Store> fmt::Debug for Barrier<Db> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").field("step", &self.step).finish_non_exhaustive()
    }
}
