//! What is refused, and how that reads.

use buttress::{
    bulkhead::BulkheadConfig, circuit_breaker::KeyedCircuitBreakerConfig, fault::FaultConfig, hedge::HedgeConfig,
    rate_limit::KeyedRateLimitConfig, standard::StandardConfig,
};

use super::in_file;

#[track_caller]
fn refused(text: &str) -> String {
    let error = in_file::<StandardConfig>("payments", text).unwrap_err().to_string();
    error.strip_prefix("invalid setting payments.").unwrap_or_else(|| panic!("{error}")).to_owned()
}

#[test]
fn a_value_out_of_its_range_is_named_as_in_the_file() {
    for (text, expected) in [
        ("retry.max_attempts = 0", "retry.max_attempts: 0 is not between 1 and 100"),
        ("retry.backoff.factor = 0.5", "retry.backoff.factor: 0.5 is not between 1 and 100"),
        ("retry.budget.share.ratio = nan", "retry.budget.share.ratio: NaN is not between 0 and 10"),
        ("attempt_timeout.within = '0s'", "attempt_timeout.within: 0ns is not more than zero and at most a year"),
        ("circuit_breaker.failure_rate = 2", "circuit_breaker.failure_rate: 2.0 is not more than 0 and at most 1"),
        (
            "bulkhead.adaptive.algorithm.aimd.backoff = 1",
            "bulkhead.adaptive.algorithm.aimd.backoff: 1.0 is not at least 0.5 and less than 1",
        ),
    ] {
        assert_eq!(refused(text), expected);
    }
}

#[test]
fn a_time_without_a_unit_is_told_what_would_be_right() {
    let right = "expected a time with its unit, as in \"500ms\", \"5s\" or \"1m 30s\"";
    for (value, what) in [
        ("5", "invalid type: integer `5`"),
        ("0.5", "invalid type: floating point `0.5`"),
        ("'5'", "invalid value: string \"5\""),
        ("'soon'", "invalid value: string \"soon\""),
        ("true", "invalid type: boolean `true`"),
    ] {
        assert_eq!(refused(&format!("timeout.within = {value}")), format!("timeout.within: {what}, {right}"));
        let ramp = refused(&format!("circuit_breaker.ramp = {value}"));
        assert_eq!(ramp, format!("circuit_breaker.ramp: {what}, {right}"));
        let nested = refused(&format!("circuit_breaker.slow_calls = {{ longer_than = {value}, rate = 0.5 }}"));
        assert_eq!(nested, format!("circuit_breaker.slow_calls.longer_than: {what}, {right}"));
    }
}

#[test]
fn a_setting_that_there_is_not_is_named_with_those_that_there_are() {
    let error = refused("retry.max_attemps = 5");
    let expected = "unknown field `max_attemps`, expected one of `max_attempts`, `backoff`, `replay_at_most`, `budget`";
    assert_eq!(error, format!("retry.max_attemps: {expected}"));
    assert!(refused("hegde = {}").starts_with("hegde: unknown field `hegde`, expected one of `timeout`, `fallback`"));
    assert!(refused("attempt_timeout.with = '1s'").starts_with("attempt_timeout.with: unknown field"));
    assert!(refused("bulkhead.adaptive.mni = 1").starts_with("bulkhead.adaptive.mni: unknown field `mni`"));
    assert!(refused("bulkhead.partitions = [{ name = 'a', share = 1, x = 1 }]").contains("unknown field `x`"));
    assert!(refused("retry.budget.tokens = { max_tokens = 1, x = 1 }").contains("unknown field `x`"));
}

#[test]
fn a_value_of_another_type_is_named_as_in_the_file() {
    for (text, expected) in [
        ("retry.max_attempts = 'many'", "retry.max_attempts: invalid type: string \"many\", expected u32"),
        ("retry.max_attempts = -1", "retry.max_attempts: invalid value: integer `-1`, expected u32"),
        ("bulkhead.max_queue = 1.5", "bulkhead.max_queue: invalid type: floating point `1.5`, expected usize"),
        (
            "circuit_breaker.failure_rate = 'of'",
            "circuit_breaker.failure_rate: invalid type: string \"of\", expected f64",
        ),
        (
            "circuit_breaker.when_open = 'wait'",
            "circuit_breaker.when_open: unknown variant `wait`, expected `reject` or `pause`",
        ),
        (
            "circuit_breaker.window.count = 10",
            "circuit_breaker.window: unknown variant `count`, expected `calls` or `time`",
        ),
    ] {
        let error = refused(text);
        assert!(error.starts_with(expected), "{error}\n{expected}");
    }
}

#[test]
fn settings_that_cannot_work_together_are_refused() {
    for (text, expected) in [
        (
            "attempt_timeout.within = '5s'",
            "attempt_timeout.within: an attempt may take 5s, which is not less than the whole's 5s",
        ),
        ("bulkhead.max_wait = '7s'", "bulkhead.max_wait: a call may queue 7s, which is not less than the whole's 5s"),
        (
            "retry.backoff = { base = '6s', at_most = '9s' }",
            "retry.backoff.base: the second attempt may wait 6s, which is not less than the whole's 5s",
        ),
        (
            "circuit_breaker.slow_calls = { longer_than = '3s', rate = 0.5 }\nbulkhead.max_wait = '1s'",
            "circuit_breaker.slow_calls.longer_than: no call takes longer than 3s, as an attempt is cut off at 3s",
        ),
    ] {
        assert_eq!(refused(text), expected);
    }
    // The wait is none of a call's that is attempted once.
    let once = "retry = { max_attempts = 1, backoff = { base = '6s', at_most = '9s' } }";
    in_file::<StandardConfig>("", once).unwrap();
}

#[test]
fn what_cannot_work_beside_a_hedge_or_a_rate_limit_is_refused() {
    for (text, expected) in [
        (
            "hedge.after.delay = '2s'",
            "hedge.after.delay: nothing is waited for as long as 2s, as an attempt is cut off at 2s",
        ),
        (
            "hedge = {}\nbulkhead.max_concurrent = 1",
            "bulkhead.max_concurrent: with 1 at once, a hedge can't run beside the attempt it is for; at least 2",
        ),
        (
            "hedge = {}\nbulkhead.adaptive.max = 1",
            "bulkhead.adaptive.max: with 1 at once, a hedge can't run beside the attempt it is for; at least 2",
        ),
        (
            "rate_limit.max_wait = '2s'\nbulkhead.max_wait = '3s'",
            "rate_limit.max_wait: a call may wait 2s for its turn, and then 3s for a permit, which is not less than the \
             whole's 5s",
        ),
    ] {
        assert_eq!(refused(text), expected);
    }
}

#[test]
fn what_a_hedge_a_limit_a_fallback_and_faults_refuse_is_named_as_in_the_file() {
    for (text, expected) in [
        ("hedge.after.quantile = 1", "hedge.after.quantile: 1.0 is not between 0.5 and 0.9999"),
        ("hedge.after.delay = '0s'", "hedge.after.delay: 0ns is not more than zero and at most a year"),
        ("hedge.after = '50ms'", "hedge.after: unknown variant `50ms`, expected `delay` or `quantile`"),
        ("hedge.max_hedges = 5", "hedge.max_hedges: 5 is not between 0 and 4"),
        ("rate_limit.limit = 0", "rate_limit.limit: 0 is not at least 1"),
        ("rate_limit.burst = 'limt'", "rate_limit.burst: invalid type: string \"limt\", expected u32"),
        ("rate_limit.per = 1", "rate_limit.per: invalid type: integer `1`, expected a time with its unit"),
        ("fallback.max_concurrent = 0", "fallback.max_concurrent: 0 is not between 1 and 1,000,000"),
        (
            "fallback = { on_failures = false, on_rejections = false, on_elapsed = false }",
            "fallback.on_failures: false",
        ),
        ("hedge = 'off'", "hedge: invalid type: string \"off\", expected struct StandardHedgeConfig"),
    ] {
        let error = refused(text);
        assert!(error.starts_with(expected), "{error}\n{expected}");
    }
    // In a stack it is the retry's.
    assert!(refused("hedge.budget = {}").starts_with("hedge.budget: unknown field `budget`, expected one of `after`"));
    let error = in_file::<HedgeConfig>("lookup.hedge", "budget.share.ratio = 11").unwrap_err();
    assert_eq!(error.to_string(), "invalid setting lookup.hedge.budget.share.ratio: 11.0 is not between 0 and 10");

    for (text, expected) in [
        ("fail = 1.5", "fail: 1.5 is not between 0 and 1"),
        ("fail = 0.6\nhang = 0.6", "*: the shares are 1.2 together"),
        ("status = 200", "status: 200 is not between 400 and 599"),
        ("status = 1000", "status: invalid value: integer `1000`, expected an HTTP status, 400 to 599"),
        ("code = 'OK'", "code: OK is not a failure"),
        (
            "code = 'Unavailable'",
            "code: invalid value: string \"Unavailable\", expected the name of a gRPC status code",
        ),
        ("seed = -1", "seed: invalid value: integer `-1`, expected a number from 0 to 2^64 - 1"),
        ("script = ['fial']", "script[0]: unknown variant `fial`, expected one of `delay`, `fail`, `fail_after`"),
        ("script = [{ delay = 5 }]", "script[0].delay: invalid type: integer `5`, expected a time with its unit"),
        ("delay_fro = '1s'", "delay_fro: unknown field `delay_fro`, expected one of"),
    ] {
        let error = in_file::<FaultConfig>("faults", text).unwrap_err().to_string();
        let error = error.strip_prefix("invalid setting faults.").unwrap_or_else(|| panic!("{error}"));
        assert!(error.starts_with(expected), "{error}\n{expected}");
    }
    let error = in_file::<KeyedRateLimitConfig>("tenants", "each.limit = 0").unwrap_err();
    assert_eq!(error.setting(), "tenants.each.limit");
    let error = in_file::<KeyedRateLimitConfig>("tenants", "max_keys = 0").unwrap_err();
    assert_eq!(error.setting(), "tenants.max_keys");
}

#[test]
fn the_path_begins_where_the_settings_are() {
    let error = in_file::<BulkheadConfig>("orders.limit", "max_concurrent = 0").unwrap_err();
    assert_eq!(error.setting(), "orders.limit.max_concurrent");
    let error = in_file::<BulkheadConfig>("", "max_concurrent = 0").unwrap_err();
    assert_eq!(error.setting(), "max_concurrent");
    let error = in_file::<KeyedCircuitBreakerConfig>("hosts", "each.minimum_calls = 0").unwrap_err();
    assert_eq!(error.setting(), "hosts.each.minimum_calls");
    let error = in_file::<KeyedCircuitBreakerConfig>("hosts", "max_keys = 0").unwrap_err();
    assert_eq!(error.setting(), "hosts.max_keys");
}
