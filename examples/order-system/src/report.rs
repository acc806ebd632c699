//! What is printed of the system's state, and how a run ends.

use std::time::Duration;

use buttress::bulkhead::BulkheadSnapshot;
use buttress::circuit_breaker::{self, CircuitBreaker, CircuitBreakerSnapshot};
use buttress::retry::RetrySnapshot;
use buttress::saga::journal::{Filter, State};
use buttress::standard::Handles;
use tokio::task::JoinSet;

use crate::audit::{audit, wait_for_rest};
use crate::data_dir::DataDir;
use crate::running::StartError;
use crate::system::System;

/// How long the services may take to finish what they owe each other.
const REST_WITHIN: Duration = Duration::from_secs(20);
/// More than so many sagas of a kind aren't counted.
const MOST_SAGAS: u32 = 10_000;

/// Waits until all is at rest, stops the services, and judges. Databases that don't add up are kept.
pub(crate) async fn finish(system: System, data: DataDir) -> Result<bool, StartError> {
    wait_for_rest(&data, REST_WITHIN).await?;
    system.stop().await;
    let verdict = audit(&data).await?;
    say!("{verdict}");
    if verdict.holds() {
        data.remove()?;
    } else {
        say!("the databases are in {}", data.path().display());
    }
    Ok(verdict.holds())
}

/// Prints a line with the cause for each change of a breaker, until what it returns is dropped.
pub(crate) fn tell_changes(system: &System) -> JoinSet<()> {
    let mut tellers = JoinSet::new();
    for breaker in breakers(system) {
        let name = breaker.name().clone();
        let mut changes = breaker.subscribe();
        tellers.spawn(async move {
            while let Some(change) = changes.next().await {
                say!("{name} breaker {change}");
            }
        });
    }
    tellers
}

/// "all closed", or those that aren't.
pub(crate) fn breakers_in_short(system: &System) -> String {
    let others: Vec<_> = breakers(system)
        .filter(|breaker| breaker.state() != circuit_breaker::State::Closed)
        .map(|breaker| format!("{} {}", breaker.name(), breaker.state()))
        .collect();
    if others.is_empty() { "all closed".to_owned() } else { others.join(", ") }
}

/// How many sagas are under way.
pub(crate) async fn sagas_under_way(system: &System) -> usize {
    let mut under_way = 0;
    for coordinator in system.services().filter_map(|service| service.watch().sagas.as_ref()) {
        for state in [State::Running, State::Committed, State::Undoing] {
            let of_state = Filter { state: Some(state), name: None, before: None, limit: MOST_SAGAS };
            under_way += coordinator.sagas(of_state).await.map_or(0, |sagas| sagas.len());
        }
    }
    under_way
}

/// A line for each breaker, retry and bulkhead.
pub(crate) fn policies(system: &System) {
    for breaker in breakers(system) {
        let CircuitBreakerSnapshot { name, state, calls, failures, refused, opened, .. } = breaker.snapshot();
        let (name, state) = (name.as_str(), state.to_string());
        say!(
            "breaker    {name:<18} {state:<8} {failures} of the last {calls} failed, {refused} refused, opened {opened} times"
        );
    }
    for stack in stacks(system) {
        let RetrySnapshot { name, retries, recovered, budget_available, .. } = stack.retry.snapshot();
        let name = name.as_str();
        say!(
            "retry      {name:<18} {retries} retries, {recovered} calls recovered, {budget_available} left in the budget"
        );
    }
    let inbound = system.services().flat_map(|service| &service.watch().inbound);
    for bulkhead in stacks(system).map(|stack| &stack.bulkhead).chain(inbound) {
        let BulkheadSnapshot { limit, in_flight, waiting, rejected, .. } = bulkhead.snapshot();
        let rejected = rejected.full + rejected.queue_full + rejected.wait_expired;
        let name = bulkhead.name().as_str();
        say!("bulkhead   {name:<18} {in_flight} of {limit} in use, {waiting} waiting, {rejected} rejected");
    }
}

fn breakers(system: &System) -> impl Iterator<Item = &CircuitBreaker> {
    stacks(system).map(|stack| &stack.circuit_breaker)
}

fn stacks(system: &System) -> impl Iterator<Item = &Handles> {
    system.services().flat_map(|service| &service.watch().stacks)
}

pub(crate) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}
