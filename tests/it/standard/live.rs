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
    fallback::FallbackConfig,
    hedge::After,
    protocol::Plain,
    rate_limit::RateLimitConfig,
    standard::{self, Handles, StandardConfig, StandardHedgeConfig, StandardLayer},
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

// ===== what a stack has when it is told so =====

/// Other settings for all three, that don't begin anew.
fn another_of_all() -> StandardConfig {
    let millis = Duration::from_millis;
    let mut config = another();
    let (mut fallback, mut limit) = (FallbackConfig::default(), RateLimitConfig::default());
    (fallback.on_rejections, fallback.max_concurrent, fallback.replay_at_most) = (false, 3, 1);
    (limit.limit, limit.per, limit.burst) = (50, Duration::from_secs(2), Some(80));
    (limit.max_wait, limit.max_queue, limit.announce) = (millis(5), 7, true);
    let mut hedge = StandardHedgeConfig::default();
    (hedge.after, hedge.max_hedges) = (After::Delay(millis(200)), 3);
    (hedge.minimum_calls, hedge.replay_at_most) = (2, 1);
    (config.fallback, config.hedge, config.rate_limit) = (Some(fallback), Some(hedge), Some(limit));
    config
}

#[tokio::test(start_paused = true)]
async fn what_was_observed_and_used_stays_whatever_the_settings() {
    let layer = standard::new("payments")
        .retry(|retry| retry.idempotent())
        .fallback(|fallback| fallback.value(0))
        .hedge(|hedge| hedge.minimum_calls(10))
        .rate_limit(|limit| limit.limit(100, Duration::from_secs(1)));
    let handles = layer.handles();
    let service = layer.layer(service_fn(async |takes: u64| {
        tokio::time::sleep(Duration::from_millis(takes)).await;
        if takes == 13 { Err::<_, BoxError>("unlucky".into()) } else { Ok(1) }
    }));
    for takes in [10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 13] {
        service.clone().oneshot(takes).await.unwrap();
    }
    let known = || {
        let hedge = handles.hedge.as_ref().unwrap().snapshot();
        let (fallback, limit) = (handles.fallback.as_ref().unwrap().snapshot(), handles.rate_limit.as_ref().unwrap());
        (hedge.hedges, fallback.fell_back, limit.snapshot().allowed, handles.retry.snapshot().retries)
    };
    let before = known();
    assert_eq!(before.1, 1);
    assert!(before.2 >= 15, "{before:?}");
    handles.rate_limit.as_ref().unwrap().try_acquire_many(60).unwrap();
    let left = handles.rate_limit.as_ref().unwrap().snapshot().available;

    handles.reconfigure(another_of_all()).unwrap();
    assert_eq!(handles.config(), another_of_all());
    let after = known();
    assert_eq!((after.0, after.1, after.2 - 1, after.3), before);
    // A burst that is 20 smaller has 20 less left.
    assert_eq!(handles.rate_limit.as_ref().unwrap().snapshot().available, left - 20);
    let mut quantile = another_of_all();
    let hedge = quantile.hedge.as_mut().unwrap();
    (hedge.after, hedge.minimum_calls) = (After::Quantile(0.5), 12);
    handles.reconfigure(quantile).unwrap();
    let after = handles.hedge.as_ref().unwrap().snapshot().after.expect("what was observed is known still");
    assert!((9..=12).contains(&after.as_millis()), "{after:?}");
}

#[test]
fn settings_of_what_the_stack_was_made_without_change_nothing() {
    let handles = standard::new("payments").handles();
    let before = handles.config();
    let all = another_of_all();
    for (setting, what) in [("fallback", "fallback"), ("hedge", "hedge"), ("rate_limit", "rate limit")] {
        let mut config = another();
        match setting {
            "fallback" => config.fallback = all.fallback.clone(),
            "hedge" => config.hedge = all.hedge.clone(),
            _ => config.rate_limit = all.rate_limit.clone(),
        }
        let error = handles.reconfigure(config.clone()).unwrap_err();
        let expected = format!(
            "invalid setting {setting}: this stack was made without a {what}; add one where it is made, by \
             `.{setting}(..)`, or leave these settings out"
        );
        assert_eq!(error.to_string(), expected);
        assert_eq!(handles.config(), before);
        let error = StandardLayer::from_config("payments", config, Plain::default()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn what_the_stack_has_and_the_settings_say_nothing_of_is_at_its_defaults() {
    let layer = standard::new("payments")
        .fallback(|fallback| fallback.value(()).max_concurrent(5))
        .hedge(|hedge| hedge.after(Duration::from_millis(50)))
        .rate_limit(|limit| limit.limit(7, Duration::from_secs(1)));
    let before = layer.config();
    assert_eq!(before.rate_limit.as_ref().unwrap().limit, 7);
    layer.handles().reconfigure(another()).unwrap();
    let mut expected = another();
    expected.fallback = Some(FallbackConfig::default());
    expected.hedge = Some(StandardHedgeConfig::default());
    expected.rate_limit = Some(RateLimitConfig::default());
    assert_eq!(layer.config(), expected);

    let layer = layer.configured(before.clone()).unwrap();
    assert_eq!(layer.config(), before);
    let mut nonsense = before.clone();
    nonsense.hedge.as_mut().unwrap().after = After::Delay(Duration::from_secs(2));
    assert_eq!(layer.handles().reconfigure(nonsense).unwrap_err().setting(), "hedge.after.delay");
    assert_eq!(layer.config(), before);
}

/// What no hedge can be had beside is looked at also when it is the stack that has the hedge, and not the settings.
#[test]
fn a_hedge_at_its_defaults_is_looked_at_too() {
    let handles = standard::new("payments").hedge(|hedge| hedge).handles();
    let mut config = StandardConfig::default();
    config.bulkhead.max_concurrent = 1;
    assert_eq!(config.validate(), Ok(()));
    assert_eq!(handles.reconfigure(config).unwrap_err().setting(), "bulkhead.max_concurrent");
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
