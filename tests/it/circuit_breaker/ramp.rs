//! What happens after a breaker has closed.

use std::time::Duration;

use buttress::{
    CircuitBreakerLayer, Reason,
    circuit_breaker::{CircuitBreaker, State, WhenOpen},
};
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready_ok};
use tower_test::mock;

const RAMP: Duration = Duration::from_secs(90);

fn layer(name: &'static str) -> CircuitBreakerLayer {
    CircuitBreakerLayer::new(name).consecutive_failures(1).half_open_successes(1).ramp(RAMP)
}

/// Opens it, and closes it again by a probe.
async fn recover(breaker: &CircuitBreaker) {
    breaker.try_acquire().unwrap().failure();
    advance(breaker.snapshot().open_for.unwrap()).await;
    breaker.try_acquire().unwrap().success();
}

/// The share of many calls that is let through.
fn share(breaker: &CircuitBreaker) -> f64 {
    let admitted = (0..4_000).filter(|_| breaker.try_acquire().map(|permit| permit.ignore()).is_ok());
    admitted.count() as f64 / 4_000.0
}

fn seed() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    fastrand::seed(seed);
}

#[tokio::test(start_paused = true)]
async fn a_tenth_goes_through_at_first_and_all_in_the_end() {
    seed();
    let breaker = layer("ramp").handle();
    recover(&breaker).await;
    assert_eq!(breaker.state(), State::Closed);
    for expected in [0.1, 0.4, 0.7] {
        // Seven standard deviations of a fair draw.
        assert!((share(&breaker) - expected).abs() < 0.056, "{expected}");
        assert!((breaker.snapshot().ramp_share.unwrap() - expected).abs() < 1e-6);
        advance(RAMP / 3).await;
    }
    assert_eq!(share(&breaker), 1.0);
    assert_eq!(breaker.snapshot().ramp_share, None);
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_is_told_to_come_back_at_a_moment_of_its_own_before_the_ramp_is_over() {
    seed();
    let breaker = layer("ramp").handle();
    recover(&breaker).await;
    advance(RAMP / 3).await;
    let refusals: Vec<_> = (0..1_000).filter_map(|_| breaker.try_acquire().err()).collect();
    assert!(refusals.iter().all(|refusal| refusal.reason() == Reason::CircuitOpen));
    let waits: Vec<_> = refusals.iter().map(|refusal| refusal.retry_after().unwrap()).collect();
    let left = RAMP * 2 / 3;
    assert!(waits.iter().all(|wait| *wait <= left));
    for third in 0..3 {
        let (from, to) = (left * third / 3, left * (third + 1) / 3);
        let within = waits.iter().filter(|wait| (from..to).contains(wait)).count();
        let share = within as f64 / waits.len() as f64;
        assert!((0.2..0.47).contains(&share), "{share} come back between {from:?} and {to:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn outcomes_on_the_ramp_are_counted_and_open_it_again() {
    seed();
    let breaker = layer("ramp").handle();
    recover(&breaker).await;
    let permit = loop {
        if let Ok(permit) = breaker.try_acquire() {
            break permit;
        }
    };
    breaker.try_acquire().map(|permit| permit.success()).ok();
    permit.failure();
    assert_eq!(breaker.state(), State::Open);
    assert_eq!((breaker.snapshot().opened, breaker.snapshot().ramp_share), (2, None));
}

#[tokio::test(start_paused = true)]
async fn what_a_call_of_the_ramp_tells_after_its_end_still_counts() {
    let breaker = layer("ramp").handle();
    recover(&breaker).await;
    advance(RAMP - Duration::from_nanos(1)).await;
    let permit = breaker.try_acquire().unwrap();
    advance(RAMP).await;
    breaker.try_acquire().unwrap().success();
    permit.success();
    assert_eq!(breaker.snapshot().calls, 2);
}

#[tokio::test(start_paused = true)]
async fn there_is_no_ramp_unless_asked_for_nor_after_a_hand_on_the_lever() {
    let without = CircuitBreakerLayer::new("ramp").consecutive_failures(1).half_open_successes(1).handle();
    recover(&without).await;
    assert_eq!(share(&without), 1.0);

    let by_hand = layer("ramp").handle();
    recover(&by_hand).await;
    by_hand.force_closed();
    assert_eq!(share(&by_hand), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_shadow_refuses_nothing_on_its_ramp() {
    let breaker = layer("ramp").handle();
    breaker.shadow();
    recover(&breaker).await;
    assert_eq!((breaker.state(), share(&breaker)), (State::Shadow, 1.0));
    assert_eq!(breaker.snapshot().ramp_share, None);
}

#[tokio::test(start_paused = true)]
async fn the_change_tells_of_the_ramp() {
    let breaker = layer("ramp").handle();
    let mut changes = breaker.subscribe();
    recover(&breaker).await;
    let closed = loop {
        let change = changes.next().await.unwrap();
        if change.to == State::Closed {
            break change;
        }
    };
    assert_eq!(closed.to_string(), "HalfOpen -> Closed (1 probes succeeded), all calls in 90.0s");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_pauses_waits_for_its_turn_on_the_ramp() {
    seed();
    let layer = layer("ramp").when_open(WhenOpen::Pause);
    recover(&layer.handle()).await;
    let mut waiting = Vec::new();
    for _ in 0..1_000 {
        let (mut service, mut handle) = mock::spawn_layer::<&str, &str, _>(layer.clone());
        handle.allow(1);
        if service.poll_ready().is_pending() {
            waiting.push((service, handle));
        }
    }
    // Seven standard deviations around the nine tenths that a ramp refuses at first.
    assert!((834..966).contains(&waiting.len()), "{}", waiting.len());
    assert_pending!(waiting[0].0.poll_ready());
    advance(RAMP + Duration::from_millis(1)).await;
    for (service, _handle) in &mut waiting {
        // A task may poll so many timers in one go, and no more.
        tokio::task::yield_now().await;
        assert!(service.is_woken());
        assert_ready_ok!(service.poll_ready());
    }
}
