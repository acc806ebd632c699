//! Customers: places orders at the gateway like anyone outside, behind none of our layers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{Request, StatusCode, header};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::histogram::Histogram;
use crate::seed::{self, BadSeed};

/// More customers than this don't wait at once; what would be beyond isn't sent, and counted.
const MOST_AT_ONCE: usize = 256;
const LARGEST_ANSWER: usize = 1024 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mix {
    customers: Vec<String>,
    products: Vec<Weighted>,
    most_lines: usize,
    most_of_a_product: i64,
    look_up_one_in: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Weighted {
    sku: String,
    weight: u32,
}

/// What came of the load so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Orders by the status they were answered with.
    pub(crate) answers: BTreeMap<StatusCode, u64>,
    /// Those of them that never became an order: turned away before orders had stored one.
    pub(crate) turned_away: u64,
    /// Orders without an answer: the gateway itself couldn't be reached.
    pub(crate) unanswered: u64,
    /// Orders that would have been too many at once.
    pub(crate) held_back: u64,
    pub(crate) views: u64,
    pub(crate) partial_views: u64,
    pub(crate) in_flight: u64,
    pub(crate) latency: Histogram,
}

impl Tally {
    pub(crate) fn confirmed(&self) -> u64 {
        self.answers.get(&StatusCode::CREATED).copied().unwrap_or(0)
    }

    pub(crate) fn rejected(&self) -> u64 {
        self.answers.values().sum::<u64>() - self.confirmed()
    }
}

/// Places orders, one mix for all who clone it.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    mix: Arc<Mix>,
    rng: Arc<Mutex<fastrand::Rng>>,
    tally: Arc<Mutex<Tally>>,
}

impl Load {
    pub(crate) fn new(gateway: SocketAddr, seed: u64) -> Result<Self, BadSeed> {
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            base: format!("http://{gateway}"),
            mix: Arc::new(seed::read("load/mix.json", include_str!("../data/load/mix.json"))?),
            rng: Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))),
            tally: Arc::default(),
        })
    }

    /// An order that anyone may place.
    pub(crate) fn example(&self) -> Value {
        let (order, _) = self.draw();
        order
    }

    pub(crate) fn tally(&self) -> Tally {
        self.counts().clone()
    }

    /// `orders` in all, `at_once` customers side by side, each waiting for its answer.
    pub(crate) async fn place_all(&self, orders: u64, at_once: usize) {
        stream::iter(0..orders).for_each_concurrent(at_once, |_| self.customer()).await;
    }

    /// `rate` orders a second whatever the answers, until `stop`'s sender is dropped; then the answers are awaited.
    pub(crate) async fn place_steadily(&self, rate: f64, mut stop: watch::Receiver<()>) {
        let permits = Arc::new(Semaphore::new(MOST_AT_ONCE));
        let mut ticks = interval(Duration::from_secs_f64(1.0 / rate));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.changed() => break,
            }
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                self.counts().held_back += 1;
                continue;
            };
            let load = self.clone();
            tokio::spawn(async move {
                load.customer().await;
                drop(permit);
            });
        }
        let _ = permits.acquire_many(MOST_AT_ONCE as u32).await;
    }

    async fn customer(&self) {
        let (order, look_up) = self.draw();
        self.counts().in_flight += 1;
        let began = Instant::now();
        let answer = self.place(order).await;
        let id = self.note(answer, began.elapsed());
        if let (Some(id), true) = (id, look_up) {
            self.look_up(&id).await;
        }
    }

    /// Counts an answer, and gives the order's id if it names one.
    fn note(&self, answer: Option<(StatusCode, Value)>, took: Duration) -> Option<String> {
        let mut counts = self.counts();
        counts.in_flight -= 1;
        counts.latency.record(took);
        let Some((status, body)) = answer else {
            counts.unanswered += 1;
            return None;
        };
        *counts.answers.entry(status).or_default() += 1;
        let id = body["id"].as_str().or(body["order_id"].as_str()).map(str::to_owned);
        counts.turned_away += u64::from(id.is_none());
        id
    }

    fn draw(&self) -> (Value, bool) {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let Mix { customers, products, most_lines, most_of_a_product, look_up_one_in } = &*self.mix;
        let mut lines: BTreeMap<&str, i64> = BTreeMap::new();
        for _ in 0..rng.usize(1..=(*most_lines).max(1)) {
            let quantity = rng.i64(1..=(*most_of_a_product).max(1));
            if let Some(sku) = weighted(products, &mut rng) {
                lines.insert(sku, quantity);
            }
        }
        let lines: Vec<_> =
            lines.into_iter().map(|(sku, quantity)| json!({ "sku": sku, "quantity": quantity })).collect();
        let customer = rng.choice(customers);
        (json!({ "customer": customer, "lines": lines }), rng.u32(..(*look_up_one_in).max(1)) == 0)
    }

    async fn place(&self, order: Value) -> Option<(StatusCode, Value)> {
        let request = Request::post(format!("{}/v2/orders", self.base))
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", uuid::Uuid::new_v4().to_string())
            .body(Full::from(order.to_string()))
            .ok()?;
        let response = self.client.request(request).await.ok()?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await.ok()?.to_bytes();
        Some((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    async fn look_up(&self, id: &str) {
        let Ok(request) = Request::get(format!("{}/v2/orders/{id}", self.base)).body(Full::default()) else {
            return;
        };
        let partial = match self.client.request(request).await {
            Ok(response) => response.headers().contains_key("x-partial"),
            Err(_) => return,
        };
        let mut counts = self.counts();
        counts.views += 1;
        counts.partial_views += u64::from(partial);
    }

    fn counts(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn weighted<'a>(products: &'a [Weighted], rng: &mut fastrand::Rng) -> Option<&'a str> {
    let total: u32 = products.iter().map(|product| product.weight).sum();
    let mut drawn = rng.u32(..total.max(1));
    products.iter().find_map(|product| {
        if drawn < product.weight {
            return Some(product.sku.as_str());
        }
        drawn -= product.weight;
        None
    })
}
