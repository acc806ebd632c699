//! The settings: what they are unless told otherwise, and that each can be changed while calls run.

use std::time::Duration;

use buttress::{
    CircuitBreakerLayer, Outcome,
    circuit_breaker::{
        CircuitBreaker, CircuitBreakerConfig, KeyedCircuitBreakerConfig, SlowCalls, State, WhenOpen, Window,
    },
};
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready_ok};
use tower_test::mock;

#[test]
fn the_defaults_are_what_the_documentation_says() {
    let CircuitBreakerConfig {
        window,
        failure_rate,
        slow_calls,
        consecutive_failures,
        minimum_calls,
        open_for,
        open_at_most,
        half_open_calls,
        half_open_successes,
        half_open_for,
        ramp,
        when_open,
        ..
    } = CircuitBreakerConfig::default();
    assert_eq!(window, Window::count(100));
    assert_eq!(failure_rate, Some(0.5));
    assert_eq!(slow_calls, None);
    assert_eq!(consecutive_failures, None);
    assert_eq!(minimum_calls, 20);
    assert_eq!(open_for, Duration::from_secs(5));
    assert_eq!(open_at_most, Duration::from_secs(60));
    assert_eq!(half_open_calls, 5);
    assert_eq!(half_open_successes, None);
    assert_eq!(half_open_for, Duration::from_secs(30));
    assert_eq!(ramp, None);
    assert_eq!(when_open, WhenOpen::Reject);
    assert_eq!(WhenOpen::default(), WhenOpen::Reject);

    let keyed = KeyedCircuitBreakerConfig::default();
    assert_eq!((keyed.max_keys, keyed.each), (1024, CircuitBreakerConfig::default()));
    // And what is made without settings has these.
    assert_eq!(CircuitBreaker::new("default").config(), CircuitBreakerConfig::default());
    assert_eq!(CircuitBreakerLayer::http("default").handle().config(), CircuitBreakerConfig::default());
    let keyed = CircuitBreakerLayer::new("default").keyed(|key: &u32| *key).handle().config();
    assert_eq!(keyed, KeyedCircuitBreakerConfig::default());
}

fn set(breaker: &CircuitBreaker, set: impl FnOnce(&mut CircuitBreakerConfig)) {
    let mut config = breaker.config();
    set(&mut config);
    breaker.reconfigure(config).unwrap();
}

fn fail(breaker: &CircuitBreaker) {
    breaker.try_acquire().unwrap().failure();
}

/// A breaker that has counted 40 calls, of which ten failed.
fn counted() -> CircuitBreaker {
    let breaker = CircuitBreaker::new("counted");
    (0..30).for_each(|_| breaker.try_acquire().unwrap().success());
    (0..10).for_each(|_| fail(&breaker));
    breaker
}

fn has_counted(breaker: &CircuitBreaker, calls: u64) -> bool {
    let snapshot = breaker.snapshot();
    (snapshot.state, snapshot.calls, snapshot.failures) == (State::Closed, calls, 10)
}

#[tokio::test(start_paused = true)]
async fn the_rate_of_failures_can_be_changed_over_what_was_counted() {
    let breaker = counted();
    set(&breaker, |config| config.failure_rate = Some(0.25));
    assert!(has_counted(&breaker, 40));
    fail(&breaker);
    assert_eq!(breaker.state(), State::Open);

    let breaker = counted();
    set(&breaker, |config| config.failure_rate = None);
    (0..100).for_each(|_| fail(&breaker));
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_minimum_of_calls_can_be_changed_over_what_was_counted() {
    let breaker = counted();
    set(&breaker, |config| (config.minimum_calls, config.failure_rate) = (42, Some(0.25)));
    fail(&breaker);
    assert_eq!((breaker.state(), breaker.snapshot().calls), (State::Closed, 41));
    set(&breaker, |config| config.minimum_calls = 30);
    fail(&breaker);
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn slow_calls_can_become_a_rule_over_what_was_counted() {
    let breaker = counted();
    set(&breaker, |config| config.slow_calls = Some(SlowCalls::new(Duration::from_secs(1), 0.2)));
    assert!(has_counted(&breaker, 40));
    for slow in 1..=10 {
        assert!(breaker.state() == State::Closed, "{slow} of {} is less than a fifth", 40 + slow);
        breaker.try_acquire().unwrap().record(Outcome::Success, Duration::from_secs(2));
    }
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_can_become_a_rule() {
    let breaker = counted();
    set(&breaker, |config| config.consecutive_failures = Some(3));
    assert!(has_counted(&breaker, 40));
    (0..3).for_each(|_| fail(&breaker));
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn how_long_it_is_open_can_be_changed_from_the_next_time_on() {
    let breaker = counted();
    set(&breaker, |config| config.consecutive_failures = Some(1));
    fail(&breaker);
    let open_for = breaker.snapshot().open_for;
    set(&breaker, |config| {
        (config.open_for, config.open_at_most) = (Duration::from_secs(600), Duration::from_secs(700))
    });
    assert_eq!(breaker.snapshot().open_for, open_for, "what callers were told holds");
    set(&breaker, |config| config.half_open_successes = Some(1));
    advance(breaker.snapshot().open_for.unwrap()).await;
    fail(&breaker);
    let open_for = breaker.snapshot().open_for.unwrap().as_secs();
    assert!((350..=700).contains(&open_for), "{open_for}: doubled, cut off, and at least half of that");
    set(&breaker, |config| config.open_at_most = Duration::from_secs(1));
    set(&breaker, |config| config.open_for = Duration::from_secs(2));
    advance(breaker.snapshot().open_for.unwrap()).await;
    fail(&breaker);
    let open_for = breaker.snapshot().open_for.unwrap();
    let (half, all) = (Duration::from_secs(1), Duration::from_secs(2));
    assert!((half..=all).contains(&open_for), "{open_for:?}: the longest is raised to the first");
}

/// Half-open with one probe that has succeeded.
async fn half_open() -> CircuitBreaker {
    let breaker = counted();
    set(&breaker, |config| config.consecutive_failures = Some(1));
    fail(&breaker);
    advance(breaker.snapshot().open_for.unwrap()).await;
    breaker.try_acquire().unwrap().success();
    assert_eq!(breaker.snapshot().probes_succeeded, 1);
    breaker
}

#[tokio::test(start_paused = true)]
async fn the_number_of_probes_can_be_changed_while_they_run() {
    let breaker = half_open().await;
    set(&breaker, |config| config.half_open_calls = 2);
    assert_eq!(breaker.snapshot().probes_succeeded, 1, "what was counted stays");
    breaker.try_acquire().unwrap().success();
    assert_eq!(breaker.state(), State::Closed);

    let breaker = half_open().await;
    set(&breaker, |config| config.half_open_successes = Some(2));
    breaker.try_acquire().unwrap().success();
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_probe_can_be_changed_for_those_to_come() {
    let breaker = half_open().await;
    let _long = breaker.try_acquire().unwrap();
    set(&breaker, |config| (config.half_open_for, config.half_open_successes) = (Duration::from_secs(1), Some(5)));
    let _short = breaker.try_acquire().unwrap();
    advance(Duration::from_secs(1)).await;
    assert_eq!(breaker.state(), State::HalfOpen);
    assert!(breaker.try_acquire().is_err(), "one hung probe opens it");
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_ramp_can_be_cut_short() {
    let breaker = half_open().await;
    set(&breaker, |config| (config.half_open_successes, config.ramp) = (Some(2), Some(Duration::from_secs(60))));
    breaker.try_acquire().unwrap().success();
    assert_eq!(breaker.snapshot().ramp_share, Some(0.1));
    set(&breaker, |config| config.ramp = None);
    assert_eq!(breaker.snapshot().ramp_share, None);
    assert!((0..100).all(|_| breaker.try_acquire().is_ok()));
}

#[tokio::test(start_paused = true)]
async fn what_callers_see_can_be_changed_while_it_is_open() {
    let layer = CircuitBreakerLayer::new("seen");
    let breaker = layer.handle();
    let (mut service, mut handle) = mock::spawn_layer::<&str, &str, _>(layer);
    handle.allow(0);
    breaker.force_open();
    assert_ready_ok!(service.poll_ready());
    set(&breaker, |config| config.when_open = WhenOpen::Pause);
    assert_pending!(service.poll_ready());
    set(&breaker, |config| config.when_open = WhenOpen::Reject);
    assert!(service.is_woken());
    assert_eq!(breaker.state(), State::ForcedOpen);
}

#[tokio::test(start_paused = true)]
async fn settings_that_make_no_sense_change_nothing() {
    let breaker = counted();
    let before = breaker.config();
    let mut config = before.clone();
    (config.failure_rate, config.ramp) = (Some(0.01), Some(Duration::ZERO));
    let error = breaker.reconfigure(config).unwrap_err();
    assert_eq!(error.to_string(), "invalid setting circuit_breaker.ramp: 0ns is not more than zero and at most a year");
    assert_eq!(breaker.config(), before);
    fail(&breaker);
    assert_eq!(breaker.state(), State::Closed);
}
