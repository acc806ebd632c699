//! The coordinator: places orders as sagas.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::post,
    serve::ListenerExt,
};
use buttress::{
    backoff::Backoff,
    saga::{
        BeforePivot, Coordinator, CoordinatorConfig, Idempotency, Kind, Saga, SagaError, SagaLayer,
        journal::{Filter, SqliteJournal, SqliteOptions, State as SagaState},
    },
    step::{SagaId, StepOutcome},
};
use http::StatusCode;
use tower::service_fn;

use super::{
    Place,
    calls::{Money, Stock},
    defined, obey, say,
};
use crate::shop::{
    Answered, Charge, Fate, LIMIT, Order, RECEIPT, REFUND, RELEASE, Receipt, Refund, Release, TAKE, Take, UNDO_TIMEOUT,
};

/// What is tried until it works is tried at least so often.
const FOR_EVER: u32 = 1_000_000;

#[derive(Clone)]
struct Shop {
    stock: Stock,
    money: Money,
    /// What has failed in this process for want of something.
    wanting: Arc<Mutex<HashSet<String>>>,
}

pub(super) async fn live(place: Place) {
    let url = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("a coordinator is given {name}"));
    let setting = |name: &str, or: u32| std::env::var(name).map_or(or, |value| value.parse().unwrap());
    let (stock, money) = (Stock::at(url("CRASH_STOCK")), Money::at(url("CRASH_MONEY")));
    let defined = defined::definition(&stock, &money, BeforePivot::Undo);
    let resumed = defined::definition(&stock, &money, BeforePivot::Resume);

    let mut config = CoordinatorConfig::default();
    config.lease = Duration::from_millis(900);
    config.undo_timeout = UNDO_TIMEOUT;
    config.undo_attempts = setting("CRASH_ATTEMPTS", FOR_EVER);
    config.takeovers = setting("CRASH_TAKEOVERS", FOR_EVER);
    config.backoff = Backoff::exponential(Duration::from_millis(10)).at_most(Duration::from_millis(500));
    let mut options = SqliteOptions::default();
    // Often, so that many of those that are killed are killed near one.
    options.checkpoint_pages = 16;
    let journal =
        SqliteJournal::open_with(place.dir.join("journal.db"), options).expect("the journal is as we left it");
    let coordinator = Coordinator::with_journal(journal)
        .config(config)
        .on(RELEASE, {
            let stock = stock.patient();
            // The order over whose undo the process dies, each time.
            let poison = std::env::var("CRASH_POISON").ok();
            service_fn(move |args: Release| {
                if poison.as_deref() == Some(&args.order) {
                    std::process::abort();
                }
                stock.clone().ask("Release", args.order, 0)
            })
        })
        .on(TAKE, {
            let stock = stock.patient();
            service_fn(move |args: Take| stock.clone().ask("Take", args.order, 0))
        })
        .on(REFUND, {
            let money = money.patient();
            service_fn(move |args: Refund| money.clone().ask("/refunds", args))
        })
        .on(RECEIPT, {
            let money = money.patient();
            service_fn(move |args: Receipt| money.clone().ask("/receipts", args))
        })
        .define(&defined::gift(&money))
        .define(&defined)
        .define(&resumed)
        .start()
        .await
        .expect("the journal is as we left it");

    let shop = Shop { stock, money, wanting: Arc::default() };
    let saga = SagaLayer::http(&coordinator, "place-order")
        .idempotency(Idempotency::Required)
        .deadline(Duration::from_secs(3))
        .max_wait(Duration::from_secs(2));
    let app = Router::new().route("/orders", post(order)).layer(saga).with_state(shop);
    let app = app.merge(defined::routes(coordinator.serve(&defined), coordinator.serve(&resumed)));
    obey(move |line| operate(coordinator.clone(), line));
    let listener = place.listen().tap_io(|stream| stream.set_nodelay(true).unwrap());
    say("ready");
    axum::serve(listener, app).await.unwrap();
}

async fn operate(coordinator: Coordinator, line: String) -> String {
    match line.split_whitespace().collect::<Vec<_>>()[..] {
        // Neither at rest nor parked.
        ["rest"] => match list(&coordinator, &[SagaState::Running, SagaState::Committed, SagaState::Undoing]).await {
            Ok(ids) => ids.len().to_string(),
            Err(problem) => problem,
        },
        ["parked"] => match list(&coordinator, &[SagaState::Parked]).await {
            Ok(ids) => ids.join(" "),
            Err(problem) => problem,
        },
        ["drain"] => match coordinator.drain(Duration::from_secs(5)).await {
            Ok(drained) => {
                say(if drained.in_time { "drained" } else { "cut off" });
                std::process::exit(0)
            }
            Err(error) => error.to_string(),
        },
        ["retry", id] => match coordinator.retry(id.parse::<SagaId>().unwrap(), None).await {
            Ok(()) => "retried".to_owned(),
            Err(error) => error.to_string(),
        },
        _ => format!("the coordinator doesn't know {line}"),
    }
}

async fn list(coordinator: &Coordinator, states: &[SagaState]) -> Result<Vec<String>, String> {
    let mut ids = Vec::new();
    for state in states {
        let filter = Filter { state: Some(*state), name: None, before: None, limit: 10_000 };
        let sagas = coordinator.sagas(filter).await.map_err(|error| error.to_string())?;
        ids.extend(sagas.into_iter().map(|saga| saga.id.to_string()));
    }
    Ok(ids)
}

async fn order(State(shop): State<Shop>, saga: Saga, Json(order): Json<Order>) -> Response {
    let answer = |status: StatusCode, says: &str| {
        let answered = Answered { order: order.id.clone(), saga: saga.id().to_string(), says: says.to_owned() };
        (status, Json(answered)).into_response()
    };
    match shop.place(&saga, &order).await {
        Ok(()) => match order.fate {
            Fate::Declines => answer(StatusCode::UNPROCESSABLE_ENTITY, "declined"),
            Fate::Panics => panic!("as order {} asked for", order.id),
            Fate::Flaky if shop.wanting.lock().unwrap().insert(order.id.clone()) => {
                answer(StatusCode::SERVICE_UNAVAILABLE, "later")
            }
            _ => answer(StatusCode::CREATED, "placed"),
        },
        Err(error) => match error.kind() {
            // A refusal by the limit is one by the order; a participant that isn't there is none.
            Kind::Step { outcome: StepOutcome::Refused, .. } if !order.fate.may_commit() => {
                answer(StatusCode::UNPROCESSABLE_ENTITY, "refused")
            }
            _ => answer(StatusCode::SERVICE_UNAVAILABLE, "failed"),
        },
    }
}

impl Shop {
    async fn place(&self, saga: &Saga, order: &Order) -> Result<(), SagaError> {
        let id = || order.id.clone();
        let reserve = saga.step("reserve").undo(RELEASE, |_| Release { order: id() });
        reserve.run(|_| self.stock.clone().ask("Reserve", id(), order.items)).await?;
        if order.fate == Fate::Labels {
            saga.step("label").run(|_| self.stock.clone().ask("Label", id(), 0)).await?;
        }
        let cents = if matches!(order.fate, Fate::Refused) { LIMIT + 1 } else { order.cents };
        let charge = saga.step("charge").undo(REFUND, |_| Refund { order: id() });
        charge.run(|_| self.money.clone().ask("/charges", Charge { order: id(), cents })).await?;
        if order.fate == Fate::Gifts {
            saga.nest(&defined::gift(&self.money), id()).await?;
        }
        saga.then(TAKE, Take { order: id() });
        saga.then(RECEIPT, Receipt { order: id() });
        if order.fate == Fate::Tips {
            let tip = saga.step("tip").undo(REFUND, |_| Refund { order: id() });
            // Whether it works out is no reason not to place the order; if nobody knows, it is given back.
            let _ = tip.run(|_| self.money.clone().ask("/charges", Charge { order: id(), cents: 1 })).await;
        }
        Ok(())
    }
}
