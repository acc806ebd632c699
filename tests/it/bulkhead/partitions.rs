//! Tenants with guaranteed shares.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use buttress::{
    Priority,
    bulkhead::{Caller, Permit},
};
use tokio::{task::JoinSet, time::advance};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(60);

fn halves() -> BulkheadLayer {
    BulkheadLayer::new("b").max_concurrent(10).partition("a", 0.5).partition("b", 0.3)
}

fn fill(bulkhead: &Bulkhead, tenant: &str) -> Vec<Permit> {
    std::iter::from_fn(|| bulkhead.try_acquire_as(Caller::new().partition(tenant)).ok()).collect()
}

fn inside(bulkhead: &Bulkhead) -> Vec<(String, usize)> {
    bulkhead.partitions().into_iter().map(|partition| (partition.name.to_string(), partition.in_flight)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_tenant_borrows_what_is_idle_and_never_more_than_the_total() {
    let bulkhead = halves().handle();
    for tenant in ["a", "b", "default", "nobody knows"] {
        let all = fill(&bulkhead, tenant);
        assert_eq!(all.len(), 10, "{tenant}");
        drop(all);
        advance(2 * SECOND).await;
    }
    assert_eq!(counts(&bulkhead), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_wakes_up_gets_its_share_as_the_borrowers_end() {
    let bulkhead = halves().handle();
    let mut borrowed = fill(&bulkhead, "a");
    let asks = || bulkhead.try_acquire_as(Caller::new().partition("b"));
    assert!(asks().is_err(), "all is lent");
    let mut own = Vec::new();
    for _ in 0..3 {
        borrowed.pop();
        assert!(bulkhead.try_acquire_as(Caller::new().partition("a")).is_err(), "kept for its owner");
        own.push(asks().unwrap());
    }
    borrowed.pop();
    assert!(asks().is_ok(), "and what nobody has a claim to is anybody's");
    assert_eq!(inside(&bulkhead), [("default".into(), 0), ("a".into(), 6), ("b".into(), 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_share_that_was_used_is_kept_for_a_while_and_then_lent_again() {
    let bulkhead = halves().handle();
    let own = fill(&bulkhead, "b").split_off(7);
    drop(own);
    assert_eq!(fill(&bulkhead, "a").len(), 7, "three are kept");
    advance(2 * SECOND).await;
    assert_eq!(fill(&bulkhead, "a").len(), 10, "nobody wanted them");
}

#[tokio::test(start_paused = true)]
async fn a_borrower_that_waits_for_what_is_kept_gets_it_when_it_is_lent_again() {
    let layer = BulkheadLayer::new("b").max_concurrent(2).partition("a", 1.0).max_wait(LONG);
    let bulkhead = layer.handle();
    drop(fill(&bulkhead, "a"));
    let started = tokio::time::Instant::now();
    // Nobody comes or goes meanwhile: it has to find out by itself.
    let permit = bulkhead.acquire_as(Caller::new().partition("other")).await.unwrap();
    assert!((SECOND..=3 * SECOND).contains(&started.elapsed()), "{:?}", started.elapsed());
    drop(permit);
    assert_eq!(counts(&bulkhead), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_owner_goes_before_waiting_borrowers_whatever_their_class() {
    let layer = BulkheadLayer::new("b").max_concurrent(4).partition("a", 0.5).max_wait(LONG);
    let bulkhead = layer.priorities(Default::default()).handle();
    let mut lent = fill(&bulkhead, "other");
    assert_eq!(lent.len(), 4);
    let eager = Caller::new().partition("other").priority(Priority::CriticalPlus);
    let mut borrower = task::spawn(bulkhead.acquire_as(eager));
    assert_pending!(borrower.poll());
    let mut owner = task::spawn(bulkhead.acquire_as(Caller::new().partition("a")));
    assert_pending!(owner.poll());
    lent.pop();
    assert!(owner.is_woken() && !borrower.is_woken());
    let own = assert_ready_ok!(owner.poll());
    lent.pop();
    assert!(!borrower.is_woken(), "the rest of its share is kept too");
    lent.pop();
    assert!(borrower.is_woken());
    drop((own, assert_ready_ok!(borrower.poll()), lent));
    assert_eq!(counts(&bulkhead), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn partitions_can_be_changed_under_running_calls() {
    let layer = BulkheadLayer::new("b").max_concurrent(4);
    let bulkhead = layer.handle();
    let before = bulkhead.try_acquire().unwrap();
    let layer = layer.partition("a", 0.5);
    assert_eq!(fill(&bulkhead, "a").len(), 3, "who was inside before still takes a place");
    let own = bulkhead.try_acquire_as(Caller::new().partition("a")).unwrap();
    let mut config = layer.handle().config();
    config.partitions.clear();
    bulkhead.reconfigure(config.clone()).unwrap();
    drop((before, own));
    assert_eq!(counts(&bulkhead), (0, 0));
    config.partitions = vec![buttress::bulkhead::Partition::new("c", 0.25)];
    bulkhead.reconfigure(config).unwrap();
    assert_eq!(bulkhead.partitions().len(), 2, "the slot of the one that is gone is used again");
    assert_eq!(bulkhead.partitions()[1].guaranteed, 1);
}

#[tokio::test(start_paused = true)]
async fn the_layer_asks_the_request_whose_it_is() {
    let layer = halves().partition_by(|request: &&'static str| *request);
    let gate_layer = layer.clone();
    let (mut service, _handle) = mock::spawn_with(|inner: Mock| gate_layer.layer(inner));
    let _calls = [call!(service, "a"), call!(service, "b"), call!(service, "b"), call!(service, "c")];
    assert_eq!(inside(&layer.handle()), [("default".into(), 1), ("a".into(), 1), ("b".into(), 2)]);
}

/// Tenants come and go, some give up, and the limit and the shares change meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_of_tenants_never_exceeds_the_total_and_loses_nothing() {
    const LIMIT: usize = 6;
    let layer = BulkheadLayer::new("b").max_concurrent(LIMIT).max_wait(LONG).max_queue(40).partition("a", 0.5);
    let bulkhead = layer.partition("b", 0.25).priorities(Default::default()).handle();
    let (now_inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut tasks = JoinSet::new();
    for number in 0..64_usize {
        let (bulkhead, now_inside, most) = (bulkhead.clone(), now_inside.clone(), most.clone());
        tasks.spawn(async move {
            let caller = Caller::new().partition(["a", "b", "c"][number % 3]).priority(Priority::ALL[number % 4]);
            let mut served = 0;
            for round in 0..300 {
                let acquire = bulkhead.acquire_as(caller);
                let permit = tokio::select! {
                    biased;
                    permit = acquire => permit.ok(),
                    () = async { for _ in 0..(number + round) % 50 { tokio::task::yield_now().await } } => None,
                };
                if permit.is_some() {
                    most.fetch_max(now_inside.fetch_add(1, SeqCst) + 1, SeqCst);
                    tokio::task::yield_now().await;
                    now_inside.fetch_sub(1, SeqCst);
                    served += 1;
                }
                drop(permit);
            }
            served
        });
    }
    let changes = bulkhead.clone();
    let change = tokio::spawn(async move {
        for round in 0_usize.. {
            let mut config = changes.config();
            config.max_concurrent = 1 + round % LIMIT;
            config.partitions.retain(|partition| partition.name.as_str() == "a");
            config.priorities = (round % 3 > 0).then(Default::default);
            if round % 5 == 0 {
                // Not sorted at all for a while.
                config.partitions.clear();
                config.priorities = None;
            } else if config.partitions.is_empty() {
                config.partitions = vec![buttress::bulkhead::Partition::new("a", 0.5)];
            }
            changes.reconfigure(config).unwrap();
            tokio::task::yield_now().await;
        }
    });
    let served: usize = tokio::time::timeout(LONG, tasks.join_all()).await.expect("somebody is stuck").iter().sum();
    change.abort();
    assert!(served > 0 && most.load(SeqCst) <= LIMIT, "{} of {LIMIT} at once", most.load(SeqCst));
    assert_eq!(counts(&bulkhead), (0, 0));
    assert!(bulkhead.partitions().iter().all(|partition| (partition.in_flight, partition.waiting) == (0, 0)));
}

// ===== nonsense =====

#[test]
#[should_panic(expected = "invalid setting bulkhead.partitions: 1.1 is not at most 1")]
fn shares_of_more_than_all_are_refused() {
    let _ = BulkheadLayer::new("b").partition("a", 0.5).partition("b", 0.6);
}

#[test]
#[should_panic(expected = "invalid setting bulkhead.partitions: a is there twice, and must be there once")]
fn a_partition_that_is_there_twice_is_refused() {
    let _ = BulkheadLayer::new("b").partition("a", 0.1).partition("a", 0.1);
}

#[test]
#[should_panic(expected = "invalid setting bulkhead.partitions: the share of a, NaN, is not between 0 and 1")]
fn a_share_that_is_no_number_is_refused() {
    let _ = BulkheadLayer::new("b").partition("a", f64::NAN);
}

#[test]
fn ten_tenths_are_a_whole() {
    let layer = (0..10).fold(BulkheadLayer::new("b"), |layer, tenant| layer.partition(format!("t{tenant}"), 0.1));
    assert_eq!(layer.handle().partitions().len(), 11);
    assert_eq!(layer.max_concurrent(10).handle().partitions()[10].guaranteed, 1);
}
