//! Mistakes that are planted have their effect: whoever looks for them later has something to find.
//!
//! One test for each kind: a mistake is the whole process's, and none of these is another's.

use std::time::Duration;

use axum::{Router, body::Body, routing::post};
use buttress::{
    BarrierLayer, BoxError, Deadline, SagaLayer,
    barrier::{Barrier, Stop},
    failpoint::{self, Planted},
    saga::{
        Coordinator,
        Idempotency::Required,
        Saga, SagaError,
        journal::{Filter, Lookup, MemoryJournal, State},
    },
    step::{Op, SagaId, StepContext, StepHeaders, StepKey},
};
use http::{HeaderMap, Request, StatusCode};
use sqlx::{Sqlite, SqlitePool, sqlite::SqlitePoolOptions};
use tokio::time::timeout;
use tower::ServiceExt;

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

async fn a_step_and_then_a_second(saga: Saga) -> Result<StatusCode, SagaError> {
    saga.step("reserve").run(async |_| Ok::<_, BoxError>(())).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(StatusCode::OK)
}

#[tokio::test(start_paused = true)]
async fn each_mistake_of_the_layer_shows_and_its_failpoints_are_where_they_are_said_to_be() {
    let mut journal = MemoryJournal::new();
    let coordinator = Coordinator::with_inline_journal(journal.clone()).start().await.unwrap();
    let layer = SagaLayer::http(&coordinator, "place-order").idempotency(Required);
    let app: Router = Router::new().route("/orders", post(a_step_and_then_a_second).layer(layer));
    let ask = async |user: &'static str, key: &'static str| {
        let request = Request::post("/orders").header("idempotency-key", key).header("authorization", user);
        let answer = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        (answer.status().as_u16(), answer.headers().contains_key("idempotency-replayed"))
    };
    let all = Filter { state: None, name: None, before: None, limit: 100 };
    let mut states = move || journal.list(&all).unwrap().into_iter().map(|row| row.state).collect::<Vec<_>>();

    failpoint::plant(Planted::KeyNotScoped);
    assert_eq!(ask("anna", "k").await, (200, false));
    assert_eq!(ask("bert", "k").await, (200, true), "one gets the other's answer");
    failpoint::uproot(Planted::KeyNotScoped);
    assert_eq!(ask("bert", "k").await, (200, false));
    assert_eq!(states(), [State::Done, State::Done]);

    for (planted, after) in [(true, State::Running), (false, State::Done)] {
        if planted {
            failpoint::plant(Planted::HandlerNotDetached);
        }
        let hung_up = timeout(Duration::from_millis(500), ask("anna", if planted { "cut" } else { "not-cut" })).await;
        assert!(hung_up.is_err());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(states()[0], after, "a handler that is cut off leaves its saga in the middle");
        failpoint::uproot(Planted::HandlerNotDetached);
    }

    failpoint::arm("C1=pause@99");
    let sagas = states().len();
    assert_eq!(ask("anna", "C1").await, (200, false));
    assert_eq!((failpoint::reached("C1"), states().len()), (1, sagas + 1));
    for (point, state) in [("C10", State::Running), ("C11", State::Done), ("C14", State::Running)] {
        failpoint::arm(&format!("{point}=pause"));
        let late = if point == "C14" { Duration::from_millis(1) } else { Duration::from_secs(60) };
        let client = Deadline::after(late).scope(ask("anna", point));
        assert!(timeout(Duration::from_secs(30), client).await.is_err(), "{point}: it is answered");
        assert_eq!((failpoint::reached(point), states()[0]), (1, state), "{point}");
        failpoint::disarm(point);
        // Whoever stood still there is gone before the next place is armed.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(states()[0], State::Undone);
}
