//! A transaction in which a step has its place in the table.

use std::time::{Duration, SystemTime};

use sqlx::{Pool, Transaction};
use tokio::time::{Instant, sleep};

use super::{
    codes::is_contended,
    event,
    meter::UnderWay,
    stop::Stop,
    store::{LOCK_WAIT, Place, PlacedBy, Row, Store},
};
use crate::{
    failpoint::{Planted, planted},
    meter::Stopwatch,
    step::{Op, StepHeaders},
};

/// The transaction, and what the table said.
pub(super) struct Opened<Db: Store> {
    pub(super) tx: Transaction<'static, Db>,
    /// The row of what was asked for; none if it was placed just now.
    pub(super) own: Option<Row>,
    /// If an undo was asked for, and for the first time, the action's; none if it was placed just now, in its stead.
    pub(super) action: Option<Row>,
}

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Begins a transaction and places `row` in it, for what the step asks for.
///
/// Tries again for [`LOCK_WAIT`] where others are in the way. Once the effect has begun nothing is tried again, for it can
/// be called only once.
pub(super) async fn open<Db: Store>(
    pool: &Pool<Db>,
    step: &StepHeaders,
    call: &UnderWay<'_>,
    row: &Row,
) -> Result<Opened<Db>, Stop> {
    let begun = Instant::now();
    let until = begun + LOCK_WAIT;
    let mut pause = Duration::from_millis(1);
    loop {
        match attempt(pool, step, row).await {
            Ok(Some(opened)) => {
                call.watch.waited(Stopwatch::started(begun));
                return Ok(opened);
            }
            Ok(None) => return Err(Stop::Fenced),
            Err(error) if is_contended(&error) && Instant::now() < until => {
                event::contended(step, call, &error);
                sleep(pause.mul_f64(fastrand::f64())).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// None if a later epoch of the saga was heard of.
///
/// The saga's own row comes first and is held to the end: all that happens to one saga in here happens one by one, so
/// whoever reads a row reads the last word. The rows of the steps are placed one after the other in one order, the undo's
/// before the action's, so that even without it nobody waits in a circle.
async fn attempt<Db: Store>(pool: &Pool<Db>, step: &StepHeaders, row: &Row) -> sqlx::Result<Option<Opened<Db>>> {
    let (key, saga, at) = (&step.key, step.key.saga(), millis(SystemTime::now()));
    let epoch = i64::try_from(step.epoch).unwrap_or(i64::MAX);
    let saga = saga.as_bytes();
    let mut tx = Db::begin(pool).await?;
    if !Db::enter(&mut tx, Place::of_saga(saga), epoch, at).await? && !planted(Planted::BarrierOff) {
        tx.rollback().await?;
        return Ok(None);
    }
    let place = Place::of_step(saga, key, key.op());
    if planted(Planted::BarrierOff) {
        Db::forget(&mut tx, &place).await?;
    }
    let own = place_or_find::<Db>(&mut tx, &place, epoch, row, at).await?;
    let action = match key.op() {
        Op::Undo if own.is_none() => {
            let never = Row { placed_by: PlacedBy::Undo, answer: None };
            let place = Place::of_step(saga, key, Op::Act);
            place_or_find::<Db>(&mut tx, &place, epoch, &never, at).await?
        }
        _ => None,
    };
    Ok(Some(Opened { tx, own, action }))
}

async fn place_or_find<Db: Store>(
    db: &mut Db::Connection,
    place: &Place<'_>,
    epoch: i64,
    row: &Row,
    at: i64,
) -> sqlx::Result<Option<Row>> {
    if Db::place(db, place, epoch, row, at).await? { Ok(None) } else { Db::find(db, place).await.map(Some) }
}

/// Milliseconds of the wall clock, which nothing but pruning goes by.
pub(super) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
