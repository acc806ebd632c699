//! A circuit breaker that lets everything through, and one that lets nothing through.

use std::{iter, time::Duration};

use buttress::{BoxError, CircuitBreakerLayer, circuit_breaker::CircuitBreaker};
use failsafe::{CircuitBreaker as _, failure_policy};
use recloser::Recloser;
use seatbelt::{RecoveryInfo, ResilienceContext, breaker::Breaker};
use tick::Clock;
use tower::Layer;

use crate::{
    call::{FAIL, Layered, Noop, PerCall, call},
    harness::{Bench, Direct},
};

const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn closed(bench: &mut Bench) {
    bench.group("circuit breaker, closed");
    // Opens at half of the last 100 calls, from 20 on: the default.
    bench.reference("buttress", PerCall(CircuitBreakerLayer::new("bench").layer(Noop)));
    bench.candidate("tower-resilience 0.14", PerCall(tower_resilience(HOUR).layer(Noop)));
    // Its window is of time, and has ten parts.
    bench.candidate("seatbelt 0.11 (time window)", PerCall(seatbelt(&context()).layer(Noop)));
    bench.candidate("seatbelt 0.11, layered (time window)", Layered(seatbelt(&context()).layer(Noop).into()));

    bench.group("circuit breaker, closed, without tower");
    let breaker = CircuitBreaker::new("bench");
    bench.reference("buttress", Direct(move || breaker.try_acquire().map(|permit| permit.success()).is_ok()));
    // The same hundred calls.
    let breaker = std::sync::Arc::new(recloser(HOUR));
    bench.candidate("recloser 1.4", Direct(move || breaker.call(|| Ok::<_, ()>(())).is_ok()));
    // It has no window of calls: this is the cheaper of its two policies, and the default is both of them.
    let breaker = consecutive();
    bench.candidate("failsafe 1.3, consecutive (no window)", Direct(move || breaker.call(|| Ok::<_, ()>(())).is_ok()));
    let breaker = failsafe::Config::new().build();
    bench.candidate("failsafe 1.3, default", Direct(move || breaker.call(|| Ok::<_, ()>(())).is_ok()));
}

pub(crate) fn open(bench: &mut Bench) {
    bench.group("circuit breaker, open, refusing");
    let layer = CircuitBreakerLayer::new("bench").open_for(HOUR).consecutive_failures(1);
    layer.handle().try_acquire().expect("closed").failure();
    let breaker = layer.handle();
    bench.reference("buttress", PerCall(layer.layer(Noop)));
    let mut service = tower_resilience(HOUR).layer(Noop);
    (0..100).for_each(|_| call(&mut service, FAIL));
    bench.candidate("tower-resilience 0.14", PerCall(service));
    let mut service = seatbelt(&context()).layer(Noop);
    (0..100).for_each(|_| call(&mut service, FAIL));
    bench.candidate("seatbelt 0.11", PerCall(service.clone()));
    bench.candidate("seatbelt 0.11, layered", Layered(service.into()));

    bench.group("circuit breaker, open, refusing, without tower");
    bench.reference("buttress", Direct(move || breaker.try_acquire().is_err()));
    let breaker = std::sync::Arc::new(recloser(HOUR));
    (0..200).for_each(|_| drop(breaker.call(|| Err::<(), _>(()))));
    assert!(matches!(breaker.call(|| Ok::<_, ()>(())), Err(recloser::Error::Rejected)));
    bench.candidate("recloser 1.4", Direct(move || breaker.call(|| Ok::<_, ()>(())).is_err()));
    let breaker = consecutive();
    (0..10).for_each(|_| drop(breaker.call(|| Err::<(), _>(()))));
    assert!(!breaker.is_call_permitted());
    bench.candidate("failsafe 1.3", Direct(move || breaker.call(|| Ok::<_, ()>(())).is_err()));
}

/// The last 100 calls, half of them, from 20 on.
fn tower_resilience(open_for: Duration) -> tower_resilience_circuitbreaker::CircuitBreakerLayer {
    let builder = tower_resilience_circuitbreaker::CircuitBreakerLayer::builder();
    let builder = builder.sliding_window_size(100).minimum_number_of_calls(20).failure_rate_threshold(0.5);
    builder.wait_duration_in_open(open_for).build().expect("these are sensible settings")
}

fn recloser(open_for: Duration) -> Recloser {
    Recloser::custom().closed_len(100).error_rate(0.5).open_wait(open_for).build()
}

fn consecutive() -> failsafe::StateMachine<failure_policy::ConsecutiveFailures<iter::Repeat<Duration>>, ()> {
    let policy = failure_policy::consecutive_failures(5, iter::repeat(HOUR));
    failsafe::Config::new().failure_policy(policy).build()
}

/// With the coarse clock, which it calls the one of less overhead.
pub(crate) fn context() -> ResilienceContext<u64, Result<u64, BoxError>> {
    ResilienceContext::new(Clock::new_tokio().with_fast_instant(true))
}

/// Half of the calls of ten seconds, from 20 on.
pub(crate) fn seatbelt(
    context: &ResilienceContext<u64, Result<u64, BoxError>>,
) -> seatbelt::breaker::BreakerLayer<u64, Result<u64, BoxError>> {
    Breaker::layer("bench", context)
        .recovery_with(|result, _| if result.is_ok() { RecoveryInfo::never() } else { RecoveryInfo::retry() })
        .rejected_input_error(|_, _| crate::call::Failed.into())
        .failure_threshold(0.5)
        .min_throughput(20)
        .sampling_duration(Duration::from_secs(10))
        .break_duration(HOUR)
}
