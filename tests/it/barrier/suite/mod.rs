//! What has to be so on every database.

mod answers;
mod cancel;
mod once;
mod order;
mod race;

use std::sync::Arc;

use axum::{Json, Router, extract::State, routing::post};
use buttress::{
    BarrierLayer,
    barrier::{Barrier, Stop},
    step::SAGA_EPOCH,
};
use http::{HeaderMap, StatusCode};
use tokio::sync::Semaphore;

use super::{Database, Db, ID};
use crate::barrier::shop::{Answer, Caller, charge, serve, undo};

/// A service that charges and refunds, with its database. Each charge and each refund is a row, and nothing but the barrier
/// keeps there from being more of them than there should be.
#[derive(Clone)]
struct Shop {
    caller: Caller,
    layer: BarrierLayer<Db>,
    till: Till,
    database: Arc<Database>,
}

#[derive(Clone)]
struct Till {
    /// How many stand in the middle of a charge or a refund that was told to hold, and who lets them go.
    inside: Arc<Semaphore>,
    go: Arc<Semaphore>,
    /// Whether a charge that would be declined is.
    broke: Arc<std::sync::atomic::AtomicBool>,
}

impl Shop {
    /// None where the database isn't installed.
    async fn open() -> Option<Self> {
        let database = Arc::new(Database::new().await?);
        let layer = BarrierLayer::http(database.pool.clone());
        layer.migrate().await.unwrap();
        layer.migrate().await.expect("once more does no harm");
        let tables = format!(
            "CREATE TABLE charge(id {ID}, key TEXT NOT NULL, epoch BIGINT NOT NULL); \
             CREATE TABLE refund(id {ID}, charge BIGINT NOT NULL, key TEXT NOT NULL)"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(tables)).execute(&database.pool).await.unwrap();
        let till = Till { inside: Arc::new(Semaphore::new(0)), go: Arc::new(Semaphore::new(0)), broke: Arc::default() };
        let routes = Router::new().route("/charges", post(charge_it).delete(refund_it));
        let caller = serve(routes.with_state(till.clone()).layer(layer.clone())).await;
        Some(Self { caller, layer, till, database })
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.database.pool).await.unwrap()
    }

    async fn charges(&self) -> i64 {
        self.count("SELECT count(*) FROM charge").await
    }

    async fn refunds(&self) -> i64 {
        self.count("SELECT count(*) FROM refund").await
    }

    /// Waits until somebody stands in the middle.
    async fn somebody_inside(&self) {
        let inside = tokio::time::timeout(std::time::Duration::from_secs(30), self.till.inside.acquire());
        inside.await.expect("nobody came in").unwrap().forget();
    }

    fn let_go(&self) {
        self.till.go.add_permits(1);
    }
}

impl Till {
    async fn hold(&self) {
        self.inside.add_permits(1);
        self.go.acquire().await.unwrap().forget();
    }

    async fn told(&self, what: &str) -> Result<(), Stop> {
        match what {
            "hold" => self.hold().await,
            "panic" => panic!("in the middle of a charge"),
            "fail" => return Err(Stop::failed("the card reader is on fire")),
            "wrong" => return Err(sqlx::Error::RowNotFound.into()),
            "decline" if self.broke.load(std::sync::atomic::Ordering::SeqCst) => {
                return Err(Stop::refuse(StatusCode::PAYMENT_REQUIRED, "card declined"));
            }
            // Mostly, so that there are steps of which each attempt is.
            "perhaps" if fastrand::u8(..8) > 0 => return Err((StatusCode::PAYMENT_REQUIRED, "card declined").into()),
            "later" if self.broke.load(std::sync::atomic::Ordering::SeqCst) => {
                return Err(Stop::refuse(StatusCode::TOO_MANY_REQUESTS, "come back later"));
            }
            _ => {}
        }
        Ok(())
    }
}

async fn charge_it(
    State(till): State<Till>,
    headers: HeaderMap,
    barrier: Barrier<Db>,
    what: String,
) -> Result<Json<serde_json::Value>, Stop> {
    let key = barrier.key().map(ToString::to_string).unwrap_or_default();
    let epoch = headers.get(SAGA_EPOCH).map_or(0, |epoch| epoch.to_str().unwrap().parse::<i64>().unwrap());
    let charged = barrier.act(|mut tx| async move {
        let id: i64 = sqlx::query_scalar("INSERT INTO charge(key, epoch) VALUES ($1, $2) RETURNING id")
            .bind(key)
            .bind(epoch)
            .fetch_one(&mut *tx)
            .await?;
        till.told(&what).await?;
        Ok(match what.strip_prefix("large:") {
            // A string in JSON has two quotes.
            Some(bytes) => "x".repeat(bytes.parse::<usize>().unwrap() - 2).into(),
            None if what == "text" => "a charge's id as text".into(),
            None => id.into(),
        })
    });
    charged.await.map(Json)
}

async fn refund_it(State(till): State<Till>, barrier: Barrier<Db>, what: String) -> Result<Json<Option<i64>>, Stop> {
    let key = barrier.key().map(ToString::to_string).unwrap_or_default();
    let refunded = barrier.undo(|mut tx, charge: i64| async move {
        sqlx::query("INSERT INTO refund(charge, key) VALUES ($1, $2)").bind(charge).bind(key).execute(&mut *tx).await?;
        till.told(&what).await?;
        Ok(Some(charge))
    });
    refunded.await.map(Json)
}

/// Whether the answer is good, and what it is.
fn ok(answer: &Answer) -> &str {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!answer.was_refused, "{answer:?}");
    &answer.text
}

/// Opens the shop, or leaves the test where there is no such database.
macro_rules! open {
    () => {
        match Shop::open().await {
            Some(shop) => shop,
            None => return,
        }
    };
}
use open;
