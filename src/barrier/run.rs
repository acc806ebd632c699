//! What is done in the transaction, and after it.

use std::future::Future;

use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Pool, Transaction};

use super::{
    course::{ActCourse, UndoCourse},
    event,
    kept::{read, write},
    meter::UnderWay,
    open::{Opened, open},
    stop::{Refusal, Stop},
    store::{Place, PlacedBy, Row, Store},
    tx::{Tx, lent},
};
use crate::{failpoint, step::StepHeaders};

/// Does the step once. See [`Barrier::act`](super::Barrier::act).
pub(super) async fn act<Db, T, F, Fut>(
    pool: &Pool<Db>,
    step: &StepHeaders,
    call: &mut UnderWay<'_>,
    effect: F,
) -> Result<T, Stop>
where
    Db: Store,
    T: Serialize + DeserializeOwned,
    F: FnOnce(Tx<Db>) -> Fut,
    Fut: Future<Output = Result<T, Stop>>,
{
    let Opened { tx, own, .. } = open(pool, step, call, &Row { placed_by: PlacedBy::Effect, answer: None }).await?;
    match ActCourse::of(own) {
        ActCourse::Run => match run(step, tx, effect).await {
            Err(Stop::Refused(refusal)) => remember(pool, step, call, refusal).await,
            ended => ended,
        },
        course => answered(step, call, tx, course).await,
    }
}

/// Undoes the step once. See [`Barrier::undo`](super::Barrier::undo).
pub(super) async fn undo<Db, D, U, F, Fut>(
    pool: &Pool<Db>,
    step: &StepHeaders,
    call: &mut UnderWay<'_>,
    undo: F,
) -> Result<U, Stop>
where
    Db: Store,
    D: DeserializeOwned,
    U: Serialize + DeserializeOwned + Default,
    F: FnOnce(Tx<Db>, D) -> Fut,
    Fut: Future<Output = Result<U, Stop>>,
{
    let opened = open(pool, step, call, &Row { placed_by: PlacedBy::Undo, answer: None }).await?;
    let Opened { tx, own, action } = opened;
    match UndoCourse::of(own, action) {
        UndoCourse::Replay(answer) => {
            call.repeats();
            event::replayed(step, call);
            tx.commit().await?;
            Ok(read(answer.as_deref())?)
        }
        UndoCourse::Run(answer) => {
            let did = read(answer.as_deref())?;
            run(step, tx, |tx| undo(tx, did)).await
        }
        UndoCourse::Nothing => {
            call.does_nothing();
            event::nothing_to_undo(step, call);
            run(step, tx, |_| async { Ok(U::default()) }).await
        }
    }
}

/// Runs the effect, stores its answer and commits; or rolls back.
async fn run<Db: Store, T, Fut>(
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
async fn remember<Db: Store, T: DeserializeOwned>(
    pool: &Pool<Db>,
    step: &StepHeaders,
    call: &mut UnderWay<'_>,
    refusal: Refusal,
) -> Result<T, Stop> {
    let stop = Stop::Refused(refusal);
    let Stop::Refused(refusal) = &stop else { unreachable!("made in the line above") };
    if !stop.is_last_word() {
        return Err(stop);
    }
    let row = Row { placed_by: PlacedBy::Refusal, answer: Some(write(refusal)?) };
    let Opened { tx, own, .. } = open(pool, step, call, &row).await?;
    match ActCourse::of(own) {
        ActCourse::Run => {
            tx.commit().await?;
            Err(stop)
        }
        course => answered(step, call, tx, course).await,
    }
}

/// A transaction and no more.
pub(super) async fn plainly<Db: Store, T, Fut>(pool: &Pool<Db>, effect: impl FnOnce(Tx<Db>) -> Fut) -> Result<T, Stop>
where
    Fut: Future<Output = Result<T, Stop>>,
{
    let (tx, answer) = lent(Db::begin(pool).await?, effect).await?;
    let answer = answer?;
    tx.commit().await?;
    Ok(answer)
}

/// What an action that isn't the first gets.
async fn answered<Db: Store, T: DeserializeOwned>(
    step: &StepHeaders,
    call: &mut UnderWay<'_>,
    tx: Transaction<'static, Db>,
    course: ActCourse,
) -> Result<T, Stop> {
    // The epoch has been noted, so that a coordinator of an earlier one is refused from here on.
    tx.commit().await?;
    match course {
        ActCourse::Replay(answer) => {
            call.repeats();
            event::replayed(step, call);
            Ok(read(answer.as_deref())?)
        }
        ActCourse::Refused(refusal) => {
            call.repeats();
            event::replayed(step, call);
            Err(Stop::Refused(read(refusal.as_deref())?))
        }
        ActCourse::Undone => Err(Stop::Undone),
        ActCourse::Run => unreachable!("an effect that is to run has no answer yet"),
    }
}
