//! A limit for each key.

use buttress::rate_limit::KeyedRateLimit;
use tower::ServiceExt;

use super::*;

fn tenants(limit: u32) -> KeyedRateLimit<u32> {
    RateLimitLayer::new("tenants").limit(limit, SECOND).keyed(|tenant: &u32| *tenant).handle()
}

#[tokio::test(start_paused = true)]
async fn one_key_that_is_used_up_leaves_the_others_alone() {
    let layer = RateLimitLayer::new("tenants").limit(2, SECOND).keyed(|request: &&'static str| request.len());
    let limits = layer.handle();
    let service = layer.layer(tower::service_fn(async |request: &'static str| Ok::<_, BoxError>(request)));
    for expected in [true, true, false] {
        assert_eq!(service.clone().oneshot("acme").await.is_ok(), expected);
    }
    assert_eq!(service.clone().oneshot("umbrella").await.unwrap(), "umbrella");
    let error = service.clone().oneshot("evil").await.unwrap_err();
    assert_eq!((rejection(&error).name().as_str(), rejection(&error).retry_after()), ("tenants", Some(SECOND / 2)));
    let snapshot = limits.snapshot();
    assert_eq!((snapshot.keys, snapshot.max_keys, snapshot.limited, snapshot.forgotten), (2, 1024, 1, 0));
    advance(SECOND / 2).await;
    assert_eq!(service.oneshot("acme").await.unwrap(), "acme");
    assert!(limits.forget(&4) && !limits.forget(&4));
}

#[tokio::test(start_paused = true)]
async fn what_is_unused_is_forgotten_before_what_is_used_up() {
    let layer = RateLimitLayer::new("tenants").limit(1, SECOND).keyed(|tenant: &u32| *tenant).max_keys(3);
    let limits = layer.handle();
    limits.of(&0).try_acquire().unwrap();
    let unused = limits.of(&1);
    limits.of(&2).try_acquire().unwrap();
    drop(unused);
    for newcomer in 3..100 {
        limits.of(&newcomer);
        assert!(limits.of(&0).try_acquire().is_err() && limits.of(&2).try_acquire().is_err(), "{newcomer}");
    }
    assert_eq!((limits.snapshot().keys, limits.snapshot().forgotten), (3, 97));
}

#[tokio::test(start_paused = true)]
async fn new_settings_hold_for_the_keys_there_are_and_those_that_come() {
    let limits = tenants(10);
    limits.of(&1).try_acquire_many(4).unwrap();
    let mut config = limits.config();
    config.each.limit = 6;
    limits.reconfigure(config.clone()).unwrap();
    assert_eq!([1, 2].map(|tenant| limits.of(&tenant).snapshot().available), [2, 6]);
    config.max_keys = 0;
    assert_eq!(limits.reconfigure(config).unwrap_err().setting(), "rate_limit.max_keys");
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_queue_of_its_own_and_is_kept_while_calls_wait() {
    let layer =
        RateLimitLayer::new("tenants").limit(1, SECOND).max_wait(SECOND).keyed(|tenant: &u32| *tenant).max_keys(1);
    let limits = layer.handle();
    let service = layer.layer(tower::service_fn(async |tenant: u32| Ok::<_, BoxError>(tenant)));
    service.clone().oneshot(1).await.unwrap();
    let mut waits = task::spawn(service.clone().oneshot(1));
    assert_pending!(waits.poll());
    assert_eq!(limits.snapshot().waiting, 1);
    advance(SECOND).await;
    assert_eq!(assert_ready_ok!(waits.poll()), 1);
}
