//! What the layers promise under overload, held against the real ones in virtual time. Seeds are in the messages.

use std::time::Duration;

use simulator::{
    run::{Plan, Report, run},
    scenario::{self, DIP, STORM_LOAD, after_a_dip},
    service::{Setup, Work},
    stack::{self, Build},
};

const SEEDS: [u64; 2] = [1, 20_260_731];

const ADAPTIVE: [(&str, Build); 4] = [
    ("correlation", stack::correlation),
    ("AIMD", stack::aimd),
    ("Vegas", stack::vegas),
    ("Gradient2", stack::gradient2),
];

/// A steady load for a minute and a half, of which the last half minute counts: enough to tell, and soon done.
fn steady(seed: u64, build: Build, load: f64) -> Plan {
    let [from, until] = [60, 90].map(Duration::from_secs);
    let load = vec![(until, load * capacity())];
    Plan { load, from, ..scenario::steady(seed, build, 1.0) }
}

fn capacity() -> f64 {
    Setup::default().capacity()
}

/// A part of the capacity.
fn goodput(plan: &Plan) -> f64 {
    run(plan).goodput / capacity()
}

#[test]
fn the_same_seed_gives_the_same_figures_to_the_byte_and_another_seed_others() {
    let csv = |seed| {
        // The stack with the most chance in it: the load's, the service's, the retry's and the breaker's.
        let mut sweep = scenario::storm();
        (sweep.stacks, sweep.loads) = (vec![("standard", stack::standard as Build)], vec![0.4]);
        scenario::csv(sweep.name, &scenario::points(&sweep, seed))
    };
    let first = csv(1);
    assert_eq!(first.lines().count(), 1);
    assert_eq!(first, csv(1));
    assert_ne!(first, csv(2));
}

#[test]
fn without_a_limit_or_with_one_too_high_a_service_under_overload_answers_next_to_nothing_in_time() {
    for build in [stack::none as Build, stack::too_high] {
        assert!(goodput(&steady(1, build, 1.5)) < 0.1);
    }
}

#[test]
fn the_default_adaptive_limit_keeps_nine_tenths_of_the_capacity_at_twice_the_load() {
    for seed in SEEDS {
        let kept = goodput(&steady(seed, stack::correlation, 2.0));
        assert!(kept >= 0.9, "{kept} with seed {seed}");
    }
}

#[test]
fn those_that_remember_the_beginning_are_not_fooled_by_good_luck_in_it() {
    for (name, build) in [("Vegas", stack::vegas as Build), ("Gradient2", stack::gradient2)] {
        for seed in 1..=8 {
            let kept = goodput(&steady(seed, build, 2.0));
            assert!(kept >= 0.9, "{name}: {kept} with seed {seed}");
        }
    }
}

#[test]
fn so_it_does_when_work_has_a_long_tail_and_when_waiting_calls_slow_the_others_down() {
    for (work, slowdown) in [(Work::Lognormal(1.0), 0.0), (Work::Exponential, 0.2)] {
        let mut plan = steady(SEEDS[0], stack::correlation, 2.0);
        (plan.service.work, plan.service.slowdown) = (work, slowdown);
        let kept = goodput(&plan);
        assert!(kept >= 0.9, "{kept} with {work:?}, {slowdown}");
    }
}

#[test]
fn a_limit_that_begins_far_too_high_under_overload_keeps_nine_tenths_too_within_a_minute() {
    let kept = goodput(&steady(SEEDS[0], stack::correlation_from_above, 2.0));
    assert!(kept >= 0.9, "{kept}");
}

#[test]
fn no_limit_runs_away_under_constant_timeouts() {
    // Netflix/concurrency-limits#137: timeouts have the evenest latency there is.
    for (name, build) in ADAPTIVE {
        let mut plan = steady(1, build, 0.5);
        plan.service.mean = Duration::from_secs(30);
        plan.service.work = Work::Constant;
        let limits = run(&plan).limits;
        assert!(limits.windows(2).all(|pair| pair[1] <= pair[0]), "{name}: {limits:?}");
        assert!(*limits.last().unwrap() <= 3, "{name}: {limits:?}");
    }
}

#[test]
fn no_limit_dips_while_there_is_little_to_do() {
    // envoyproxy/envoy#9007: a limit that is pinned low for a measurement refuses calls for no reason.
    let (day, night) = (60, 360);
    for (name, build) in ADAPTIVE {
        let mut plan = steady(1, build, 1.0);
        plan.load = vec![(Duration::from_secs(day), 0.8 * capacity()), (Duration::from_secs(night), 3.0)];
        let report = run(&plan);
        // What was under way at dusk may still move the limit.
        let idle = day as usize + 5..night as usize - 1;
        let limits = &report.limits[idle.clone()];
        assert!(limits.iter().all(|limit| *limit == limits[0] && *limit >= 20), "{name}: {limits:?}");
        assert_eq!(report.refusals[idle].iter().sum::<u32>(), 0, "{name}");
    }
}

#[test]
fn served_newest_first_a_standing_queue_costs_nothing_and_first_come_first_served_it_costs_all() {
    let fifo = goodput(&steady(1, stack::fifo, 2.0));
    let lifo = goodput(&steady(1, stack::adaptive_lifo, 2.0));
    assert!(fifo < 0.5, "{fifo}");
    assert!(lifo > 0.9, "{lifo}");
}

/// Answers in time from second to second, as a part of the calls.
fn answered(report: &Report, from: u64, to: u64) -> f64 {
    let good: u32 = report.seconds[from as usize..to as usize].iter().sum();
    f64::from(good) / (to - from) as f64 / (STORM_LOAD * capacity())
}

#[test]
fn retries_without_a_budget_keep_a_service_down_long_after_what_brought_it_down_is_gone() {
    let mut plan = after_a_dip(SEEDS[0], stack::thrice, STORM_LOAD);
    plan.load[0].0 = Duration::from_secs(DIP.1 + 66);
    let report = run(&plan);
    assert!(answered(&report, 10, DIP.0) > 0.95, "healthy before");
    let later = answered(&report, DIP.1 + 55, DIP.1 + 65);
    assert!(later < 0.5, "{later}");
}

#[test]
fn the_standard_stack_is_back_within_seconds() {
    for seed in SEEDS {
        let report = run(&after_a_dip(seed, stack::standard, STORM_LOAD));
        assert!(answered(&report, 10, DIP.0) > 0.95, "healthy before, with seed {seed}");
        let back = answered(&report, DIP.1 + 15, DIP.1 + 25);
        assert!(back > 0.9, "{back} with seed {seed}");
        assert!(answered(&report, DIP.1 + 60, DIP.1 + 120) > 0.95, "and stays, with seed {seed}");
    }
}
