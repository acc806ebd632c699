//! Many tasks on several threads at more keys than there may be: never more than the limit of a key inside, and nobody
//! stuck.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use tokio::task::{JoinSet, yield_now};

use super::*;

const TASKS: usize = 48;
const CALLS: usize = 400;
const KEYS: usize = 24;
const MAX_KEYS: usize = 6;
const LIMIT: usize = 2;

/// Far more than it takes. Who is stuck is found, and does not hold up the suite.
const STUCK: Duration = Duration::from_secs(60);

/// A gate for each key, in which calls count themselves.
#[derive(Clone)]
struct Rooms(Arc<[Gate; KEYS]>);

impl Rooms {
    fn open() -> Self {
        Self(Arc::new(std::array::from_fn(|_| Gate::open())))
    }
}

/// Lets a crowd loose; returns how many calls were served.
async fn hammer(layer: KeyedBulkheadLayer<usize, Number>, impatient: bool) -> (usize, usize) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let rooms = Rooms::open();
    let inner = {
        let rooms = rooms.clone();
        tower::service_fn(move |key: usize| rooms.0[key].clone().oneshot(key))
    };
    let bulkheads = layer.handle();
    let done = Arc::new(AtomicBool::new(false));
    // Meanwhile somebody looks, and somebody changes how many keys and calls there may be.
    let steers = tokio::spawn({
        let (bulkheads, done) = (bulkheads.clone(), done.clone());
        async move {
            for round in 0.. {
                if done.load(SeqCst) {
                    break;
                }
                let _held = bulkheads.get(&(round % KEYS));
                let mut config = bulkheads.config();
                config.max_keys = 1 + round % MAX_KEYS;
                config.each.max_concurrent = 1 + round % LIMIT;
                bulkheads.reconfigure(config).unwrap();
                yield_now().await;
            }
        }
    });
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let service = layer.layer(inner.clone());
        let mut random = fastrand::Rng::with_seed(seed ^ task as u64);
        tasks.spawn(async move {
            let (mut served, mut refused) = (0, 0);
            for _ in 0..CALLS {
                let call = service.clone().oneshot(random.usize(0..KEYS));
                let patience = if impatient { random.usize(0..30) } else { usize::MAX };
                let gives_up = async {
                    for _ in 0..patience {
                        yield_now().await;
                    }
                };
                tokio::select! {
                    answer = call => if answer.is_ok() { served += 1 } else { refused += 1 },
                    () = gives_up => {}
                }
                yield_now().await;
            }
            (served, refused)
        });
    }
    let each = tokio::time::timeout(STUCK, tasks.join_all()).await.expect("somebody is stuck");
    done.store(true, SeqCst);
    steers.await.unwrap();

    for (key, room) in rooms.0.iter().enumerate() {
        assert!(room.most() <= LIMIT, "{} calls of key {key} were inside at once", room.most());
    }
    let snapshot = bulkheads.snapshot();
    assert_eq!((snapshot.in_flight, snapshot.waiting), (0, 0), "a permit or a place in the queue was lost");
    assert!(snapshot.keys <= MAX_KEYS && snapshot.forgotten > 100, "{snapshot:?}");
    let (served, refused) = each.into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert!(snapshot.rejected.total() >= refused as u64 && served > 100, "{served} served, {refused}: {snapshot:?}");
    assert!(impatient || snapshot.rejected.total() == refused as u64, "{refused}: {snapshot:?}");
    // And nothing sticks: there is room for every key again.
    let mut config = bulkheads.config();
    (config.max_keys, config.each.max_concurrent) = (1, LIMIT);
    bulkheads.reconfigure(config).unwrap();
    for key in 0..KEYS {
        assert_eq!(fill(&bulkheads, key).len(), LIMIT, "{key}");
    }
    (served, refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn never_more_than_the_limit_of_a_key_inside_while_keys_come_and_go() {
    let (served, refused) = hammer(layer(LIMIT).max_keys(MAX_KEYS), false).await;
    assert_eq!(served + refused, TASKS * CALLS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_that_queues_and_gives_up_anywhere_loses_nothing() {
    let layer = BulkheadLayer::new("keys").max_concurrent(LIMIT).max_wait(STUCK).max_queue(TASKS);
    hammer(layer.keyed((|key| *key) as Number).max_keys(MAX_KEYS), true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sorted_crowd_loses_nothing() {
    let layer = BulkheadLayer::new("keys").max_concurrent(LIMIT).max_wait(STUCK).max_queue(TASKS);
    let layer = layer.partition("a", 0.5).priorities(Default::default());
    hammer(layer.keyed((|key| *key) as Number).max_keys(MAX_KEYS), true).await;
}

/// The narrowest place: one key's room for two keys, whose calls are over at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_keys_that_fight_for_one_place_never_have_two_limits() {
    let bulkheads = Arc::new(bulkheads(1, 1));
    let inside: Arc<[AtomicUsize; 2]> = Arc::default();
    let mut tasks = JoinSet::new();
    for task in 0..4 {
        let (bulkheads, inside) = (bulkheads.clone(), inside.clone());
        tasks.spawn(async move {
            let mut served = 0;
            for round in 0..20_000 {
                let key = (task + round) % 2;
                if let Ok(permit) = bulkheads.try_acquire(&key) {
                    assert_eq!(inside[key].fetch_add(1, SeqCst), 0, "somebody else of key {key} is inside");
                    inside[key].fetch_sub(1, SeqCst);
                    drop(permit);
                    served += 1;
                }
                if round % 64 == 0 {
                    yield_now().await;
                }
            }
            served
        });
    }
    let served: usize = tokio::time::timeout(STUCK, tasks.join_all()).await.expect("somebody is stuck").iter().sum();
    let snapshot = bulkheads.snapshot();
    assert_eq!((snapshot.in_flight, snapshot.rejected.total() as usize + served), (0, 80_000), "{snapshot:?}");
    assert!(snapshot.forgotten > 100, "{snapshot:?}");
}
