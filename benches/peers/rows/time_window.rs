//! A closed circuit breaker that judges by time, with ten thousand calls in its window.

use std::time::Duration;

use buttress::{CircuitBreakerLayer, circuit_breaker::Window};
use tower::Layer;
use tower_resilience_circuitbreaker::{CircuitBreaker, CircuitBreakerLayer as Theirs, SlidingWindowType};

use super::breaker::{context, seatbelt};
use crate::{
    call::{FAIL, Layered, Noop, PerCall, call},
    harness::{Bench, Candidate},
};

const CALLS: u64 = 10_000;
const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn rows(bench: &mut Bench) {
    bench.group("circuit breaker, closed, time window of 10,000 calls");
    let layer = CircuitBreakerLayer::new("bench").window(Window::time(HOUR));
    bench.reference("buttress", PerCall(filled(layer.layer(Noop))));
    // It keeps each call of its window, so it begins anew with ten thousand in each round.
    bench.candidate("tower-resilience 0.14", Refilled(tower_resilience()));
    let service = filled(seatbelt(&context()).sampling_duration(HOUR).layer(Noop));
    bench.candidate("seatbelt 0.11", PerCall(service.clone()));
    bench.candidate("seatbelt 0.11, layered", Layered(service.into()));

    bench.group("circuit breaker, closed, time window of 10,000 calls, without tower");
    let breaker = CircuitBreakerLayer::new("bench").window(Window::time(HOUR));
    filled(breaker.layer(Noop));
    let breaker = breaker.handle();
    bench.reference(
        "buttress",
        crate::harness::Direct(move || breaker.try_acquire().map(|permit| permit.success()).is_ok()),
    );
    // A moving average, which holds no calls at all.
    let policy = failsafe::failure_policy::success_rate_over_time_window(0.5, 20, HOUR, std::iter::repeat(HOUR));
    let breaker = failsafe::Config::new().failure_policy(policy).build();
    bench.candidate(
        "failsafe 1.3, success rate over time",
        crate::harness::Direct(move || failsafe::CircuitBreaker::call(&breaker, || Ok::<_, ()>(())).is_ok()),
    );
}

/// One of them is a failure.
fn filled<S: tower::Service<u64>>(mut service: S) -> S {
    (1..CALLS).for_each(|number| call(&mut service, number));
    call(&mut service, FAIL);
    service
}

fn tower_resilience() -> CircuitBreaker<Noop, tower_resilience_circuitbreaker::DefaultClassifier> {
    let builder = Theirs::builder().sliding_window_type(SlidingWindowType::TimeBased).sliding_window_duration(HOUR);
    let layer = builder.minimum_number_of_calls(20).failure_rate_threshold(0.5).build();
    filled(layer.expect("these are sensible settings").layer(Noop))
}

#[derive(Clone)]
struct Refilled(CircuitBreaker<Noop, tower_resilience_circuitbreaker::DefaultClassifier>);

impl Candidate for Refilled {
    fn call_once(&mut self, number: u64) {
        call(&mut self.0.clone(), number);
    }

    fn prepare(&mut self) {
        self.0 = tower_resilience();
    }
}
