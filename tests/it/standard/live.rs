//! A stack that is set anew while it runs: all settings or none, and nothing of what it knows is lost.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use buttress::{
    BoxError, Rejection,
    backoff::{Backoff, Jitter},
    bulkhead::{Adaptive, Caller, Partition, Priorities, QueueOrder},
    circuit_breaker::{SlowCalls, WhenOpen, Window},
    standard::{self, Handles, StandardConfig},
};
use tokio::{sync::Semaphore, task::JoinSet};
use tower::{Layer, ServiceExt, service_fn};
use tracing_subscriber::filter::LevelFilter;

use crate::support::events::Events;

/// Every setting that can be another without its count beginning anew.
fn another() -> StandardConfig {
    let millis = Duration::from_millis;
    let mut config = StandardConfig::default();
    config.timeout.within = millis(9_000);
    config.attempt_timeout.within = millis(3_000);
    config.retry.max_attempts = 5;
    config.retry.backoff = Backoff::exponential(millis(7)).at_most(millis(70)).factor(3.0).jitter(Jitter::None);
    config.retry.replay_at_most = 1;
    let breaker = &mut config.circuit_breaker;
    breaker.failure_rate = Some(0.9);
    breaker.slow_calls = Some(SlowCalls::new(millis(1), 1.0));
    breaker.consecutive_failures = Some(50);
    breaker.minimum_calls = 30;
    (breaker.open_for, breaker.open_at_most, breaker.half_open_for) = (millis(1), millis(2), millis(3));
    (breaker.half_open_calls, breaker.half_open_successes) = (2, Some(1));
    breaker.ramp = Some(millis(4));
    breaker.when_open = WhenOpen::Pause;
    let bulkhead = &mut config.bulkhead;
    (bulkhead.max_concurrent, bulkhead.max_queue, bulkhead.max_wait) = (6, 9, millis(8));
    bulkhead.adaptive = Some(Adaptive::vegas().min(2));
    bulkhead.order = QueueOrder::adaptive_lifo();
    bulkhead.priorities = Some(Priorities::default());
    bulkhead.partitions = vec![Partition::new("gold", 0.5)];
    config
}

/// What each policy knows, as far as the settings don't say it.
fn known(handles: &Handles) -> [u64; 8] {
    let (breaker, retry) = (handles.circuit_breaker.snapshot(), handles.retry.snapshot());
    let (whole, attempt) = (handles.timeout.snapshot(), handles.attempt_timeout.snapshot());
    let inside = handles.bulkhead.snapshot().in_flight as u64;
    let budget = retry.budget_available;
    [breaker.calls, breaker.failures, inside, retry.retries, retry.recovered, budget, whole.elapsed, attempt.elapsed]
}

#[tokio::test(start_paused = true)]
async fn every_setting_changes_under_load_and_nothing_is_lost() {
    let layer = standard::new("payments").retry(|retry| retry.idempotent());
    let handles = layer.handles();
    let gate = Arc::new(Semaphore::new(0));
    let service = layer.layer(service_fn({
        let gate = gate.clone();
        move |ends: &'static str| {
            let gate = gate.clone();
            async move {
                match ends {
                    "well" => Ok(()),
                    "at the gate" => {
                        let _ = gate.acquire().await;
                        Ok(())
                    }
                    ends => Err::<(), BoxError>(ends.into()),
                }
            }
        }
    }));
    for _ in 0..7 {
        service.clone().oneshot("well").await.unwrap();
    }
    service.clone().oneshot("badly").await.unwrap_err();
    let mut running: JoinSet<_> = (0..10).map(|_| service.clone().oneshot("at the gate")).collect();
    while handles.bulkhead.snapshot().in_flight < 10 {
        tokio::task::yield_now().await;
    }
    let before = known(&handles);
    assert_eq!(&before[..4], [10, 3, 10, 2]);

    let events = Events::at(LevelFilter::INFO);
    handles.reconfigure(another()).unwrap();
    assert_eq!(handles.config(), another());
    assert_eq!(known(&handles), before);
    let told = events.take();
    assert!(told.contains("settings changed policy=\"standard\" name=\"payments\""), "{told}");
    handles.reconfigure(another()).unwrap();
    assert_eq!(events.take(), "", "nothing has changed");

    // The new limit is six, and ten are inside.
    let error = service.clone().oneshot("well").await.unwrap_err();
    assert_eq!(Rejection::find(&error).unwrap().policy(), "bulkhead");
    gate.close();
    while let Some(result) = running.join_next().await {
        result.unwrap().unwrap();
    }
    assert_eq!(handles.bulkhead.snapshot().in_flight, 0);
    assert_eq!(handles.circuit_breaker.snapshot().calls, 20);
    let attempts = handles.circuit_breaker.snapshot().calls;
    service.clone().oneshot("badly").await.unwrap_err();
    assert_eq!(handles.circuit_breaker.snapshot().calls - attempts, 5, "attempts, as it says now");
}

#[test]
fn what_makes_no_sense_together_changes_nothing() {
    let handles = standard::new("payments").handles();
    let mut config = another();
    config.attempt_timeout.within = config.timeout.within;
    assert_eq!(handles.reconfigure(config).unwrap_err().setting(), "attempt_timeout.within");
    assert_eq!(handles.config(), StandardConfig::default());
}

#[test]
fn a_policy_that_cannot_do_it_live_keeps_the_others_from_changing() {
    let handles = standard::new("payments").handles();
    handles.circuit_breaker.try_acquire().unwrap().failure();
    // The bulkhead says no when the breaker has already said yes, and to another window at that.
    let mut held = Vec::new();
    let mut next = StandardConfig::default();
    next.bulkhead.max_concurrent = 1000;
    let error = loop {
        let nth = held.len();
        let names = (nth..nth + 64).map(|nth| format!("tenant-{nth}"));
        next.bulkhead.partitions = names.map(|name| Partition::new(name, 0.01)).collect();
        let mut whole = next.clone();
        if nth >= 192 {
            whole = another();
            whole.bulkhead = next.bulkhead.clone();
            whole.circuit_breaker.window = Window::count(50);
        }
        match handles.reconfigure(whole) {
            Ok(()) => assert!(nth < 192),
            Err(error) => break error,
        }
        let callers = next.bulkhead.partitions.iter().map(|partition| Caller::new().partition(partition.name.as_str()));
        held.extend(callers.map(|caller| handles.bulkhead.try_acquire_as(caller).unwrap()));
    };
    assert_eq!(error.setting(), "bulkhead.partitions");
    let config = handles.config();
    assert_eq!(config.bulkhead.partitions[0].name.as_str(), "tenant-128");
    let mut expected = StandardConfig::default();
    expected.bulkhead = config.bulkhead.clone();
    assert_eq!(config, expected);
    assert_eq!((handles.circuit_breaker.snapshot().failures, handles.bulkhead.snapshot().in_flight), (1, 192));

    // The breaker says no to its 17th window: the first, the 50 it kept ready above, and these.
    for calls in 101..115 {
        let mut config = handles.config();
        config.circuit_breaker.window = Window::count(calls);
        handles.reconfigure(config).unwrap();
    }
    let before = handles.config();
    let mut config = another();
    config.circuit_breaker.window = Window::count(200);
    assert_eq!(handles.reconfigure(config).unwrap_err().setting(), "circuit_breaker.window");
    assert_eq!(handles.config(), before);
}

/// Two set it anew, over and over, while others call and a server applies it to each connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_who_set_it_anew_at_once_never_mix_their_settings() {
    let layer = standard::new("payments").retry(|retry| retry.idempotent());
    let handles = layer.handles();
    let settings = [StandardConfig::default(), another()];
    let mut tasks = JoinSet::new();
    let done = Arc::new(AtomicBool::new(false));
    let watching = std::thread::spawn({
        let (handles, settings, done) = (handles.clone(), settings.clone(), done.clone());
        move || {
            while !done.load(SeqCst) {
                assert!(settings.contains(&handles.config()));
            }
        }
    });
    for config in settings {
        let handles = handles.clone();
        tasks.spawn(async move {
            for _ in 0..1000 {
                handles.reconfigure(config.clone()).unwrap();
                tokio::task::yield_now().await;
            }
        });
    }
    for _ in 0..2 {
        let layer = layer.clone();
        tasks.spawn(async move {
            for _ in 0..300 {
                let service = layer.layer(service_fn(async |()| {
                    tokio::task::yield_now().await;
                    Ok::<_, Infallible>(())
                }));
                service.oneshot(()).await.unwrap();
            }
        });
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
    done.store(true, SeqCst);
    watching.join().unwrap();
    assert_eq!(handles.bulkhead.snapshot().in_flight, 0);
}

/// A layer is applied to each connection, and must not panic there for what was done to one of its policies.
#[test]
fn a_policy_that_is_set_by_itself_does_not_break_the_next_connection() {
    let layer = standard::new("payments");
    let mut config = layer.handles().timeout.config();
    config.within = Duration::from_millis(1);
    layer.handles().timeout.reconfigure(config).unwrap();
    drop(layer.layer(()));
}
