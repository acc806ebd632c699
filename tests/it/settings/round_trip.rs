//! Settings that are written and read again are the same, in TOML and in JSON.

use std::{fmt::Debug, time::Duration};

use buttress::{
    BoxError,
    backoff::{Backoff, Jitter},
    budget::BudgetConfig,
    bulkhead::{
        Adaptive, Aimd, Algorithm, BulkheadConfig, Correlation, Gradient2, Partition, Priorities, QueueOrder, Vegas,
        WhenFull,
    },
    circuit_breaker::{CircuitBreakerConfig, KeyedCircuitBreakerConfig, SlowCalls, WhenOpen, Window},
    fallback::FallbackConfig,
    fault::{Fault, FaultConfig},
    hedge::{After, HedgeConfig},
    protocol::grpc::Code,
    rate_limit::{KeyedRateLimitConfig, RateLimitConfig},
    retry::RetryConfig,
    settings::{Settings, read},
    standard::{self, StandardConfig, StandardHedgeConfig},
    timeout::TimeoutConfig,
};
use http::StatusCode;
use proptest::{option, prelude::*};
use serde::Serialize;
use tower::{Layer, ServiceExt, service_fn};

use super::in_file;

fn time() -> impl Strategy<Value = Duration> {
    let (second, hour) = (1_000_000_000_u64, 3_600_000_000_000);
    prop_oneof![1..second, (1..86_400_u64).prop_map(move |secs| secs * second), second..hour]
        .prop_map(Duration::from_nanos)
}

fn rate() -> impl Strategy<Value = f64> {
    prop_oneof![Just(1.0), Just(0.5), 1e-6..1.0]
}

fn window() -> impl Strategy<Value = Window> {
    prop_oneof![
        (1..=65_536_u32).prop_map(Window::Count),
        (1_000..3_600_000_u64).prop_map(|ms| Window::Time(Duration::from_millis(ms)))
    ]
}

prop_compose! {
    fn breaker()(
        window in window(),
        failure_rate in option::of(rate()),
        slow_calls in option::of((time(), rate()).prop_map(|(longer_than, rate)| SlowCalls::new(longer_than, rate))),
        consecutive_failures in option::of(1..100_u32),
        minimum_calls in 1..1_000_000_u32,
        (open_for, open_at_most, half_open_for, ramp) in (time(), time(), time(), option::of(time())),
        half_open_calls in 1..1_000_u32,
        half_open_successes in option::of(1..1_000_u32),
        when_open in prop_oneof![Just(WhenOpen::Reject), Just(WhenOpen::Pause)],
    ) -> CircuitBreakerConfig {
        let mut config = CircuitBreakerConfig::default();
        config.window = window;
        config.failure_rate = failure_rate;
        config.slow_calls = slow_calls;
        config.consecutive_failures = consecutive_failures;
        config.minimum_calls = minimum_calls;
        (config.open_for, config.open_at_most, config.half_open_for, config.ramp) = (open_for, open_at_most, half_open_for, ramp);
        config.half_open_calls = half_open_calls;
        config.half_open_successes = half_open_successes;
        config.when_open = when_open;
        config
    }
}

prop_compose! {
    fn algorithm()(
        which in 0..4,
        (alpha, beta) in (1.0..100.0, 100.0..1000.0),
        windows in 10..100_000_u32,
        (queue, part) in (1..1000_usize, 0.5..0.99),
    ) -> Algorithm {
        match which {
            0 => {
                let mut settings = Correlation::default();
                (settings.long_window, settings.alpha, settings.beta) = (windows, alpha, beta);
                Algorithm::Correlation(settings)
            }
            1 => {
                let mut settings = Aimd::default();
                settings.backoff = part;
                Algorithm::Aimd(settings)
            }
            2 => {
                let mut settings = Vegas::default();
                (settings.alpha, settings.beta, settings.epoch) = (alpha, beta, windows);
                Algorithm::Vegas(settings)
            }
            _ => {
                let mut settings = Gradient2::default();
                (settings.queue, settings.smoothing, settings.long_window) = (queue, part, windows);
                Algorithm::Gradient2(settings)
            }
        }
    }
}

prop_compose! {
    fn adaptive()(
        algorithm in algorithm(),
        (min, max) in (1..200_usize, 200..1_000_000_usize),
        ms in 1..3_600_000_u64,
        samples in 1..1_000_000_usize,
        tolerance in 0.0..0.99,
    ) -> Adaptive {
        Adaptive::by(algorithm).min(min).max(max).window(Duration::from_millis(ms)).min_samples(samples).drop_tolerance(tolerance)
    }
}

fn order() -> impl Strategy<Value = QueueOrder> {
    let lifo = (time(), time()).prop_map(|(target, more)| QueueOrder::AdaptiveLifo { target, interval: target + more });
    prop_oneof![Just(QueueOrder::Fifo), lifo]
}

fn priorities() -> impl Strategy<Value = Priorities> {
    (rate(), 0.01..=1.0).prop_map(|(sheddable_plus, part)| {
        let mut priorities = Priorities::default();
        (priorities.sheddable_plus, priorities.sheddable) = (sheddable_plus, sheddable_plus * part);
        priorities
    })
}

prop_compose! {
    fn bulkhead()(
        (max_concurrent, max_queue) in (1..=1_000_000_usize, 1..=1_000_000_usize),
        max_wait in prop_oneof![Just(Duration::ZERO), time()],
        adaptive in option::of(adaptive()),
        order in order(),
        priorities in option::of(priorities()),
        partitions in prop::collection::hash_map("[a-z\u{e0}-\u{ff}'\"\\. -]{1,8}", 0.0..0.2, 0..5),
        pauses in any::<bool>(),
    ) -> BulkheadConfig {
        let mut config = BulkheadConfig::default();
        (config.max_concurrent, config.max_queue, config.max_wait) = (max_concurrent, max_queue, max_wait);
        config.adaptive = adaptive;
        if pauses {
            config.when_full = WhenFull::Pause;
        } else {
            (config.order, config.priorities) = (order, priorities);
            config.partitions = partitions.into_iter().map(|(name, share)| Partition::new(name, share)).collect();
        }
        config
    }
}

fn jitter() -> impl Strategy<Value = Jitter> {
    let words = [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Decorrelated];
    prop_oneof![prop::sample::select(words.to_vec()), (0.0..=1.0).prop_map(Jitter::Spread)]
}

fn budget() -> impl Strategy<Value = BudgetConfig> {
    prop_oneof![
        (0.0..=10.0, 1..=1_000_000_u32).prop_map(|(ratio, per_second)| BudgetConfig::Share { ratio, per_second }),
        (1..=1000_u32, 0.001..=1000.0)
            .prop_map(|(max_tokens, token_ratio)| BudgetConfig::Tokens { max_tokens, token_ratio }),
        (100..=1_000_000_u32, 1..=100_u32, 1..=100_u32, 0..=100_u32).prop_map(
            |(capacity, transient, throttled, success)| BudgetConfig::Costs { capacity, transient, throttled, success }
        ),
    ]
}

prop_compose! {
    fn retry()(
        max_attempts in 1..=100_u32,
        (base, more, factor) in (time(), time(), 1.0..=100.0),
        jitter in jitter(),
        replay_at_most in 0..=1_usize << 30,
        budget in budget(),
    ) -> RetryConfig {
        let mut config = RetryConfig::default();
        config.max_attempts = max_attempts;
        config.backoff = Backoff::exponential(base).at_most(base + more).factor(factor).jitter(jitter);
        config.replay_at_most = replay_at_most;
        config.budget = budget;
        config
    }
}

fn timeout() -> impl Strategy<Value = TimeoutConfig> {
    time().prop_map(|within| {
        let mut config = TimeoutConfig::default();
        config.within = within;
        config
    })
}

prop_compose! {
    fn rate_limit()(
        limit in 1..=1_000_000_u32,
        per in (100_u64..86_400_000).prop_map(Duration::from_millis),
        burst in option::of(1..=1_000_u32),
        max_wait in prop_oneof![Just(Duration::ZERO), time()],
        max_queue in 1..=1_000_000_usize,
        announce in any::<bool>(),
    ) -> RateLimitConfig {
        let mut config = RateLimitConfig::default();
        (config.limit, config.per, config.burst) = (limit, per, burst.map(|burst| burst.min(limit)));
        (config.max_wait, config.max_queue, config.announce) = (max_wait, max_queue, announce);
        config
    }
}

prop_compose! {
    fn hedge()(
        after in prop_oneof![time().prop_map(After::Delay), (0.5..=0.9999).prop_map(After::Quantile)],
        max_hedges in 0..=4_u32,
        minimum_calls in 1..=1_000_000_u32,
        replay_at_most in 0..=1_usize << 30,
        budget in budget(),
    ) -> HedgeConfig {
        let mut config = HedgeConfig::default();
        (config.after, config.max_hedges, config.minimum_calls) = (after, max_hedges, minimum_calls);
        (config.replay_at_most, config.budget) = (replay_at_most, budget);
        config
    }
}

prop_compose! {
    fn fallback()(
        on in prop_oneof![Just([true, false, false]), any::<bool>().prop_map(|on| [on, true, !on])],
        max_concurrent in 1..=1_000_000_usize,
        replay_at_most in 0..=1_usize << 30,
    ) -> FallbackConfig {
        let mut config = FallbackConfig::default();
        [config.on_failures, config.on_rejections, config.on_elapsed] = on;
        (config.max_concurrent, config.replay_at_most) = (max_concurrent, replay_at_most);
        config
    }
}

fn one_fault() -> impl Strategy<Value = Fault> {
    let others = [Fault::Fail, Fault::FailAfter, Fault::Hang, Fault::DropReply, Fault::BreakBody];
    prop_oneof![time().prop_map(Fault::Delay), prop::sample::select(others.to_vec())]
}

prop_compose! {
    fn fault()(
        enabled in any::<bool>(),
        seed in option::of(any::<u64>()),
        script in option::of(prop::collection::vec(option::of(one_fault()), 0..9)),
        shares in prop::array::uniform6(0.0..=1.0 / 6.0),
        delay_for in prop_oneof![Just(Duration::ZERO), time()],
        (status, code) in (400..=599_u16, 1..=16_usize),
    ) -> FaultConfig {
        let codes = [
            Code::Ok, Code::Cancelled, Code::Unknown, Code::InvalidArgument, Code::DeadlineExceeded, Code::NotFound,
            Code::AlreadyExists, Code::PermissionDenied, Code::ResourceExhausted, Code::FailedPrecondition,
            Code::Aborted, Code::OutOfRange, Code::Unimplemented, Code::Internal, Code::Unavailable, Code::DataLoss,
            Code::Unauthenticated,
        ];
        let mut config = FaultConfig::default();
        (config.enabled, config.seed, config.script, config.delay_for) = (enabled, seed, script, delay_for);
        [config.fail, config.fail_after, config.hang, config.drop_reply, config.break_body, config.delay] = shares;
        (config.status, config.code) = (StatusCode::from_u16(status).unwrap(), codes[code]);
        config
    }
}

/// The three that a stack has when it is told so.
fn optional() -> impl Strategy<Value = (Option<FallbackConfig>, Option<HedgeConfig>, Option<RateLimitConfig>)> {
    (option::of(fallback()), option::of(hedge()), option::of(rate_limit()))
}

/// Each for itself; so that they also work together, the whole has more time than any of them, and a hedge room and an
/// attempt that lasts.
fn stack() -> impl Strategy<Value = StandardConfig> {
    (timeout(), retry(), breaker(), bulkhead(), optional()).prop_map(|(attempt, retry, breaker, bulkhead, optional)| {
        let mut config = StandardConfig::default();
        config.timeout.within = Duration::from_secs(300 * 86_400);
        config.attempt_timeout = attempt;
        (config.retry, config.circuit_breaker, config.bulkhead) = (retry, breaker, bulkhead);
        let (fallback, hedge, rate_limit) = optional;
        (config.fallback, config.hedge, config.rate_limit) = (fallback, hedge.map(Into::into), rate_limit);
        let attempt = config.attempt_timeout.within;
        if let Some(hedge) = &mut config.hedge {
            config.bulkhead.max_concurrent = config.bulkhead.max_concurrent.max(2);
            match &mut hedge.after {
                After::Delay(delay) if *delay >= attempt => hedge.after = After::Quantile(0.9),
                _ => {}
            }
        }
        config.circuit_breaker.slow_calls = config.circuit_breaker.slow_calls.filter(|slow| slow.longer_than < attempt);
        config
    })
}

fn comes_back<T: Settings + Serialize + PartialEq + Debug>(settings: &T) {
    settings.check().unwrap();
    let text = toml::to_string(settings).unwrap();
    assert_eq!(in_file::<T>("", &text).as_ref(), Ok(settings), "{text}");
    let json = serde_json::to_value(settings).unwrap();
    assert_eq!(read::<T, _>("", &json).as_ref(), Ok(settings), "{json}");
}

proptest! {
    #[test]
    fn a_circuit_breakers_settings_come_back(config in breaker(), max_keys in 1..=65_536_usize) {
        comes_back(&config);
        let mut keyed = KeyedCircuitBreakerConfig::default();
        (keyed.each, keyed.max_keys) = (config, max_keys);
        keyed.each.when_open = WhenOpen::Reject;
        comes_back(&keyed);
    }

    #[test]
    fn a_bulkheads_settings_come_back(config in bulkhead()) {
        comes_back(&config);
    }

    #[test]
    fn a_retrys_settings_come_back(config in retry()) {
        comes_back(&config);
        comes_back(&config.budget);
    }

    #[test]
    fn a_timeouts_settings_come_back(config in timeout()) {
        comes_back(&config);
    }

    #[test]
    fn a_rate_limits_settings_come_back(config in rate_limit(), max_keys in 1..=65_536_usize) {
        comes_back(&config);
        let mut keyed = KeyedRateLimitConfig::default();
        (keyed.each, keyed.max_keys) = (config, max_keys);
        comes_back(&keyed);
    }

    #[test]
    fn a_hedges_settings_come_back(config in hedge()) {
        comes_back(&config);
    }

    #[test]
    fn a_fallbacks_settings_come_back(config in fallback()) {
        comes_back(&config);
    }

    #[test]
    fn a_plan_of_faults_comes_back(config in fault()) {
        comes_back(&config);
    }

    #[test]
    fn a_stacks_settings_come_back(config in stack()) {
        comes_back(&config);
    }

    /// From the text, into a stack that has everything and into one that has what it was made with.
    #[test]
    fn a_stack_that_runs_says_the_settings_that_it_was_given(config in stack()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let text = toml::to_string(&config).unwrap();
            let layer = standard::new("all").fallback(|fallback| fallback.value(7_u32)).hedge(|hedge| hedge).rate_limit(|limit| limit);
            let service = layer.layer(service_fn(async |()| Ok::<_, BoxError>(7)));
            service.clone().oneshot(()).await.unwrap();
            let handles = layer.handles();
            handles.reconfigure(in_file("all", &text).unwrap()).unwrap();
            let mut all = config.clone();
            all.fallback.get_or_insert_default();
            all.hedge.get_or_insert_default();
            all.rate_limit.get_or_insert_default();
            assert_eq!(handles.config(), all);
            assert_eq!(handles.timeout.config(), all.timeout);
            assert_eq!(handles.fallback.as_ref().map(|fallback| fallback.config()), all.fallback);
            assert_eq!(handles.retry.config(), all.retry);
            let hedge = handles.hedge.as_ref().unwrap().config();
            assert_eq!(hedge.budget, all.retry.budget);
            assert_eq!(Some(StandardHedgeConfig::from(hedge)), all.hedge);
            assert_eq!(handles.circuit_breaker.config(), all.circuit_breaker);
            assert_eq!(handles.rate_limit.as_ref().map(|limit| limit.config()), all.rate_limit);
            assert_eq!(handles.bulkhead.config(), all.bulkhead);
            assert_eq!(handles.attempt_timeout.config(), all.attempt_timeout);
            service.oneshot(()).await.unwrap();

            let five = standard::new("five").handles();
            let before = five.config();
            let optional = config.fallback.is_some() || config.hedge.is_some() || config.rate_limit.is_some();
            match five.reconfigure(config.clone()) {
                Ok(()) => assert!(!optional && five.config() == config),
                Err(error) => assert!(optional && five.config() == before && error.to_string().contains("was made without")),
            }
        });
    }
}

#[test]
fn what_is_absent_takes_its_default() {
    assert_eq!(in_file("", ""), Ok(StandardConfig::default()));
    let text = "
        timeout = {}
        retry = { backoff = {}, budget.share = {} }
        circuit_breaker = {}
        bulkhead = { adaptive.algorithm.correlation = {}, priorities = {}, order.adaptive_lifo = {} }
        attempt_timeout = {}";
    let mut config = StandardConfig::default();
    config.bulkhead.adaptive = Some(Adaptive::default());
    config.bulkhead.priorities = Some(Priorities::default());
    config.bulkhead.order = QueueOrder::adaptive_lifo();
    assert_eq!(in_file("", text), Ok(config));
}
