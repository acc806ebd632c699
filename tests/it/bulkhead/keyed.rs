//! A bulkhead for each key.

mod crowd;
mod steered;
mod wire;

use std::collections::HashSet;

use buttress::{
    Priority,
    bulkhead::{
        Adaptive, Caller, KeyedBulkhead, KeyedBulkheadConfig, KeyedBulkheadLayer, KeyedBulkheadService, Permit,
    },
};
use tokio::time::advance;
use tower::ServiceExt;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

type Number = fn(&usize) -> usize;

/// Keys are the requests themselves.
fn layer(max_concurrent: usize) -> KeyedBulkheadLayer<usize, Number> {
    BulkheadLayer::new("keys").max_concurrent(max_concurrent).keyed((|key| *key) as Number)
}

fn bulkheads(max_concurrent: usize, max_keys: usize) -> KeyedBulkhead<usize> {
    layer(max_concurrent).max_keys(max_keys).handle()
}

fn keys(bulkheads: &KeyedBulkhead<usize>) -> HashSet<usize> {
    bulkheads.keys().into_iter().collect()
}

fn fill(bulkheads: &KeyedBulkhead<usize>, key: usize) -> Vec<Permit> {
    std::iter::from_fn(|| bulkheads.try_acquire(&key).ok()).collect()
}

#[tokio::test(start_paused = true)]
async fn one_key_that_is_full_leaves_the_others_alone() {
    let layer = layer(2);
    let gate = Gate::shut();
    // Applied anew for each call, as axum does for each connection.
    let call = |key: usize| task::spawn(layer.layer(gate.clone()).oneshot(key));
    let mut first: Vec<_> = [1, 1, 2].map(call).into();
    first.iter_mut().for_each(|call| assert_pending!(call.poll()));
    let error = assert_ready_err!(call(1).poll());
    let rejection = Rejection::find(&error).expect("a rejection");
    assert_eq!((rejection.policy(), rejection.name().as_str()), ("bulkhead", "keys"));
    assert_eq!(rejection.reason(), Reason::BulkheadFull);
    assert_eq!(gate.calls(), 3);

    let bulkheads = layer.handle();
    let inside = [1, 2, 3].map(|key| bulkheads.get(&key).map(|bulkhead| counts(&bulkhead)));
    assert_eq!(inside, [Some((2, 0)), Some((1, 0)), None]);
    let snapshot = bulkheads.snapshot();
    assert_eq!((snapshot.keys, snapshot.max_keys, snapshot.full, snapshot.limit), (2, 1024, 1, 4));
    assert_eq!((snapshot.in_flight, snapshot.waiting, snapshot.rejected.full), (3, 0, 1));

    gate.let_go(3);
    for call in &mut first {
        while call.poll().is_pending() {}
    }
    assert_eq!(bulkheads.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn the_least_recently_used_goes_and_never_one_with_calls() {
    let bulkheads = bulkheads(3, 4);
    let _inside = bulkheads.try_acquire(&0).unwrap();
    for key in 1..4 {
        drop(bulkheads.try_acquire(&key).unwrap());
    }
    for key in 4..100 {
        drop(bulkheads.try_acquire(&key).unwrap());
        assert_eq!(keys(&bulkheads), HashSet::from([0, key - 2, key - 1, key]));
    }
    assert_eq!((bulkheads.len(), bulkheads.snapshot().forgotten), (4, 96));
    assert_eq!(counts(&bulkheads.get(&0).unwrap()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn where_all_keys_have_calls_another_finds_no_room_until_one_has_none() {
    let bulkheads = bulkheads(2, 2);
    let (first, second) = (bulkheads.try_acquire(&1).unwrap(), bulkheads.try_acquire(&2).unwrap());
    for _ in 0..3 {
        assert_eq!(bulkheads.try_acquire(&3).unwrap_err().reason(), Reason::BulkheadFull);
    }
    assert_eq!(bulkheads.acquire(&3).await.unwrap_err().reason(), Reason::BulkheadFull);
    // Who is there has its whole limit meanwhile.
    drop(bulkheads.try_acquire(&1).unwrap());
    let snapshot = bulkheads.snapshot();
    assert_eq!((snapshot.keys, snapshot.rejected.full, snapshot.crowded_out, snapshot.forgotten), (2, 4, 4, 0));

    drop(first);
    let third = bulkheads.try_acquire(&3).unwrap();
    assert_eq!(keys(&bulkheads), HashSet::from([2, 3]));
    drop((second, third));
    assert_eq!(bulkheads.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn no_key_has_two_limits() {
    let bulkheads = bulkheads(2, 1);
    let mut inside = fill(&bulkheads, 1);
    assert_eq!(inside.len(), 2);
    while !inside.is_empty() {
        // Whoever else comes makes it neither forgotten nor new.
        assert!(bulkheads.try_acquire(&2).is_err());
        inside.pop();
        let more = fill(&bulkheads, 1);
        assert_eq!(more.len(), 2 - inside.len());
    }
    assert!(bulkheads.try_acquire(&2).is_ok());
    assert_eq!(fill(&bulkheads, 1).len(), 2);
}

/// Goes with a call to one of its awaits, and drops it there.
fn drop_at(step: usize, service: KeyedBulkheadService<Gate, usize, Number, Plain>, gate: &Gate) {
    let mut first = task::spawn(service.clone().oneshot(1));
    assert_pending!(first.poll());
    let mut next = service.clone();
    let mut queued = task::spawn(service.oneshot(1));
    match step {
        // Made ready, and never called.
        0 => assert_ready_ok!(task::spawn(next.ready()).poll().map_ok(drop)),
        // Called, and never polled.
        1 => {
            assert_ready_ok!(task::spawn(next.ready()).poll().map_ok(drop));
            drop(next.call(1));
        }
        // In the queue.
        2 => assert_pending!(queued.poll()),
        // Let in, and it doesn't know.
        3 => {
            assert_pending!(queued.poll());
            drop(first);
            return assert!(queued.is_woken());
        }
        // Inside, after it has queued.
        4 => {
            assert_pending!(queued.poll());
            drop(first);
            return assert_pending!(queued.poll());
        }
        _ => unreachable!("there are five"),
    }
    gate.let_go(1);
    while first.poll().is_pending() {}
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_at_any_await_gives_back_and_its_key_can_go() {
    for step in 0..5 {
        let gate = Gate::shut();
        let layer = BulkheadLayer::new("keys").max_concurrent(1).max_wait(SECOND);
        let layer = layer.keyed((|key| *key) as Number).max_keys(1);
        drop_at(step, layer.layer(gate.clone()), &gate);
        let bulkheads = layer.handle();
        let snapshot = bulkheads.snapshot();
        assert_eq!((snapshot.in_flight, snapshot.waiting, gate.inside()), (0, 0, 0), "{step}");
        assert!(bulkheads.try_acquire(&2).is_ok(), "{step}: its key is in the way");
        assert_eq!(fill(&bulkheads, 1).len(), 1, "{step}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_queue_of_its_own_and_stays_while_calls_wait() {
    let layer = BulkheadLayer::new("keys").max_concurrent(1).max_wait(SECOND).max_queue(1);
    let bulkheads = layer.keyed((|key| *key) as Number).max_keys(1).handle();
    let inside = bulkheads.try_acquire(&1).unwrap();
    let mut waits = task::spawn(bulkheads.acquire(&1));
    assert_pending!(waits.poll());
    assert_eq!(bulkheads.acquire(&1).await.unwrap_err().reason(), Reason::QueueFull);
    assert!(bulkheads.try_acquire(&1).is_err(), "nobody overtakes");
    assert_eq!((bulkheads.snapshot().waiting, bulkheads.snapshot().full), (1, 1));
    // Out of one call, into the next: there is no moment in which it could be forgotten.
    drop(inside);
    assert!(bulkheads.try_acquire(&2).is_err());
    let inside = assert_ready_ok!(waits.poll());
    assert!(bulkheads.try_acquire(&2).is_err());

    let mut late = task::spawn(bulkheads.acquire(&1));
    assert_pending!(late.poll());
    advance(SECOND).await;
    assert_eq!(assert_ready_err!(late.poll()).reason(), Reason::WaitExpired);
    drop(inside);
    assert!(bulkheads.try_acquire(&2).is_ok());
    let rejected = bulkheads.snapshot().rejected;
    assert_eq!((rejected.queue_full, rejected.wait_expired, rejected.total()), (1, 1, 5), "also of a key that is gone");
}

#[tokio::test(start_paused = true)]
async fn what_a_bulkhead_can_do_it_does_for_each_key() {
    let template = BulkheadLayer::new("keys")
        .max_concurrent(10)
        .adaptive(Adaptive::aimd().window(SECOND).min_samples(1).max(10))
        .priority(|number: &usize| if number.is_multiple_of(2) { Priority::Critical } else { Priority::Sheddable })
        .partition("low", 0.5)
        .partition_by(|number: &usize| if *number < 100 { "low" } else { "high" });
    let layer = template.keyed(|number: &usize| *number % 10 / 2);
    let gate = Gate::shut();
    let call = |number| task::spawn(layer.layer(gate.clone()).oneshot(number));
    // Half of the limit is for those who don't matter, a key each.
    let mut inside = Vec::new();
    for number in [1, 3] {
        for _ in 0..5 {
            let mut call = call(number);
            assert_pending!(call.poll());
            inside.push(call);
        }
        assert_ready_err!(call(number).poll());
        let mut critical = call(number - 1);
        assert_pending!(critical.poll());
        inside.push(critical);
    }
    let bulkheads = layer.handle();
    let low = &bulkheads.get(&0).unwrap().partitions()[1];
    assert_eq!((low.name.as_str(), low.in_flight), ("low", 6));
    inside.clear();

    // And what one key's limit learns, another's doesn't.
    for _ in 0..4 {
        let permits: Vec<_> = std::iter::from_fn(|| bulkheads.try_acquire(&0).ok()).collect();
        advance(2 * SECOND).await;
        permits.into_iter().for_each(|permit| permit.record(buttress::Outcome::failure(buttress::Cause::TimedOut)));
    }
    let limit = |key| bulkheads.get(&key).unwrap().snapshot().limit;
    assert!(limit(0) < 10 && limit(1) == 10, "{} and {}", limit(0), limit(1));
    assert!(bulkheads.try_acquire_as(&1, Caller::new().priority(Priority::Sheddable).partition("low")).is_ok());
    assert!(bulkheads.acquire_as(&1, Caller::new().partition("high")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn it_is_ready_when_the_inner_service_is_whatever_its_keys_are() {
    let layer = BulkheadLayer::new("ready").max_concurrent(1).keyed(|key: &u32| *key);
    let bulkheads = layer.handle();
    let _full = bulkheads.try_acquire(&1).unwrap();
    let (mut service, mut handle) = mock::spawn_layer::<u32, u32, _>(layer);
    handle.allow(0);
    assert_pending!(service.poll_ready());
    handle.allow(1);
    assert_ready_ok!(service.poll_ready());
    let error = task::spawn(service.call(1)).await.unwrap_err();
    assert_eq!(reason(&error), Reason::BulkheadFull);
    // What readiness reserved is still there, for a key that isn't refused.
    assert_ready_ok!(service.poll_ready());
    let call = task::spawn(service.call(2));
    assert_eq!(handle.next_request().await.unwrap().0, 2);
    drop(call);
    assert_eq!(counts(&bulkheads.get(&2).unwrap()), (0, 0));
}
