//! All policies of the process, as one who runs it sees them.
//!
//! The other tests make policies too, so each test here looks only for names of its own.

use buttress::{
    CircuitBreakerLayer, RetryLayer, TimeoutLayer,
    bulkhead::Bulkhead,
    circuit_breaker::{CircuitBreaker, NamedChanges, State},
    registry::{self, Policy},
    retry::Retry,
    standard,
    timeout::Timeout,
};
use tower::{Layer, ServiceExt, service_fn};

/// The lines of the policies of this name.
fn lines(name: &str) -> Vec<String> {
    let named = registry::policies().into_iter().filter(|policy| policy.name().as_str() == name);
    named.map(|policy| policy.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_policy_is_listed_with_a_line_for_people() {
    let breaker = CircuitBreaker::new("line");
    let _others = (Bulkhead::new("line"), Retry::new("line"), Timeout::new("line"));
    breaker.try_acquire().unwrap().failure();
    let expected = [
        "circuit_breaker line: Closed, 1 of 1 calls failed",
        "bulkhead line: 0 of 25 inside, 0 waiting, 0 refused",
        "retry line: 3 attempts at most, 0 retries made, 0 calls saved, 100 left",
        "timeout line: within 5s, 0 ran out, 0 refused",
    ];
    assert_eq!(lines("line"), expected);
    let kinds: Vec<_> = registry::policies().iter().filter(|p| p.name().as_str() == "line").map(Policy::kind).collect();
    assert_eq!(kinds, ["circuit_breaker", "bulkhead", "retry", "timeout"]);
}

#[tokio::test(start_paused = true)]
async fn a_policy_is_listed_for_as_long_as_anything_of_it_is_left() {
    let layer = CircuitBreakerLayer::new("left");
    let service = layer.layer(service_fn(async |()| Ok::<_, std::io::Error>(())));
    drop(layer);
    assert_eq!(lines("left").len(), 1);
    let call = service.oneshot(());
    assert_eq!(lines("left").len(), 1, "the call knows it");
    call.await.unwrap();
    assert_eq!(lines("left"), [""; 0]);
    assert!(registry::circuit_breaker("left").is_none());
}

#[tokio::test(start_paused = true)]
async fn what_is_found_is_the_policy_itself() {
    let layer = CircuitBreakerLayer::new("itself");
    registry::circuit_breaker("itself").unwrap().force_open();
    assert_eq!(layer.handle().state(), State::ForcedOpen);

    let retry = RetryLayer::new("itself").max_attempts(7);
    assert_eq!(registry::retry("itself").unwrap().config(), retry.handle().config());
    let timeout = TimeoutLayer::new("itself");
    let mut config = timeout.handle().config();
    config.within /= 2;
    registry::timeout("itself").unwrap().reconfigure(config.clone()).unwrap();
    assert_eq!(timeout.handle().config(), config);
}

#[tokio::test(start_paused = true)]
async fn of_several_of_one_name_the_youngest_is_found_and_all_are_listed() {
    let _old = CircuitBreaker::new("twice");
    let young = CircuitBreaker::new("twice");
    young.force_open();
    assert_eq!(registry::circuit_breaker("twice").unwrap().state(), State::ForcedOpen);
    assert_eq!(lines("twice").len(), 2);
    drop(young);
    assert_eq!(registry::circuit_breaker("twice").unwrap().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_stack_is_listed_with_all_its_parts() {
    let _stack = standard::new("parts").fallback(|fallback| fallback).hedge(|hedge| hedge).rate_limit(|limit| limit);
    for kind in ["circuit_breaker", "bulkhead", "retry", "timeout", "fallback", "hedge", "rate_limit"] {
        assert!(lines("parts").iter().any(|line| line.starts_with(kind)), "{kind}");
    }
    assert_eq!(lines("parts-attempt").len(), 1);
}

/// The next change of a breaker of this name; the other tests' breakers change too.
async fn next_of(changes: &mut NamedChanges, name: &str) -> String {
    loop {
        let change = changes.next().await.expect("there always may be another");
        if change.name.as_str() == name {
            return change.to_string();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_watches_is_told_of_every_breaker_also_of_those_made_later() {
    let before = CircuitBreaker::new("watched before");
    let mut changes = registry::watch();
    before.force_open();
    let after = CircuitBreaker::new("watched after");
    after.disable();
    assert_eq!(next_of(&mut changes, "watched before").await, "watched before: Closed -> ForcedOpen (by hand)");
    assert_eq!(next_of(&mut changes, "watched after").await, "watched after: Closed -> Disabled (by hand)");
}
