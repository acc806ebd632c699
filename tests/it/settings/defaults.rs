//! What the documentation says of defaults, read from the types. Whoever changes a default changes its documentation, and
//! then the numbers here.

use std::time::Duration;

use buttress::{
    backoff::{Backoff, Jitter},
    budget::{Budget, BudgetConfig},
    bulkhead::{
        Adaptive, Aimd, Algorithm, BulkheadConfig, Correlation, Gradient2, Priorities, QueueOrder, Vegas, WhenFull,
    },
    circuit_breaker::{CircuitBreakerConfig, KeyedCircuitBreakerConfig, WhenOpen, Window},
    fallback::FallbackConfig,
    fault::FaultConfig,
    hedge::{After, HedgeConfig},
    protocol::grpc::Code,
    rate_limit::{KeyedRateLimitConfig, RateLimitConfig},
    retry::RetryConfig,
    standard::{StandardConfig, StandardHedgeConfig},
    timeout::TimeoutConfig,
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const KIB: usize = 1024;

#[test]
fn defaults_of_a_timeout() {
    assert_eq!(TimeoutConfig::default().within, 5 * SECOND);
}

#[test]
fn defaults_of_a_retry() {
    let config = RetryConfig::default();
    assert_eq!((config.max_attempts, config.replay_at_most), (3, 64 * KIB));
    assert_eq!((config.backoff, config.budget), (Backoff::default(), BudgetConfig::default()));
}

#[test]
fn defaults_of_a_backoff() {
    let Backoff { base, factor, at_most, jitter, .. } = Backoff::default();
    assert_eq!((base, factor, at_most, jitter), (50 * MS, 2.0, 5 * SECOND, Jitter::Full));
    assert_eq!(Backoff::exponential(9 * SECOND).at_most, 9 * SECOND, "or base, if that is longer");
    assert_eq!(Jitter::default(), Jitter::Full);
}

#[tokio::test(start_paused = true)]
async fn defaults_of_a_budget() {
    assert_eq!(BudgetConfig::default(), BudgetConfig::Share { ratio: 0.2, per_second: 10 });
    assert_eq!(Budget::default().available(), 100, "ten for each of ten seconds");
    assert_eq!(
        Budget::costs().config(),
        BudgetConfig::Costs { capacity: 500, transient: 14, throttled: 5, success: 1 }
    );
}

#[test]
fn defaults_of_a_circuit_breaker() {
    let config = CircuitBreakerConfig::default();
    assert_eq!((config.window, config.failure_rate, config.minimum_calls), (Window::Count(100), Some(0.5), 20));
    assert_eq!((config.slow_calls, config.consecutive_failures, config.half_open_successes), (None, None, None));
    assert_eq!((config.open_for, config.open_at_most), (5 * SECOND, 60 * SECOND));
    assert_eq!((config.half_open_calls, config.half_open_for), (5, 30 * SECOND));
    assert_eq!((config.ramp, config.when_open), (None, WhenOpen::Reject));
    let keyed = KeyedCircuitBreakerConfig::default();
    assert_eq!((keyed.each, keyed.max_keys), (config, 1024));
}

#[test]
fn defaults_of_a_bulkhead() {
    let config = BulkheadConfig::default();
    assert_eq!((config.max_concurrent, config.max_wait, config.max_queue), (25, Duration::ZERO, 100));
    assert_eq!((config.when_full, config.order), (WhenFull::Reject, QueueOrder::Fifo));
    assert_eq!((config.adaptive, config.priorities, config.partitions), (None, None, Vec::new()));
    let lifo = QueueOrder::AdaptiveLifo { target: 5 * MS, interval: 100 * MS };
    assert_eq!(QueueOrder::adaptive_lifo(), lifo);
    let priorities = Priorities::default();
    assert_eq!((priorities.sheddable_plus, priorities.sheddable), (0.8, 0.5));
}

#[test]
fn defaults_of_an_adaptive_limit() {
    let config = Adaptive::default();
    assert_eq!(config.algorithm, Algorithm::Correlation(Correlation::default()));
    assert_eq!((config.min, config.max, config.window), (1, 200, SECOND));
    assert_eq!((config.min_samples, config.drop_tolerance), (10, 0.02));
    let correlation = Correlation::default();
    assert_eq!((correlation.long_window, correlation.alpha, correlation.beta), (60, 3.0, 6.0));
    assert_eq!(Aimd::default().backoff, 0.9);
    let vegas = Vegas::default();
    assert_eq!((vegas.alpha, vegas.beta, vegas.epoch), (3.0, 6.0, 300));
    let gradient = Gradient2::default();
    assert_eq!((gradient.queue, gradient.smoothing, gradient.long_window), (4, 0.2, 600));
}

#[test]
fn defaults_of_a_rate_limit() {
    let config = RateLimitConfig::default();
    assert_eq!((config.limit, config.per, config.burst), (100, SECOND, None));
    assert_eq!((config.max_wait, config.max_queue, config.announce), (Duration::ZERO, 100, false));
    let keyed = KeyedRateLimitConfig::default();
    assert_eq!((keyed.each, keyed.max_keys), (config, 1024));
}

#[test]
fn defaults_of_a_hedge() {
    let config = HedgeConfig::default();
    assert_eq!((config.after, config.max_hedges, config.minimum_calls), (After::Quantile(0.95), 1, 100));
    assert_eq!(config.replay_at_most, 64 * KIB);
    assert_eq!(config.budget, BudgetConfig::Share { ratio: 0.1, per_second: 10 });
}

#[test]
fn defaults_of_a_fallback() {
    let config = FallbackConfig::default();
    assert!(config.on_failures && config.on_rejections && config.on_elapsed);
    assert_eq!((config.max_concurrent, config.replay_at_most), (10, 64 * KIB));
}

#[test]
fn defaults_of_faults() {
    let config = FaultConfig::default();
    assert!(config.enabled);
    assert_eq!((config.seed, config.script), (None, None));
    let shares = [config.fail, config.fail_after, config.hang, config.drop_reply, config.break_body, config.delay];
    assert_eq!(shares, [0.0; 6]);
    assert_eq!((config.delay_for, config.status.as_u16(), config.code), (100 * MS, 500, Code::Unavailable));
}

#[test]
fn defaults_of_a_stack() {
    let config = StandardConfig::default();
    assert_eq!((config.timeout.within, config.attempt_timeout.within), (5 * SECOND, 2 * SECOND));
    assert_eq!((config.fallback, config.hedge, config.rate_limit), (None, None, None));
    assert_eq!(config.retry, RetryConfig::default());
    assert_eq!(config.circuit_breaker, CircuitBreakerConfig::default());
    assert_eq!(config.bulkhead, BulkheadConfig::default());
    // As a hedge's anywhere else, but for the budget.
    let hedge = StandardHedgeConfig::default();
    assert_eq!((hedge.after, hedge.max_hedges, hedge.minimum_calls), (After::Quantile(0.95), 1, 100));
    assert_eq!(hedge.replay_at_most, 64 * KIB);
}
