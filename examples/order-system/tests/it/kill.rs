//! Processes that die at any instant: in the end every order is whole, or never was.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use sqlx::{ConnectOptions, Connection};
use tokio::time::{Instant, sleep, timeout};

use crate::processes::{Fleet, audited};
use crate::support::{Answer, Customer, basket};

/// All of it, whatever happens.
const BOUND: Duration = Duration::from_secs(60);
const CUSTOMERS: u64 = 200;
const KILLS: u32 = 10;
/// Orders that must have been answered since the last kill, so that each is in the midst of something; or so long.
const ANSWERED: u64 = 10;
const AT_MOST: Duration = Duration::from_secs(1);

/// Two hundred customers, each with one order under way at any time, who ask again with its key until they know.
struct Crowd {
    shop: Customer,
    seed: u64,
    answered: AtomicU64,
    closing: AtomicBool,
    /// Who asks for what, and what was the last answer that didn't stand.
    asking: Mutex<BTreeMap<String, String>>,
}

/// What a customer was told.
#[derive(Default)]
struct Told {
    /// By key: the body and the id it was confirmed with.
    confirmed: HashMap<String, (String, String)>,
    cancelled: HashSet<String>,
    refused: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_and_stock_balance_though_orders_is_killed_ten_times_and_the_others_with_it() {
    let seed = std::env::var("KILL_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("KILL_SEED={seed}");
    let fault_seed = (seed % 1000).to_string();
    let fleet = Fleet::start(&["--fail-payments", "0.05", "--seed", &fault_seed]).await;
    let crowd = Arc::new(Crowd {
        shop: Customer::at(fleet.orders.address()),
        seed,
        answered: AtomicU64::new(0),
        closing: AtomicBool::new(false),
        asking: Mutex::default(),
    });
    let books = fleet.data.path().to_owned();
    if timeout(BOUND, scenario(fleet, &crowd)).await.is_err() {
        let asking = crowd.asking.lock().unwrap();
        panic!("not through after {BOUND:?}; the books are in {}; still asking: {asking:#?}", books.display());
    }
}

async fn scenario(mut fleet: Fleet, crowd: &Arc<Crowd>) {
    let (began, seed) = (Instant::now(), crowd.seed);
    let mut rng = fastrand::Rng::with_seed(seed);
    let customers: Vec<_> = (0..CUSTOMERS)
        .map(|number| {
            let crowd = Arc::clone(crowd);
            tokio::spawn(async move { crowd.customer(number).await })
        })
        .collect();
    for kill in 0..KILLS {
        crowd.at_work().await;
        sleep(Duration::from_millis(rng.u64(0..300))).await;
        fleet.orders.kill_and_restart().await;
        match kill {
            3 => fleet.payments.kill_and_restart().await,
            6 => fleet.inventory.kill_and_restart().await,
            _ => {}
        }
    }
    println!("killed {KILLS} times in {:?}", began.elapsed());
    crowd.closing.store(true, Ordering::Relaxed);
    let mut told = Told::default();
    for customer in join_all(customers).await {
        let Told { confirmed, cancelled, refused } = customer.unwrap();
        told.confirmed.extend(confirmed);
        told.cancelled.extend(cancelled);
        told.refused += refused;
    }
    println!(
        "{} confirmed, {} of them cancelled, {} refused; all answered after {:?}",
        told.confirmed.len(),
        told.cancelled.len(),
        told.refused,
        began.elapsed()
    );
    assert!(told.confirmed.len() as u64 > CUSTOMERS / 2 && !told.cancelled.is_empty());
    crowd.same_again(&told).await;
    crowd.at_rest().await;
    println!("at rest after {:?}", began.elapsed());

    let data = fleet.stop().await;
    let (code, verdict) = audited(&data).await;
    println!("{verdict}");
    assert_eq!(code, Some(0), "seed {seed}: {verdict}\nthe books are in {}", data.path().display());

    // Whoever was told that an order is confirmed has it, and nobody has one that no one was told of: one key, one order.
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(data.database("orders")).read_only(true);
    let mut books = options.connect().await.unwrap();
    let kept: Vec<(String, String)> =
        sqlx::query_as("SELECT id, state FROM purchase WHERE state <> 'rejected'").fetch_all(&mut books).await.unwrap();
    books.close().await.unwrap();
    let kept: HashMap<_, _> = kept.into_iter().collect();
    let expected = told.confirmed.values().map(|(_, id)| {
        let state = if told.cancelled.contains(id) { "cancelled" } else { "confirmed" };
        (id.clone(), state.to_owned())
    });
    assert_eq!(kept, expected.collect(), "seed {seed}");
    assert_eq!(kept.len(), told.confirmed.len(), "two keys have one order; seed {seed}");
    data.remove().unwrap();
}

impl Crowd {
    /// Places orders, one after the other, and takes some back.
    async fn customer(&self, number: u64) -> Told {
        let mut rng = fastrand::Rng::with_seed(self.seed ^ (number << 32));
        let mut told = Told::default();
        for order in 0.. {
            let key = format!("{number}-{order}");
            let body = draw(&mut rng);
            let answer = self.insist(&mut rng, "/v1/orders", Some(&key), &body).await;
            self.answered.fetch_add(1, Ordering::Relaxed);
            if answer.status != 201 {
                assert!(matches!(answer.status.as_u16(), 402 | 409), "{}", answer.body);
                told.refused += 1;
            } else {
                let id = answer.text("/id").to_owned();
                if rng.u8(..8) == 0 {
                    let cancel = format!("/v1/orders/{id}/cancel");
                    let answer = self.insist(&mut rng, &cancel, None, "").await;
                    assert_eq!(answer.text("/state"), "cancelled");
                    told.cancelled.insert(id.clone());
                }
                told.confirmed.insert(key, (body, id));
            }
            if self.closing.load(Ordering::Relaxed) {
                break;
            }
        }
        told
    }

    /// Asks until there is an answer that stands.
    async fn insist(&self, rng: &mut fastrand::Rng, path: &str, key: Option<&str>, body: &str) -> Answer {
        let who = format!("{path} {}", key.unwrap_or_default());
        loop {
            let answer = self.shop.try_post(path, key, body.to_owned()).await;
            match answer {
                Some(answer) if stands(&answer) => {
                    self.asking.lock().unwrap().remove(&who);
                    return answer;
                }
                answer => {
                    let answer =
                        answer.map_or("none".to_owned(), |answer| format!("{} {}", answer.status, answer.body));
                    self.asking.lock().unwrap().insert(who.clone(), answer);
                }
            }
            sleep(Duration::from_millis(rng.u64(100..600))).await;
        }
    }

    /// Waits until enough was answered that the next kill is in the midst of it.
    async fn at_work(&self) {
        let enough = self.answered.load(Ordering::Relaxed) + ANSWERED;
        let work = async {
            while self.answered.load(Ordering::Relaxed) < enough {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = timeout(AT_MOST, work).await;
    }

    /// The same key gets the same answer, and no second order.
    async fn same_again(&self, told: &Told) {
        for (key, (body, id)) in told.confirmed.iter().take(50) {
            let again = self.shop.try_post("/v1/orders", Some(key), body.clone()).await.unwrap();
            assert_eq!((again.status.as_u16(), again.text("/id")), (201, id.as_str()), "{}", again.body);
            assert_eq!(again.header("idempotency-replayed"), Some("true"));
        }
    }

    async fn at_rest(&self) {
        for state in ["running", "committed", "undoing"] {
            while !self.shop.get(&format!("/admin/sagas?state={state}")).await.body["sagas"]
                .as_array()
                .unwrap()
                .is_empty()
            {
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Whether asking again would be no use.
fn stands(answer: &Answer) -> bool {
    match answer.status.as_u16() {
        200 | 201 | 402 => true,
        // Three there were. What is still at work, or not confirmed yet, is another matter.
        409 => answer.text("/type") == "/problems/too-little-stock",
        202 | 429 | 500..=599 => false,
        _ => panic!("{} {}", answer.status, answer.body),
    }
}

fn draw(rng: &mut fastrand::Rng) -> String {
    let customers = ["ada", "bruno", "chiyo", "dmitri", "elif", "farouk", "greta", "iris"];
    let products = ["chisel-25", "mallet-700", "mortar-lime", "sand-washed", "ashlar-block", "rope-hemp"];
    let mut lines = vec![(products[rng.usize(..3)], rng.i64(1..4))];
    if rng.bool() {
        lines.push((products[rng.usize(3..6)], rng.i64(1..4)));
    }
    if rng.u8(..50) == 0 {
        lines.push(("keystone-old", 1));
    }
    basket(customers[rng.usize(..customers.len())], &lines).to_string()
}
