//! Those who place orders: with keys, patiently, and not always politely.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    history::{Asked, Told},
    shop::{Fate, LIMIT, Order},
};

/// How long a client asks again before it gives up.
const PATIENCE: Duration = Duration::from_secs(20);
/// Two callers use the same keys, each for its own orders.
const PRINCIPALS: [&str; 2] = ["ann", "bob"];

/// How somebody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manners {
    /// Once, and again where the answer isn't the last word.
    Plain,
    /// Once, and takes it as it comes.
    AsksOnce,
    /// K1: hangs up after so long, and comes back later.
    HangsUp(Duration),
    /// K1: hangs up after so long, and never comes back.
    Leaves(Duration),
    /// K2: eight times at once.
    Crowd,
    /// K3: then asks for something else with the same key.
    Misuses,
}

/// Everybody who asks in one world.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    url: String,
    client: Client<HttpConnector, Full<Bytes>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    next: AtomicU64,
    asked: Mutex<Vec<Asked>>,
    misused: Mutex<Vec<Told>>,
}

/// A load that goes on until it is told to end.
#[derive(Debug)]
pub(crate) struct Load {
    tasks: JoinSet<()>,
    ending: Arc<AtomicBool>,
}

/// What kind of orders, and how many at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mix {
    pub(crate) at_once: usize,
    pub(crate) fates: &'static [Fate],
    pub(crate) mannered: bool,
}

impl Clients {
    pub(crate) fn new(url: String) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { url, client, shared: Arc::default() }
    }

    pub(crate) fn asked(&self) -> (Vec<Asked>, Vec<Told>) {
        (self.shared.asked.lock().unwrap().clone(), self.shared.misused.lock().unwrap().clone())
    }

    /// Keeps so many of them busy.
    pub(crate) fn load(&self, mix: Mix, seed: u64) -> Load {
        let ending = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for one in 0..mix.at_once {
            let (clients, ending) = (self.clone(), Arc::clone(&ending));
            let mut chance = fastrand::Rng::with_seed(seed ^ (one as u64) << 32);
            tasks.spawn(async move {
                while !ending.load(Relaxed) {
                    let fate = mix.fates[chance.usize(..mix.fates.len())];
                    let manners = match chance.u32(..16) {
                        _ if !mix.mannered => Manners::Plain,
                        0 | 1 => Manners::HangsUp(Duration::from_millis(chance.u64(..30))),
                        2 => Manners::Leaves(Duration::from_millis(chance.u64(..30))),
                        3 => Manners::Crowd,
                        4 | 5 => Manners::Misuses,
                        _ => Manners::Plain,
                    };
                    clients.place(fate, manners, &mut chance).await;
                }
            });
        }
        Load { tasks, ending }
    }

    /// Places one order, and notes what was asked and told.
    pub(crate) async fn place(&self, fate: Fate, manners: Manners, chance: &mut fastrand::Rng) {
        let number = self.shared.next.fetch_add(1, Relaxed);
        let [principal, key] = [PRINCIPALS[number as usize % 2].to_owned(), format!("key-{}", number / 2)];
        // A definition has no fate of its own: some of them are refused.
        let is_too_much = fate == Fate::Labels || (fate.is_defined() && chance.u32(..4) == 0);
        let cents = if is_too_much { LIMIT + 1 } else { chance.i64(1..1000) };
        let order = Order { id: format!("order-{number}"), items: chance.i64(1..5), cents, fate };
        let manners = match manners {
            // Without a key whoever asks twice gets two.
            manners if fate.is_defined() && !matches!(manners, Manners::Leaves(_)) => Manners::AsksOnce,
            manners => manners,
        };
        let answers = match manners {
            Manners::AsksOnce => self.once(&principal, &key, &order).await.into_iter().collect(),
            Manners::Plain => self.ask(&principal, &key, &order).await.into_iter().collect(),
            Manners::HangsUp(after) => {
                let _ = timeout(after, self.once(&principal, &key, &order)).await;
                sleep(Duration::from_millis(chance.u64(..50))).await;
                self.ask(&principal, &key, &order).await.into_iter().collect()
            }
            Manners::Leaves(after) => {
                let _ = timeout(after, self.once(&principal, &key, &order)).await;
                Vec::new()
            }
            Manners::Crowd => {
                let asking = (0..8).map(|_| {
                    let (this, principal, key, order) = (self.clone(), principal.clone(), key.clone(), order.clone());
                    async move { this.ask(&principal, &key, &order).await }
                });
                asking.collect::<JoinSet<_>>().join_all().await.into_iter().flatten().collect()
            }
            Manners::Misuses => {
                let answer = self.ask(&principal, &key, &order).await;
                // A key whose order came to nothing may be used anew.
                if answer.as_ref().is_some_and(|told| told.commits() || told.is_final_failure()) {
                    let other = Order { id: format!("other-{number}"), ..order.clone() };
                    if let Some(told) = self.ask(&principal, &key, &other).await {
                        self.shared.misused.lock().unwrap().push(told);
                    }
                }
                answer.into_iter().collect()
            }
        };
        self.shared.asked.lock().unwrap().push(Asked {
            order,
            answers,
            left: matches!(manners, Manners::Leaves(_) | Manners::AsksOnce),
        });
    }

    /// Asks until the answer is the last word; nothing if there is none in all patience, or none can be expected.
    async fn ask(&self, principal: &str, key: &str, order: &Order) -> Option<Told> {
        let until = Instant::now() + PATIENCE;
        let mut tries = 0;
        loop {
            tries += 1;
            if let Ok(Some(told)) = timeout(Duration::from_secs(5), self.once(principal, key, order)).await
                && (told.commits() || told.is_final_failure())
            {
                return Some(told);
            }
            // A handler that panics breaks the connection off, however often it is asked.
            let is_hopeless = order.fate == Fate::Panics && tries == 2;
            if is_hopeless || Instant::now() >= until {
                return None;
            }
            sleep(Duration::from_millis(15)).await;
        }
    }

    /// One request; nothing if there was no answer.
    async fn once(&self, principal: &str, key: &str, order: &Order) -> Option<Told> {
        let route = match order.fate {
            Fate::Defined => "defined",
            Fate::Resumed => "resumed",
            _ => "orders",
        };
        let request = Request::post(format!("{}/{route}", self.url))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, principal)
            .header("idempotency-key", key)
            .body(Full::from(serde_json::to_vec(order).unwrap()))
            .unwrap();
        let response = self.client.request(request).await.ok()?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.ok()?.to_bytes();
        Some(Told { status, said: serde_json::from_slice(&body).ok() })
    }
}

impl Load {
    /// Lets everybody have an answer, and begins nothing new.
    pub(crate) async fn end(mut self) {
        self.ending.store(true, Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}
