//! The barrier, as a handler has it.

use std::{fmt, future::Future};

use http::HeaderMap;
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Pool, Transaction};

use super::{
    course::{ActCourse, UndoCourse},
    event,
    open::{Opened, open},
    stop::{AnswerError, Refusal, Stop},
    store::{Place, PlacedBy, Row, Store},
    tx::Tx,
};
use crate::{
    failpoint,
    step::{InvalidStepHeaders, Op, StepHeaders, StepKey},
};

/// The largest answer of an action or an undo that is kept, in bytes of JSON: 64 KiB.
pub const LARGEST_ANSWER: usize = 64 * 1024;

/// The barrier of one call: does what the step asks for, once, in one transaction with the fact that it was done.
/// See the [module](crate::barrier).
///
/// [`BarrierLayer`](super::BarrierLayer) puts one into each request's extensions. With feature `axum` it is an extractor.
/// With tonic, [`of`](Self::of) finds it.
pub struct Barrier<Db: Store> {
    pool: Pool<Db>,
    step: Step,
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
    /// The barrier of a call with these headers, or this metadata.
    pub fn new(pool: Pool<Db>, headers: &HeaderMap) -> Self {
        let step = match StepHeaders::read(headers) {
            Ok(Some(step)) => Step::In(step),
            Ok(None) => Step::Outside { allowed: false },
            Err(problem) => Step::Unreadable(problem),
        };
        Self { pool, step }
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
        let Some(step) = self.asked(Op::Act)? else { return self.plainly(effect).await };
        self.act_in(step, effect).await.inspect_err(|stop| event::stopped(step, stop))
    }

    async fn act_in<T, F, Fut>(&self, step: &StepHeaders, effect: F) -> Result<T, Stop>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce(Tx<Db>) -> Fut,
        Fut: Future<Output = Result<T, Stop>>,
    {
        let Opened { tx, own, .. } = open(&self.pool, step, &Row { placed_by: PlacedBy::Effect, answer: None }).await?;
        match ActCourse::of(own) {
            ActCourse::Run => match self.run(step, tx, effect).await {
                Err(Stop::Refused(refusal)) => self.remember(step, refusal).await,
                ended => ended,
            },
            course => answered(step, tx, course).await,
        }
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
        let step = self.asked(Op::Undo)?.ok_or(Stop::NoStep)?;
        self.undo_in(step, undo).await.inspect_err(|stop| event::stopped(step, stop))
    }

    async fn undo_in<D, U, F, Fut>(&self, step: &StepHeaders, undo: F) -> Result<U, Stop>
    where
        D: DeserializeOwned,
        U: Serialize + DeserializeOwned + Default,
        F: FnOnce(Tx<Db>, D) -> Fut,
        Fut: Future<Output = Result<U, Stop>>,
    {
        let opened = open(&self.pool, step, &Row { placed_by: PlacedBy::Undo, answer: None }).await?;
        let Opened { mut tx, own, action } = opened;
        match UndoCourse::of(own, action) {
            UndoCourse::Replay(answer) => {
                event::replayed(step);
                tx.commit().await?;
                read(answer.as_deref())
            }
            UndoCourse::Run(answer) => {
                let did = read(answer.as_deref())?;
                self.run(step, tx, |tx| undo(tx, did)).await
            }
            UndoCourse::Nothing => {
                event::nothing_to_undo(step);
                let nothing = U::default();
                let saga = step.key.saga();
                Db::answer(&mut tx, &Place::of_step(saga.as_bytes(), &step.key, Op::Undo), &write(&nothing)?).await?;
                failpoint::reach("P1").await;
                tx.commit().await?;
                failpoint::reach("P2").await;
                Ok(nothing)
            }
        }
    }

    /// Runs the effect, stores its answer and commits; or rolls back.
    async fn run<T, Fut>(
        &self,
        step: &StepHeaders,
        tx: Transaction<'static, Db>,
        effect: impl FnOnce(Tx<Db>) -> Fut,
    ) -> Result<T, Stop>
    where
        T: Serialize,
        Fut: Future<Output = Result<T, Stop>>,
    {
        let (mut tx, answer) = lent(tx, effect).await?;
        let ended = async {
            let answer = answer?;
            let saga = step.key.saga();
            let place = Place::of_step(saga.as_bytes(), &step.key, step.key.op());
            Db::answer(&mut tx, &place, &write(&answer)?).await?;
            Ok(answer)
        };
        match ended.await {
            Ok(answer) => {
                failpoint::reach("P1").await;
                tx.commit().await?;
                failpoint::reach("P2").await;
                Ok(answer)
            }
            Err(stop) => {
                // Now and not by a drop, for what comes next may need the lock. A connection that can't is no use anyway.
                let _: Result<(), sqlx::Error> = tx.rollback().await;
                Err(stop)
            }
        }
    }

    /// Stores a refusal that the coordinator takes for one, in a transaction of its own, as that of the effect is gone. If
    /// another attempt came in between, what became of that is the answer.
    async fn remember<T: DeserializeOwned>(&self, step: &StepHeaders, refusal: Refusal) -> Result<T, Stop> {
        let stop = Stop::Refused(refusal);
        let Stop::Refused(refusal) = &stop else { unreachable!("made in the line above") };
        if !stop.is_last_word() {
            return Err(stop);
        }
        let row = Row { placed_by: PlacedBy::Refusal, answer: Some(write(refusal)?) };
        let Opened { tx, own, .. } = open(&self.pool, step, &row).await?;
        match ActCourse::of(own) {
            ActCourse::Run => {
                tx.commit().await?;
                Err(stop)
            }
            course => answered(step, tx, course).await,
        }
    }

    /// A transaction and no more.
    async fn plainly<T, Fut>(&self, effect: impl FnOnce(Tx<Db>) -> Fut) -> Result<T, Stop>
    where
        Fut: Future<Output = Result<T, Stop>>,
    {
        let (tx, answer) = lent(Db::begin(&self.pool).await?, effect).await?;
        let answer = answer?;
        tx.commit().await?;
        Ok(answer)
    }
}

/// What an action that isn't the first gets.
async fn answered<Db: Store, T: DeserializeOwned>(
    step: &StepHeaders,
    tx: Transaction<'static, Db>,
    course: ActCourse,
) -> Result<T, Stop> {
    // The epoch has been noted, so that a coordinator of an earlier one is refused from here on.
    tx.commit().await?;
    match course {
        ActCourse::Replay(answer) => {
            event::replayed(step);
            read(answer.as_deref())
        }
        ActCourse::Refused(refusal) => {
            event::replayed(step);
            Err(Stop::Refused(read(refusal.as_deref())?))
        }
        ActCourse::Undone => Err(Stop::Undone),
        ActCourse::Run => unreachable!("an effect that is to run has no answer yet"),
    }
}

/// Lends the transaction to the effect and takes it back.
async fn lent<Db: Store, T, Fut>(
    tx: Transaction<'static, Db>,
    effect: impl FnOnce(Tx<Db>) -> Fut,
) -> Result<(Transaction<'static, Db>, Result<T, Stop>), Stop>
where
    Fut: Future<Output = Result<T, Stop>>,
{
    let (tx, home) = Tx::lend(tx);
    let answer = effect(tx).await;
    match home.returned() {
        Some(tx) => Ok((tx, answer)),
        None => Err(Stop::failed("the effect gave its transaction away, so it was rolled back")),
    }
}

fn write<T: Serialize>(answer: &T) -> Result<Vec<u8>, AnswerError> {
    let json = serde_json::to_vec(answer).map_err(AnswerError::Unwritable)?;
    if json.len() > LARGEST_ANSWER { Err(AnswerError::TooLarge { bytes: json.len() }) } else { Ok(json) }
}

fn read<T: DeserializeOwned>(answer: Option<&[u8]>) -> Result<T, Stop> {
    serde_json::from_slice(answer.unwrap_or(b"null")).map_err(|error| AnswerError::Unreadable(error).into())
}

/// By hand, for a database needn't be `Clone`.
impl<Db: Store> Clone for Barrier<Db> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.clone(), step: self.step.clone() }
    }
}

impl<Db: Store> fmt::Debug for Barrier<Db> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").field("step", &self.step).finish_non_exhaustive()
    }
}
