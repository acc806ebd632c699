//! Every algorithm, over random traces and against a small model of a service.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    course::{Course, Window},
    *,
};

fn every_algorithm() -> [Adaptive; 4] {
    [Adaptive::default(), Adaptive::aimd(), Adaptive::vegas(), Adaptive::gradient2()]
}

const SECOND: Duration = Duration::from_secs(1);

fn window(successes: u64, drops: u64, inside: u32, millis: f64) -> Window {
    let latency = Duration::from_secs_f64(millis / 1e3);
    Window { lasted: SECOND, successes, drops, inside, mean: latency, high: latency }
}

/// A service that works at so many calls at once and lets the others wait inside; callers that always want more than they
/// get. Above all it can do, calls time out.
struct Service {
    workers: u32,
    millis: f64,
    timeout_millis: f64,
}

impl Service {
    fn window(&self, inside: u32) -> Window {
        let millis = self.millis * f64::from(inside.max(self.workers)) / f64::from(self.workers);
        let calls = (f64::from(inside) / millis * 1e3) as u64;
        if millis > self.timeout_millis { window(0, calls, inside, millis) } else { window(calls, 0, inside, millis) }
    }

    /// The limits of the last quarter of so many windows.
    fn settle(&self, course: &mut Course, windows: usize) -> Vec<u32> {
        let limits = (0..windows).map(|_| {
            course.update(&self.window(course.limit()));
            course.limit()
        });
        limits.collect::<Vec<_>>().split_off(windows * 3 / 4)
    }
}

#[test]
fn no_limit_runs_away_under_constant_timeouts() {
    // Netflix/concurrency-limits#137: constant timeouts have the evenest latency there is.
    for settings in every_algorithm() {
        let mut course = Course::new(settings.clone(), 50);
        for _ in 0..100 {
            let before = course.limit();
            course.update(&window(0, 200, before, 5_000.0));
            assert!(course.limit() <= before, "{settings:?}");
        }
        assert_eq!(course.limit(), settings.min as u32, "{settings:?}");
    }
}

#[test]
fn no_limit_dips_or_grows_while_idle() {
    // envoyproxy/envoy#9007: a limit that is pinned low for a measurement refuses calls for no reason.
    for settings in every_algorithm() {
        let mut course = Course::new(settings.clone(), 50);
        for round in 0..2_000 {
            // Next to nothing to do, of any latency, and now and then nothing at all.
            let millis = [1.0, 500.0, 20.0][round % 3];
            let idle = if round % 7 == 0 { window(0, 0, 0, 0.0) } else { window(12, 0, 1, millis) };
            assert_eq!(course.update(&idle), None, "{settings:?} in round {round}");
        }
        assert_eq!(course.limit(), 50, "{settings:?}");
    }
}

#[test]
fn limits_that_go_by_latency_settle_near_what_the_service_can_do() {
    let service = Service { workers: 40, millis: 20.0, timeout_millis: f64::INFINITY };
    for settings in [Adaptive::default(), Adaptive::vegas(), Adaptive::gradient2()] {
        // One that begins in the midst of an overload takes it for what is usual, but for the default.
        let begins = if settings == Adaptive::default() { vec![1, 25, 200, 1000] } else { vec![1, 25] };
        for begin in begins {
            let settings = settings.clone().max(1000);
            let limits = service.settle(&mut Course::new(settings.clone(), begin), 2_000);
            let (least, most) = (*limits.iter().min().unwrap(), *limits.iter().max().unwrap());
            assert!(least >= 30, "{settings:?} from {begin}: {least} to {most} starve a service of 40");
            assert!(most <= 80, "{settings:?} from {begin}: {least} to {most} are too many for a service of 40");
        }
    }
}

#[test]
fn a_limit_that_goes_by_drops_settles_where_calls_begin_to_time_out() {
    let service = Service { workers: 40, millis: 20.0, timeout_millis: 50.0 };
    let limits = service.settle(&mut Course::new(Adaptive::aimd().max(1000), 1), 2_000);
    assert!(limits.iter().all(|limit| (80..=101).contains(limit)), "{limits:?}");
}

#[test]
fn a_limit_follows_a_service_that_becomes_slower_and_recovers_with_it() {
    for settings in [Adaptive::default(), Adaptive::vegas()] {
        let mut course = Course::new(settings.clone().max(1000), 25);
        let fast = Service { workers: 40, millis: 20.0, timeout_millis: 500.0 };
        fast.settle(&mut course, 500);
        // One worker in ten is left: calls that wait for the others time out.
        let broken = Service { workers: 4, millis: 100.0, timeout_millis: 500.0 };
        let limits = broken.settle(&mut course, 500);
        assert!(limits.iter().all(|limit| *limit <= 25), "{settings:?}: {limits:?}");
        let limits = fast.settle(&mut course, 1_000);
        assert!(limits.iter().all(|limit| *limit >= 30), "{settings:?}: {limits:?}");
    }
}

#[test]
fn a_few_drops_are_tolerated_and_more_are_not() {
    for settings in every_algorithm() {
        let mut course = Course::new(settings.clone(), 50);
        course.update(&window(980, 20, 50, 20.0));
        assert!(course.limit() >= 50, "{settings:?}: two in a hundred are tolerated");
        let before = course.limit();
        course.update(&window(970, 30, before, 20.0));
        assert!(course.limit() < before, "{settings:?}: three are not");
    }
}

#[test]
fn other_bounds_move_the_limit_no_further_than_they_must() {
    let mut course = Course::new(Adaptive::default(), 50);
    course.steer(Adaptive::default().max(20));
    assert_eq!(course.limit(), 20);
    course.steer(Adaptive::default().min(10));
    assert_eq!(course.limit(), 20);
    course.steer(Adaptive::aimd());
    assert_eq!(course.limit(), 20, "also with another algorithm");
}

#[test]
fn the_defaults_are_as_documented() {
    let Adaptive { algorithm, min, max, window, min_samples, drop_tolerance } = Adaptive::default();
    assert_eq!(algorithm, Algorithm::Correlation(Correlation { long_window: 60, alpha: 3.0, beta: 6.0 }));
    assert_eq!((min, max, window, min_samples, drop_tolerance), (1, 200, SECOND, 10, 0.02));
    assert_eq!(Aimd::default(), Aimd { backoff: 0.9 });
    assert_eq!(Vegas::default(), Vegas { alpha: 3.0, beta: 6.0, epoch: 300 });
    let gradient2 = Gradient2 { queue: 4, smoothing: 0.2, long_window: 600 };
    assert_eq!(Gradient2::default(), gradient2);
}

#[test]
fn nonsense_is_refused_with_the_settings_name() {
    let refused = |settings: Adaptive| settings.validate(1_000_000).unwrap_err().setting().to_owned();
    for settings in every_algorithm() {
        assert_eq!(settings.validate(1_000_000), Ok(()));
        assert_eq!(refused(settings.clone().max(0)), "bulkhead.adaptive.max");
        assert_eq!(refused(settings.clone().min(0)), "bulkhead.adaptive.min");
        assert_eq!(refused(settings.clone().min(201)), "bulkhead.adaptive.min");
        assert_eq!(refused(settings.clone().window(Duration::ZERO)), "bulkhead.adaptive.window");
        assert_eq!(refused(settings.clone().min_samples(0)), "bulkhead.adaptive.min_samples");
        assert_eq!(refused(settings.drop_tolerance(f64::NAN)), "bulkhead.adaptive.drop_tolerance");
    }
    let by = |algorithm| refused(Adaptive::by(algorithm));
    assert_eq!(by(Algorithm::Aimd(Aimd { backoff: 1.0 })), "bulkhead.adaptive.algorithm.aimd.backoff");
    let vegas = Vegas { beta: 1.0, ..Vegas::default() };
    assert_eq!(by(Algorithm::Vegas(vegas)), "bulkhead.adaptive.algorithm.vegas.beta");
    let gradient2 = Gradient2 { smoothing: 0.0, ..Gradient2::default() };
    assert_eq!(by(Algorithm::Gradient2(gradient2)), "bulkhead.adaptive.algorithm.gradient2.smoothing");
    let correlation = Correlation { alpha: f64::NAN, ..Correlation::default() };
    assert_eq!(by(Algorithm::Correlation(correlation)), "bulkhead.adaptive.algorithm.correlation.alpha");
}

prop_compose! {
    fn any_window()(
        successes in prop_oneof![Just(0), 0..5_000_u64],
        drops in prop_oneof![3 => Just(0), 1 => 0..500_u64],
        inside in 0..1_500_u32,
        mean in 0..10_000_000_000_u64,
        high in 0..100_000_000_000_u64,
        lasted in 0..10_000_000_000_u64,
    ) -> Window {
        let [mean, high, lasted] = [mean, high, lasted].map(Duration::from_nanos);
        Window { lasted, successes, drops, inside, mean, high }
    }
}

proptest! {
    #[test]
    fn over_any_trace_a_limit_stays_in_its_bounds_and_never_grows_unused_or_under_drops(
        which in 0..4_usize,
        (min, max) in (1..50_usize, 50..1_000_usize),
        begin in 0..2_000_usize,
        trace in prop::collection::vec(any_window(), 1..300),
    ) {
        let settings = every_algorithm()[which].clone().min(min).max(max);
        let mut course = Course::new(settings.clone(), begin);
        for window in trace {
            let before = course.limit();
            let change = course.update(&window);
            let after = course.limit();
            prop_assert!((min..=max).contains(&(after as usize)), "{after}");
            prop_assert_eq!(change.is_some(), before != after);
            if after > before {
                prop_assert!(f64::from(window.inside) >= 0.8 * f64::from(before), "{} of {}", window.inside, before);
                prop_assert!(window.drops as f64 <= 0.02 * (window.successes + window.drops) as f64);
            }
            if window.successes + window.drops == 0 {
                prop_assert_eq!(after, before);
            }
        }
    }
}
