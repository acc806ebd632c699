//! Everything that a barrier tells of. On a real database, which goes by no clock of ours.

use std::time::Duration;

use buttress::{
    BarrierLayer,
    barrier::{Barrier, Stop, Tx},
    step::{IDEMPOTENCY_KEY, Op, SAGA_EPOCH, SagaId, StepContext, StepHeaders, StepKey},
};
use http::{HeaderMap, Request, StatusCode};
use sqlx::{
    Sqlite, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};
use tower::{Layer, ServiceExt, service_fn};

pub(super) fn happens() {
    let folder = std::env::temp_dir().join(format!("buttress-metrics-barrier-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let options = SqliteConnectOptions::new()
        .filename(folder.join("shop.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(Duration::ZERO);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let connect = || SqlitePoolOptions::new().max_connections(1).connect_with(options.clone());
        let (pool, other) = (connect().await.unwrap(), connect().await.unwrap());
        steps(&pool).await;
        contended(&pool, &other).await;
        pool.close().await;
        other.close().await;
    });
    std::fs::remove_dir_all(&folder).unwrap();
}

/// One saga's step, over and over.
struct Step {
    layer: BarrierLayer<Sqlite>,
    saga: SagaId,
    number: u32,
}

impl Step {
    fn barrier(&self, op: Op, epoch: u64) -> Barrier<Sqlite> {
        let key = StepKey::new(self.saga, "charge", self.number, op).unwrap();
        let mut headers = HeaderMap::new();
        StepHeaders::of(&StepContext::new(key, epoch)).write(&mut headers);
        self.layer.barrier(&headers)
    }

    async fn act(&self, how: &'static str) -> Result<u32, Stop> {
        self.barrier(Op::Act, 2).act(|tx| does(tx, how)).await
    }

    async fn undo(&self, how: &'static str) -> Result<u32, Stop> {
        self.barrier(Op::Undo, 2).undo(|tx, _: u32| does(tx, how)).await
    }
}

async fn does(_tx: Tx<Sqlite>, how: &'static str) -> Result<u32, Stop> {
    match how {
        "refuses" => Err(Stop::refuse(StatusCode::PAYMENT_REQUIRED, "card declined")),
        "fails" => Err(Stop::failed("the card reader is on fire")),
        "breaks" => Err(sqlx::Error::RowNotFound.into()),
        _ => Ok(7),
    }
}

async fn steps(pool: &SqlitePool) {
    let layer = BarrierLayer::http(pool.clone()).named("everything");
    layer.migrate().await.unwrap();
    let saga = SagaId::new();
    let step = |number| Step { layer: layer.clone(), saga, number };

    for number in 0..3 {
        step(number).act("works").await.unwrap();
    }
    for number in 0..2 {
        step(number).act("works").await.unwrap();
        step(number).undo("works").await.unwrap();
    }
    step(0).undo("works").await.unwrap();
    // Undone before it came, four times; it comes after all, twice.
    for number in 10..14 {
        step(number).undo("works").await.unwrap();
    }
    for number in 10..12 {
        assert!(matches!(step(number).act("works").await, Err(Stop::Undone)));
    }
    // Refused, and the refusal given again twice.
    for _ in 0..3 {
        assert!(matches!(step(20).act("refuses").await, Err(Stop::Refused(_))));
    }
    for _ in 0..5 {
        assert!(matches!(step(30).act("fails").await, Err(Stop::Failed(_))));
    }
    for _ in 0..2 {
        assert!(matches!(step(2).undo("fails").await, Err(Stop::Failed(_))));
        assert!(matches!(step(30).act("breaks").await, Err(Stop::Database(_))));
    }
    assert!(matches!(step(30).barrier(Op::Act, 1).act(|tx| does(tx, "works")).await, Err(Stop::Fenced)));
    for _ in 0..2 {
        assert!(matches!(step(30).barrier(Op::Undo, 1).undo(|tx, _: u32| does(tx, "works")).await, Err(Stop::Fenced)));
    }
    let large = step(31).barrier(Op::Act, 2).act(async |_| Ok("x".repeat(1 << 20))).await;
    assert!(matches!(large, Err(Stop::Answer(_))));
    // Dropped in the midst of the effect.
    for _ in 0..3 {
        let (enters, entered) = tokio::sync::oneshot::channel();
        let barrier = step(40).barrier(Op::Act, 2);
        let hangs = barrier.act(|_| async {
            enters.send(()).unwrap();
            std::future::pending::<Result<u32, Stop>>().await
        });
        tokio::select! {
            _ = hangs => unreachable!("it hangs"),
            entered = entered => entered.unwrap(),
        }
    }
    no_steps(&layer, &step(50)).await;
}

/// Through the layer, as a handler finds out.
async fn no_steps(layer: &BarrierLayer<Sqlite>, step: &Step) {
    let asks = service_fn(async |request: Request<()>| Barrier::<Sqlite>::of(request.extensions()).map(drop));
    let ask = async |headers: &[(http::HeaderName, &'static str)]| {
        let mut request = Request::new(());
        request.headers_mut().extend(headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())));
        layer.layer(asks).oneshot(request).await.unwrap_err()
    };
    for _ in 0..2 {
        assert!(matches!(ask(&[]).await, Stop::NoStep));
    }
    for _ in 0..3 {
        let unreadable = ask(&[(IDEMPOTENCY_KEY, "no step's"), (SAGA_EPOCH, "soon")]).await;
        assert!(matches!(unreadable, Stop::Unreadable(_)));
    }
    let astray = step.barrier(Op::Undo, 2).act(|tx| does(tx, "works")).await;
    assert!(matches!(astray, Err(Stop::WrongOp { .. })));
}

/// Somebody else writes: it is tried until that one is done. How often is chance, so under another name.
async fn contended(pool: &SqlitePool, other: &SqlitePool) {
    let layer = BarrierLayer::http(pool.clone()).named("contended");
    let step = Step { layer, saga: SagaId::new(), number: 0 };
    let held = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let (acted, ()) = tokio::join!(step.act("works"), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        held.rollback().await.unwrap();
    });
    acted.unwrap();
}
