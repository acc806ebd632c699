//! Everything that sagas tell of.

use std::{any::Any, future::pending, time::Duration};

use axum::{Router, body::Body, routing::post};
use buttress::{
    BoxError, Deadline, Reason, Rejection, SagaLayer, StepLayer,
    backoff::{Backoff, Jitter},
    saga::{
        Call, Coordinator, CoordinatorBuilder, CoordinatorConfig, Idempotency, NoSaga, OnConflict, OnDisconnect, Saga,
        SagaError,
        journal::{Filter, Lookup, SqliteJournal, State},
    },
    step::SagaId,
};
use http::Request;
use tokio::{
    task::yield_now,
    time::{Instant, sleep, timeout},
};
use tower::{Layer, ServiceExt, service_fn};

use super::{
    Kept, in_time,
    journal::{Told, UNDO, definition},
};
use crate::everything::journal::TELL;

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(5);
const REST: Duration = Duration::from_secs(3600);

pub(super) fn happen(kept: &mut Kept) {
    in_time(courses(kept));
    in_time(requests());
    in_time(keys());
    in_time(taken_over());
    left_behind();
    suspects();
    damaged();
    failing();
}

/// One whose calls do as their arguments say, once: `fails` and `refused` work when they are tried again.
fn register(builder: CoordinatorBuilder) -> CoordinatorBuilder {
    let does = || {
        let tried = std::sync::Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
        service_fn(move |how: String| {
            let is_first = tried.lock().unwrap().insert(how.clone());
            async move {
                match how.split('#').next().unwrap() {
                    "never" => Err("not now".into()),
                    "fails" if is_first => Err("not at first".into()),
                    "refused" if is_first => Err(Rejection::new("bulkhead", "below", Reason::BulkheadFull).into()),
                    "hangs" => pending().await,
                    _ => Ok::<(), BoxError>(()),
                }
            }
        })
    };
    let mut config = CoordinatorConfig::default();
    config.undo_attempts = 2;
    config.lease = LEASE;
    config.backoff = Backoff::constant(SECOND).jitter(Jitter::None);
    builder.named("everything").config(config).on(UNDO, does()).on(TELL, does())
}

/// A step that something undoes.
async fn step(saga: &Saga, undo: &'static str) -> Result<(), SagaError> {
    let step = saga.step("reserve").undo(UNDO, |key| format!("{undo}#{}", key.saga()));
    step.run(async |_| Ok::<(), BoxError>(())).await
}

/// A call that says which step it is made in.
fn called() -> futures_util::future::BoxFuture<'static, Result<(), BoxError>> {
    let service = service_fn(async |()| Ok::<(), std::convert::Infallible>(()));
    Box::pin(StepLayer::new().layer(service).oneshot(()))
}

async fn commits(coordinator: &Coordinator, promised: &'static [&'static str]) {
    let done: Result<(), SagaError> = coordinator
        .scope("everything", async move |saga: Saga| {
            promised.iter().for_each(|how| saga.then(TELL, (*how).to_owned()));
            saga.step("charge").run(|_| called()).await?;
            step(&saga, "works").await
        })
        .await;
    done.unwrap();
}

/// Fails after a step, with this undo.
async fn fails(coordinator: &Coordinator, undo: &'static str) {
    let failed: Result<(), SagaError> = coordinator
        .scope("everything", async move |saga: Saga| {
            step(&saga, undo).await?;
            saga.step("charge").run(async |_| Err::<(), BoxError>("no money".into())).await
        })
        .await;
    failed.unwrap_err();
}

async fn parked(journal: &Told) -> Vec<SagaId> {
    let filter = Filter { state: Some(State::Parked), name: None, before: None, limit: 100 };
    let mut ids: Vec<_> = journal.clone().list(&filter).unwrap().into_iter().map(|row| row.id).collect();
    ids.sort();
    ids
}

/// From their first step to their rest: 7 are committed, 4 undone, 5 parked, of which one stays so.
async fn courses(kept: &mut Kept) {
    let journal = Told::default();
    let coordinator = register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
    for _ in 0..3 {
        commits(&coordinator, &["works"]).await;
    }
    commits(&coordinator, &["refused", "fails"]).await;
    for _ in 0..2 {
        fails(&coordinator, "works").await;
    }
    fails(&coordinator, "fails").await;
    // A step that one of our own layers refuses, and one that is dropped.
    let refused: Result<(), SagaError> = coordinator
        .scope("everything", async move |saga: Saga| {
            let below = || BoxError::from(Rejection::new("bulkhead", "below", Reason::BulkheadFull));
            saga.step("charge").run(async |_| Err::<(), _>(below())).await
        })
        .await;
    refused.unwrap_err();
    for _ in 0..3 {
        let dropped: Result<(), SagaError> = coordinator
            .scope("everything", async move |saga: Saga| {
                let hangs = saga.step("charge").run(async |_| pending::<Result<(), BoxError>>().await);
                assert!(timeout(SECOND, hangs).await.is_err());
                Ok(())
            })
            .await;
        dropped.unwrap();
    }
    let blank: Result<(), SagaError> = coordinator.scope("everything", async |_: Saga| Ok(())).await;
    blank.unwrap();
    let panics = coordinator.clone();
    let panics = tokio::spawn(async move {
        panics.scope::<(), SagaError, _>("everything", async |_: Saga| panic!("as it was told to")).await
    });
    assert!(panics.await.unwrap_err().is_panic());

    for _ in 0..5 {
        fails(&coordinator, "never").await;
        sleep(10 * SECOND).await;
    }
    let ids = parked(&journal).await;
    coordinator.abandon(ids[0], "it is gone").await.unwrap();
    for id in &ids[1..3] {
        coordinator.skip(*id, 0, "done by hand").await.unwrap();
    }
    coordinator.retry(ids[3], None).await.unwrap();
    sleep(10 * SECOND).await;
    assert_eq!(parked(&journal).await.len(), 2, "one isn't touched, one is parked again");
    // One that is under way for as long as anybody looks.
    let hangs = coordinator.clone();
    let hangs = tokio::spawn(async move {
        hangs
            .scope::<(), SagaError, _>("everything under way", async |saga: Saga| {
                step(&saga, "works").await?;
                pending().await
            })
            .await
    });
    sleep(SECOND).await;
    kept.extend([Box::new(coordinator) as Box<dyn Any>, Box::new(hangs)]);
}

/// What a layer tells of those who ask.
async fn requests() {
    let coordinator = register(Coordinator::in_memory().named("everything asked")).start().await.unwrap();
    let layer = SagaLayer::http(&coordinator, "everything asked");
    let handler = async |saga: Saga| {
        step(&saga, "works").await?;
        sleep(SECOND).await;
        Ok::<_, SagaError>("done")
    };
    let hangs = async |saga: Saga| {
        step(&saga, "works").await?;
        pending::<Result<(), SagaError>>().await
    };
    let one = |_: &http::request::Parts| Some("one".to_owned());
    let app = Router::new()
        .route("/keyed", post(handler).layer(layer.clone().idempotency(Idempotency::Required)))
        .route("/alone", post(handler).layer(layer.clone().exclusive_by(one).on_conflict(OnConflict::Conflict)))
        .route("/late", post(hangs).layer(layer.clone().deadline(SECOND)))
        .route("/left", post(hangs).layer(layer.clone().on_disconnect(OnDisconnect::Undo)))
        .route("/bare", post(async |_: Result<Saga, NoSaga>| ()))
        .route("/missing", post(async |_: Saga| ()));
    let ask = async |path: &str, key: Option<&'static str>, body: &'static str| {
        let request = Request::post(path);
        let request = key.into_iter().fold(request, |request, key| request.header("idempotency-key", key));
        app.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap().status().as_u16()
    };
    // One is carried out, one waits for it and is given its answer.
    assert_eq!(tokio::join!(ask("/keyed", Some("k"), "a"), ask("/keyed", Some("k"), "a")), (200, 200));
    for _ in 0..2 {
        assert_eq!(ask("/keyed", Some("k"), "a").await, 200);
    }
    assert_eq!(ask("/keyed", Some("k"), "b").await, 422);
    for _ in 0..2 {
        assert_eq!(ask("/keyed", None, "a").await, 400);
    }
    let asked = tokio::join!(ask("/alone", None, ""), ask("/alone", None, ""), ask("/alone", None, ""));
    assert_eq!(asked, (200, 409, 409));
    assert_eq!(ask("/late", None, "").await, 504);
    assert!(timeout(SECOND, ask("/left", None, "")).await.is_err());
    assert_eq!(ask("/missing", None, "").await, 500);
    assert_eq!(ask("/bare", None, "").await, 200);
    assert_eq!(Deadline::at(Instant::now()).scope(ask("/late", None, "")).await, 504);
    // Its undo has to wait, and nobody waits for that.
    let last = coordinator.clone();
    drop(last);
    fails_later(&coordinator).await;
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    for _ in 0..2 {
        assert_eq!(ask("/late", None, "").await, 503);
    }
}

/// What can be wrong with an idempotency key.
async fn keys() {
    let coordinator = register(Coordinator::in_memory()).start().await.unwrap();
    let layer = SagaLayer::http(&coordinator, "everything asked").idempotency(Idempotency::Required);
    let handler = async |saga: Saga| {
        step(&saga, "works").await?;
        sleep(SECOND).await;
        Ok::<_, SagaError>("done")
    };
    let promises = async |saga: Saga| {
        step(&saga, "works").await?;
        saga.then(Call::<()>::new("nobody's"), ());
        Ok::<_, SagaError>("done")
    };
    let app = Router::new()
        .route("/small", post(handler).layer(layer.clone().body_limit(1)))
        .route("/short", post(handler).layer(layer.clone().answer_limit(1)))
        .route("/hurried", post(handler).layer(layer.clone().max_wait(Duration::ZERO)))
        .route("/promises", post(promises).layer(layer));
    let ask = async |path: &str, key: &'static str, body: Body| {
        let request = Request::post(path).header("idempotency-key", key).body(body).unwrap();
        app.clone().oneshot(request).await.unwrap().status().as_u16()
    };
    for _ in 0..3 {
        assert_eq!(ask("/small", "large", "hello".into()).await, 413);
    }
    let broken = Err::<&str, _>(std::io::Error::other("broken off"));
    assert_eq!(ask("/small", "broken", Body::from_stream(futures_util::stream::iter([broken]))).await, 400);
    for _ in 0..4 {
        assert_eq!(ask("/small", "two words", Body::empty()).await, 400);
    }
    assert_eq!(ask("/short", "short", Body::empty()).await, 200);
    for _ in 0..2 {
        assert_eq!(ask("/short", "short", Body::empty()).await, 409);
    }
    let hurried = || ask("/hurried", "hurried", Body::empty());
    assert_eq!(tokio::join!(hurried(), hurried()), (200, 409));
    assert_eq!(ask("/promises", "promises", Body::empty()).await, 500);
}

/// One that stands still, and whose saga another takes over.
async fn taken_over() {
    let journal = Told::default();
    let still = register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
    let _other = register(Coordinator::with_inline_journal(journal.shared())).start().await.unwrap();
    let handler = move |saga: Saga| {
        let journal = journal.clone();
        async move {
            step(&saga, "works").await?;
            journal.lose_renewals();
            sleep(3 * LEASE).await;
            Ok::<_, SagaError>("done")
        }
    };
    let app = Router::new().route("/", post(handler).layer(SagaLayer::http(&still, "everything asked")));
    let answer = app.oneshot(Request::post("/").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status().as_u16(), 503);
}

async fn fails_later(coordinator: &Coordinator) {
    let failed: Result<(), SagaError> = coordinator
        .scope("everything asked", async |saga: Saga| {
            step(&saga, "fails").await?;
            saga.step("charge").run(async |_| Err::<(), BoxError>("no money".into())).await
        })
        .await;
    failed.unwrap_err();
    yield_now().await;
}

/// Begins one and dies.
fn leave(journal: &Told, undo: &'static str) {
    in_time(async {
        let coordinator = register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
        tokio::spawn(async move {
            coordinator
                .scope::<(), SagaError, _>("everything left", async move |saga: Saga| {
                    step(&saga, undo).await?;
                    pending().await
                })
                .await
        });
        sleep(SECOND).await;
    });
}

/// What others left: 2 are undone, and of one the undo has to wait for longer than it is held.
fn left_behind() {
    for undo in ["works", "fails"] {
        let journal = Told::alone();
        leave(&journal, undo);
        in_time(async {
            let mut config = CoordinatorConfig::default();
            config.backoff = Backoff::constant(10 * SECOND).jitter(Jitter::None);
            let builder = register(Coordinator::with_inline_journal(journal.clone())).config(config);
            let _next = builder.start().await.unwrap();
            sleep(60 * SECOND).await;
        });
    }
}

/// Sagas that may be what killed their coordinators: two are tried, and do no harm; of a third the trial can't begin.
fn suspects() {
    for fails in [false, true] {
        let journal = Told::alone();
        leave(&journal, "works");
        journal.accuse(4);
        in_time(async {
            journal.fail_trials(fails);
            let _next = register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
            sleep(4 * LEASE).await;
        });
    }
    let journal = Told::alone();
    leave(&journal, "hangs");
    journal.accuse(4);
    in_time(async {
        let _next = register(Coordinator::with_inline_journal(journal.clone())).start().await.unwrap();
        sleep(4 * LEASE).await;
    });
}

/// Journals that can't be gone on with.
fn damaged() {
    for journal in [Told::with_a_gap(), Told::with_input_of("nonsense"), Told::past_a_pivot_that_gave("nonsense")] {
        in_time(async {
            let builder = register(Coordinator::with_inline_journal(journal)).define(&definition());
            let _next = builder.start().await.unwrap();
            sleep(SECOND).await;
        });
    }
    let folder = std::env::temp_dir().join(format!("buttress-metrics-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    drop(SqliteJournal::open(folder.join("new.db")).unwrap());
    std::fs::remove_dir_all(&folder).unwrap();
}

/// A journal that fails while a saga commits.
fn failing() {
    in_time(async {
        let journal = Told::default();
        let builder = register(Coordinator::with_inline_journal(journal.clone())).named("everything failing");
        let coordinator = builder.start().await.unwrap();
        let (layer, fails) = (SagaLayer::http(&coordinator, "everything failing"), journal.clone());
        let handler = move |saga: Saga| {
            let fails = fails.clone();
            async move {
                step(&saga, "works").await?;
                fails.fail_writes();
                Ok::<_, SagaError>("done")
            }
        };
        let app = Router::new()
            .route("/", post(handler.clone()).layer(layer.clone()))
            .route("/keyed", post(handler).layer(layer.idempotency(Idempotency::Required)));
        let unknown = app.clone().oneshot(Request::post("/").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(unknown.status().as_u16(), 500);
        journal.fail_lookups();
        let keyed = Request::post("/keyed").header("idempotency-key", "k").body(Body::empty()).unwrap();
        assert_eq!(app.oneshot(keyed).await.unwrap().status().as_u16(), 503);
        sleep(LEASE).await;
    });
}
