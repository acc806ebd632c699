//! Many tasks on several threads at one full bulkhead: never more than the limit inside, and nobody stuck.

use tower::ServiceExt;

use super::*;

const TASKS: usize = 64;
const CALLS: usize = 200;
const LIMIT: usize = 3;

/// Far more than it takes. Who is stuck is found, and does not hold up the suite.
const STUCK: Duration = Duration::from_secs(60);

/// Lets a crowd loose at `layer`, each doing `calls`; returns how many calls were served.
async fn hammer<F, Fut>(layer: &BulkheadLayer, gate: &Gate, calls: F) -> usize
where
    F: Fn(BulkheadService<Gate, Plain>) -> Fut,
    Fut: Future<Output = usize> + Send + 'static,
{
    let tasks: Vec<_> = (0..TASKS).map(|_| tokio::spawn(calls(layer.layer(gate.clone())))).collect();
    let all = async {
        let mut served = 0;
        for task in tasks {
            served += task.await.unwrap();
        }
        served
    };
    let served = tokio::time::timeout(STUCK, all).await.expect("somebody is stuck");
    assert_eq!(counts(&layer.handle()), (0, 0), "a permit or a place in the queue was lost");
    served
}

async fn call_after_call(mut service: BulkheadService<Gate, Plain>) -> usize {
    let mut served = 0;
    for number in 0..CALLS {
        served += usize::from(service.ready().await.unwrap().call(number).await.is_ok());
    }
    served
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_crowd_that_queues_everybody_is_served() {
    let gate = Gate::open();
    let layer = BulkheadLayer::new("b").max_concurrent(LIMIT).max_wait(STUCK).max_queue(TASKS);
    assert_eq!(hammer(&layer, &gate, call_after_call).await, TASKS * CALLS);
    assert_eq!(gate.most(), LIMIT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_crowd_that_pauses_everybody_is_served() {
    let gate = Gate::open();
    let layer = BulkheadLayer::new("b").max_concurrent(LIMIT).when_full(WhenFull::Pause).max_queue(TASKS);
    assert_eq!(hammer(&layer, &gate, call_after_call).await, TASKS * CALLS);
    assert_eq!(gate.most(), LIMIT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_that_is_refused_is_told_so_and_counted() {
    let gate = Gate::open();
    let layer = BulkheadLayer::new("b").max_concurrent(LIMIT);
    let served = hammer(&layer, &gate, call_after_call).await;
    let refused = layer.handle().snapshot().rejected.full as usize;
    assert_eq!((served + refused, gate.calls()), (TASKS * CALLS, served));
    assert!(gate.most() <= LIMIT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_that_gives_up_anywhere_loses_nothing() {
    let gate = Gate::open();
    let layer = BulkheadLayer::new("b").max_concurrent(LIMIT).max_wait(STUCK).max_queue(TASKS / 2);
    let bulkhead = layer.handle();
    // Meanwhile the limit goes up and down.
    let change = tokio::spawn(async move {
        for round in 0.. {
            let mut config = bulkhead.config();
            config.max_concurrent = 1 + round % LIMIT;
            config.when_full = if round % 7 == 0 { WhenFull::Pause } else { WhenFull::Reject };
            bulkhead.reconfigure(config).unwrap();
            tokio::task::yield_now().await;
        }
    });
    hammer(&layer, &gate, |mut service| async move {
        let mut served = 0;
        for number in 0..CALLS {
            // Dropped at some await or other: before it is ready, in the queue, just let in, inside.
            let call = async { service.ready().await.unwrap().call(number).await.is_ok() };
            let patience = async {
                for _ in 0..fastrand::usize(0..40) {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                ok = call => served += usize::from(ok),
                () = patience => {}
            }
        }
        // What `poll_ready` has reserved last goes back with the service.
        served
    })
    .await;
    change.abort();
    assert!(gate.most() <= LIMIT);
}
