//! Mistakes that are planted have their effect: whoever looks for them later has something to find.
//!
//! In one test, for a mistake is the whole process's.

use buttress::{
    BarrierLayer,
    barrier::{Barrier, Stop},
    failpoint::{self, Planted},
    step::{Op, SagaId, StepContext, StepHeaders, StepKey},
};
use http::HeaderMap;
use sqlx::{Sqlite, SqlitePool, sqlite::SqlitePoolOptions};

async fn act(pool: &SqlitePool, key: &StepKey, epoch: u64) -> Result<i64, Stop> {
    let barrier = barrier(pool, key, epoch);
    let charged = barrier.act(|mut tx| async move {
        let done = sqlx::query("INSERT INTO effect DEFAULT VALUES").execute(&mut *tx).await?;
        Ok(done.last_insert_rowid())
    });
    charged.await
}

async fn undo(pool: &SqlitePool, key: &StepKey) -> Result<i64, Stop> {
    barrier(pool, &key.with_op(Op::Undo), 1).undo(|_, did: i64| async move { Ok(did) }).await
}

fn barrier(pool: &SqlitePool, key: &StepKey, epoch: u64) -> Barrier<Sqlite> {
    let mut headers = HeaderMap::new();
    StepHeaders::of(&StepContext::new(key.clone(), epoch)).write(&mut headers);
    Barrier::new(pool.clone(), &headers)
}

fn charge(saga: SagaId, number: u32) -> StepKey {
    StepKey::new(saga, "charge", number, Op::Act).unwrap()
}

#[tokio::test]
async fn each_mistake_shows_and_is_gone_once_uprooted() {
    let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
    BarrierLayer::create_table(&pool).await.unwrap();
    sqlx::query("CREATE TABLE effect(id INTEGER PRIMARY KEY)").execute(&pool).await.unwrap();

    failpoint::plant(Planted::BarrierOff);
    let key = charge(SagaId::new(), 0);
    assert_eq!(act(&pool, &key, 2).await.unwrap(), 1);
    assert_eq!(act(&pool, &key, 2).await.unwrap(), 2, "a repeated action happens again");
    assert_eq!(act(&pool, &key, 1).await.unwrap(), 3, "whoever asks for it");
    assert_eq!(undo(&pool, &key).await.unwrap(), 3);
    assert_eq!(undo(&pool, &key).await.unwrap(), 3, "and is undone as often");
    let late = charge(SagaId::new(), 0);
    assert_eq!(undo(&pool, &late).await.unwrap(), 0);
    assert_eq!(act(&pool, &late, 1).await.unwrap(), 4, "also when it comes after its undo");
    failpoint::uproot(Planted::BarrierOff);
    assert_eq!(act(&pool, &late, 1).await.unwrap(), 4);

    failpoint::plant(Planted::EpochNotSent);
    let saga = SagaId::new();
    act(&pool, &charge(saga, 0), 2).await.unwrap();
    act(&pool, &charge(saga, 1), 1).await.expect("a coordinator that lost its saga isn't found out");
    failpoint::uproot(Planted::EpochNotSent);
    act(&pool, &charge(saga, 2), 2).await.unwrap();
    assert!(matches!(act(&pool, &charge(saga, 3), 1).await, Err(Stop::Fenced)));

    // Dropped at P1 nothing has happened; at P2 it has, though nobody was told.
    for (point, happened) in [("P1", 0), ("P2", 1)] {
        let before: i64 = sqlx::query_scalar("SELECT count(*) FROM effect").fetch_one(&pool).await.unwrap();
        failpoint::arm(&format!("{point}=pause"));
        let (pool, key) = (pool.clone(), charge(SagaId::new(), 0));
        let stopped = {
            let (pool, key) = (pool.clone(), key.clone());
            tokio::spawn(async move { act(&pool, &key, 1).await })
        };
        while failpoint::reached(point) == 0 {
            tokio::task::yield_now().await;
        }
        stopped.abort();
        let after: i64 = sqlx::query_scalar("SELECT count(*) FROM effect").fetch_one(&pool).await.unwrap();
        assert_eq!(after - before, happened, "{point}");
        act(&pool, &key, 1).await.unwrap();
        let after: i64 = sqlx::query_scalar("SELECT count(*) FROM effect").fetch_one(&pool).await.unwrap();
        assert_eq!(after - before, 1, "{point}");
    }
}
