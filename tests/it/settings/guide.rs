//! The guide's lists of settings are complete, and true.

use std::time::Duration;

use buttress::{
    backoff::Jitter,
    budget::BudgetConfig,
    bulkhead::{Adaptive, Partition, Priorities, QueueOrder},
    circuit_breaker::{SlowCalls, WhenOpen, Window},
    fallback::FallbackConfig,
    fault::FaultConfig,
    rate_limit::RateLimitConfig,
    settings::read,
    standard::{StandardConfig, StandardHedgeConfig},
};
use toml::{Table, Value};

/// The blocks of TOML in the guide.
fn blocks() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/settings.md");
    let guide = std::fs::read_to_string(path).unwrap();
    let blocks = guide.split("```toml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

fn payments(block: &str) -> Table {
    under("payments", block)
}

fn under(name: &str, block: &str) -> Table {
    let mut file: Table = block.parse().unwrap();
    match file.remove(name) {
        Some(Value::Table(settings)) => settings,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_guide_says_of_every_setting_what_it_can_be() {
    let blocks = blocks();
    for line in [0, 1, 3].iter().flat_map(|&block| blocks[block].lines()).filter(|line| line.contains(" = ")) {
        assert!(line.contains(" # "), "{line}");
    }
}

#[test]
fn the_guide_lists_every_setting_of_what_a_stack_has_when_it_is_told_so() {
    let mut config = StandardConfig::default();
    config.fallback = Some(FallbackConfig::default());
    config.hedge = Some(StandardHedgeConfig::default());
    config.rate_limit = Some(RateLimitConfig::default());
    let listed = payments(&blocks()[1]);
    assert_eq!(read("payments", listed.clone()), Ok(config.clone()));
    let written = Table::try_from(&config).unwrap();
    for table in ["fallback", "hedge", "rate_limit"] {
        assert_eq!(listed[table], written[table], "a setting is missing in the guide, or there is one too many");
    }
}

#[test]
fn the_guide_lists_every_setting_of_faults() {
    let listed = under("faults", &blocks()[3]);
    assert_eq!(read("faults", listed.clone()), Ok(FaultConfig::default()));
    assert_eq!(listed, Table::try_from(FaultConfig::default()).unwrap());
}

#[test]
fn the_guide_lists_every_setting_at_its_default() {
    let listed = payments(&blocks()[0]);
    assert_eq!(read::<StandardConfig, _>("payments", listed.clone()), Ok(StandardConfig::default()));
    let written = Table::try_from(StandardConfig::default()).unwrap();
    assert_eq!(listed, written, "a setting is missing in the guide, or there is one too many:\n{written}");
}

#[test]
fn the_guide_lists_what_is_off_by_default() {
    let mut config = StandardConfig::default();
    config.retry.backoff.jitter = Jitter::Spread(0.2);
    config.retry.budget = BudgetConfig::Tokens { max_tokens: 10, token_ratio: 0.1 };
    let breaker = &mut config.circuit_breaker;
    breaker.window = Window::time(Duration::from_secs(10));
    breaker.failure_rate = None;
    breaker.slow_calls = Some(SlowCalls::new(Duration::from_secs(1), 0.8));
    (breaker.consecutive_failures, breaker.half_open_successes) = (Some(5), Some(3));
    (breaker.ramp, breaker.when_open) = (Some(Duration::from_secs(30)), WhenOpen::Pause);
    let bulkhead = &mut config.bulkhead;
    bulkhead.max_wait = Duration::from_millis(100);
    bulkhead.order = QueueOrder::adaptive_lifo();
    bulkhead.priorities = Some(Priorities::default());
    bulkhead.partitions = vec![Partition::new("gold", 0.5), Partition::new("default", 0.1)];
    bulkhead.adaptive = Some(Adaptive::default());
    let block = &blocks()[2];
    assert_eq!(read("payments", payments(block)), Ok(config.clone()));
    // Each setting that is on is listed with all of its own.
    let written = Table::try_from(&config).unwrap();
    assert_eq!(payments(block)["bulkhead"]["adaptive"], written["bulkhead"]["adaptive"]);

    // What is commented out can be had instead.
    for line in block.lines().filter_map(|line| line.strip_prefix("# ")) {
        let (path, settings) = line.split_once(" = ").unwrap();
        let (table, choice) = path.split_once('.').unwrap();
        let of = if table == "budget" { "retry" } else { "bulkhead.adaptive" };
        let config: StandardConfig = read("", format!("{of}.{line}").parse::<Table>().unwrap()).unwrap();
        let written = Table::try_from(&config).unwrap();
        let choices = of.split('.').fold(Value::Table(written), |value, name| value[name].clone());
        let settings: Table = format!("all = {settings}").parse().unwrap();
        assert_eq!(choices[table][choice], settings["all"], "{line}");
    }
}
