//! The circuit breaker, in dialogue.

mod keyed;
mod ramp;
mod settings;

use std::{task::Poll, time::Duration};

use buttress::{
    BoxError, Cause, CircuitBreakerLayer, Outcome, Reason, Rejection,
    circuit_breaker::{ChangeReason, CircuitBreaker, CircuitBreakerConfig, State, WhenOpen, Window},
};
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower_test::{assert_request_eq, mock};
use tracing_subscriber::filter::LevelFilter;

use crate::support::events::Events;

type Mock = mock::Spawn<
    buttress::circuit_breaker::CircuitBreakerService<mock::Mock<&'static str, &'static str>, buttress::protocol::Plain>,
>;
type Handle = mock::Handle<&'static str, &'static str>;

fn breaker(configure: impl FnOnce(CircuitBreakerLayer) -> CircuitBreakerLayer) -> (Mock, Handle, CircuitBreaker) {
    let layer = configure(CircuitBreakerLayer::new("lookup").open_for(Duration::from_secs(10)));
    let (service, handle) = mock::spawn_layer(layer.clone());
    (service, handle, layer.handle())
}

fn two_in_a_row(layer: CircuitBreakerLayer) -> CircuitBreakerLayer {
    layer.no_failure_rate().consecutive_failures(2).half_open_successes(2)
}

/// One call whose service answers like this.
async fn call(service: &mut Mock, handle: &mut Handle, answer: Result<&'static str, &'static str>) {
    assert_ready_ok!(service.poll_ready());
    let mut response = task::spawn(service.call("?"));
    match answer {
        Ok(answer) => {
            assert_request_eq!(handle, "?").send_response(answer);
            assert_eq!(assert_ready_ok!(response.poll()), answer);
        }
        Err(error) => {
            assert_request_eq!(handle, "?").send_error(error);
            assert_ready_err!(response.poll());
        }
    }
}

fn refusal(service: &mut Mock) -> Rejection {
    assert_ready_ok!(service.poll_ready());
    let error: BoxError = assert_ready_err!(task::spawn(service.call("?")).poll());
    Rejection::find(&error).expect("a rejection").clone()
}

#[tokio::test(start_paused = true)]
async fn opens_probes_and_closes() {
    let (mut service, mut handle, breaker) = breaker(two_in_a_row);
    handle.allow(4);
    let mut changes = breaker.subscribe();

    call(&mut service, &mut handle, Err("down")).await;
    call(&mut service, &mut handle, Err("down")).await;
    assert_eq!(breaker.state(), State::Open);
    let opened = changes.next().await.unwrap();
    assert_eq!(opened.reason, ChangeReason::ConsecutiveFailures { failures: 2, last: Cause::Error });
    let open_for = opened.open_for.unwrap();
    assert!((Duration::from_secs(5)..=Duration::from_secs(10)).contains(&open_for), "{open_for:?}");

    let rejection = refusal(&mut service);
    assert_eq!((rejection.policy(), rejection.name().as_str()), ("circuit_breaker", "lookup"));
    assert_eq!(rejection.reason(), Reason::CircuitOpen);
    assert_eq!(rejection.retry_after(), Some(open_for));

    advance(open_for).await;
    call(&mut service, &mut handle, Ok("up")).await;
    assert_eq!(breaker.state(), State::HalfOpen);
    call(&mut service, &mut handle, Ok("up")).await;
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(changes.next().await.unwrap().to, State::HalfOpen);
    assert_eq!(changes.next().await.unwrap().to_string(), "HalfOpen -> Closed (2 probes succeeded)");
    assert_eq!((breaker.snapshot().refused, breaker.snapshot().opened), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_failed_probe_opens_again_for_twice_as_long() {
    let (mut service, mut handle, breaker) = breaker(two_in_a_row);
    handle.allow(9);
    call(&mut service, &mut handle, Err("down")).await;
    call(&mut service, &mut handle, Err("down")).await;
    for doubled in [20, 40, 60, 60] {
        advance(breaker.snapshot().open_for.unwrap()).await;
        call(&mut service, &mut handle, Err("still down")).await;
        let open_for = breaker.snapshot().open_for.unwrap();
        assert!((Duration::from_secs(doubled / 2)..=Duration::from_secs(doubled)).contains(&open_for), "{open_for:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn refuses_without_asking_a_service_that_is_not_ready() {
    let (mut service, mut handle, breaker) = breaker(two_in_a_row);
    handle.allow(0);
    assert_pending!(service.poll_ready());
    breaker.force_open();
    assert_eq!(refusal(&mut service).retry_after(), None);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_was_promised_is_kept_even_if_the_breaker_closes_in_between() {
    let (mut service, mut handle, breaker) = breaker(two_in_a_row);
    handle.allow(0);
    breaker.force_open();
    assert_ready_ok!(service.poll_ready());
    breaker.force_closed();
    // The inner service was never made ready, so it must not be called.
    assert_ready_err!(task::spawn(service.call("?")).poll());
    assert_pending!(service.poll_ready());
}

#[tokio::test(start_paused = true)]
async fn an_outcome_of_an_earlier_state_is_not_counted() {
    let (mut service, mut handle, breaker) = breaker(two_in_a_row);
    handle.allow(4);
    assert_ready_ok!(service.poll_ready());
    let mut late = task::spawn(service.call("?"));
    let late_request = assert_request_eq!(handle, "?");
    assert_ready_ok!(service.poll_ready());
    let mut later = task::spawn(service.call("?"));
    let later_request = assert_request_eq!(handle, "?");

    call(&mut service, &mut handle, Err("down")).await;
    call(&mut service, &mut handle, Err("down")).await;
    assert_eq!(breaker.state(), State::Open);
    advance(Duration::from_secs(10)).await;

    // Two calls of the closed state fail and succeed while the breaker is open: neither is a probe.
    late_request.send_error("down");
    assert_ready_err!(late.poll());
    later_request.send_response("up");
    assert_ready_ok!(later.poll());
    assert_eq!(breaker.state(), State::Open);
    assert_eq!(breaker.snapshot().probes_succeeded, 0);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_probe_gives_its_place_back_ten_thousand_times() {
    let (mut service, mut handle, breaker) = breaker(|layer| two_in_a_row(layer).half_open_calls(3));
    handle.allow(u64::MAX >> 1);
    call(&mut service, &mut handle, Err("down")).await;
    call(&mut service, &mut handle, Err("down")).await;
    advance(Duration::from_secs(10)).await;
    for _ in 0..10_000 {
        assert_ready_ok!(service.poll_ready());
        let probe = task::spawn(service.call("?"));
        let request = assert_request_eq!(handle, "?");
        assert_eq!(breaker.snapshot().probes_in_flight, 1);
        drop((probe, request));
    }
    assert_eq!(breaker.state(), State::HalfOpen);
    assert_eq!(breaker.snapshot().cancelled, 10_000);

    // None is missing, and there is none too many.
    let mut probes = Vec::new();
    for _ in 0..3 {
        assert_ready_ok!(service.poll_ready());
        probes.push(service.call("?"));
    }
    assert_eq!(refusal(&mut service).reason(), Reason::CircuitOpen);
    assert_eq!(breaker.snapshot().probes_in_flight, 3);
}

#[tokio::test(start_paused = true)]
async fn a_hung_probe_is_written_off_as_failed() {
    let (mut service, mut handle, breaker) = breaker(|layer| {
        two_in_a_row(layer).half_open_calls(1).half_open_successes(1).half_open_for(Duration::from_secs(3))
    });
    handle.allow(4);
    call(&mut service, &mut handle, Err("down")).await;
    call(&mut service, &mut handle, Err("down")).await;
    advance(Duration::from_secs(10)).await;
    assert_ready_ok!(service.poll_ready());
    let mut hung = task::spawn(service.call("?"));
    let request = assert_request_eq!(handle, "?");
    advance(Duration::from_secs(3)).await;
    let mut changes = breaker.subscribe();
    refusal(&mut service);
    let expected = ChangeReason::ProbesFailed { failures: 1, probes: 1, last: Cause::Hung };
    assert_eq!(changes.next().await.unwrap().reason, expected);

    // It comes back after all, and changes nothing.
    request.send_response("up");
    assert_ready_ok!(hung.poll());
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn after_ten_thousand_successes_fifty_failures_open_a_window_of_a_hundred() {
    let breaker = CircuitBreaker::new("lookup");
    for _ in 0..10_000 {
        breaker.try_acquire().unwrap().success();
    }
    for failures in 1..=50 {
        assert_eq!(breaker.state(), State::Closed, "after {failures} failures");
        breaker.try_acquire().unwrap().failure();
    }
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_success_that_completes_the_evidence_opens_it_and_the_last_failure_is_told() {
    let layer = CircuitBreakerLayer::new("lookup").minimum_calls(3);
    let breaker = layer.handle();
    let mut changes = breaker.subscribe();
    for _ in 0..2 {
        breaker.try_acquire().unwrap().record(Outcome::failure(Cause::TimedOut), Duration::ZERO);
    }
    breaker.try_acquire().unwrap().success();
    let reason = changes.next().await.unwrap().reason;
    assert_eq!(reason, ChangeReason::FailureRate { failures: 2, calls: 3, last: Cause::TimedOut });
}

#[tokio::test(start_paused = true)]
async fn slow_calls_open_it() {
    let (mut service, mut handle, breaker) =
        breaker(|layer| layer.slow_calls(Duration::from_secs(1), 1.0).minimum_calls(2));
    handle.allow(2);
    for _ in 0..2 {
        assert_eq!(breaker.state(), State::Closed);
        assert_ready_ok!(service.poll_ready());
        let mut response = task::spawn(service.call("?"));
        advance(Duration::from_millis(1_001)).await;
        assert_request_eq!(handle, "?").send_response("at last");
        assert_ready_ok!(response.poll());
    }
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_servers_wish_to_be_left_alone_is_granted_up_to_the_maximum() {
    for (asked, granted) in [(30, 30), (3_600, 60)] {
        let layer = CircuitBreakerLayer::new("lookup").consecutive_failures(1).classify(
            move |result: Result<&(), &BoxError>| match result {
                Ok(()) => Outcome::Success,
                Err(_) => Outcome::FAILURE.or_retry_after(|| Some(Duration::from_secs(asked))),
            },
        );
        let service =
            tower::ServiceBuilder::new().layer(layer.clone()).service_fn(async |()| Err::<(), BoxError>("busy".into()));
        tower::ServiceExt::oneshot(service, ()).await.unwrap_err();
        assert_eq!(layer.handle().snapshot().open_for, Some(Duration::from_secs(granted)));
    }
}

#[tokio::test(start_paused = true)]
async fn pausing_makes_the_service_unready_and_wakes_it_for_a_probe() {
    let (mut service, mut handle, breaker) = breaker(|layer| two_in_a_row(layer).when_open(WhenOpen::Pause));
    handle.allow(u64::MAX >> 1);
    call(&mut service, &mut handle, Err("down")).await;
    call(&mut service, &mut handle, Err("down")).await;
    assert_pending!(service.poll_ready());
    let open_for = breaker.snapshot().open_for.unwrap();
    advance(open_for + Duration::from_millis(1)).await;
    assert!(service.is_woken());
    assert_ready_ok!(service.poll_ready());
    assert_eq!(breaker.snapshot().probes_in_flight, 1);

    // What poll_ready reserved is given back with the service.
    drop(service);
    assert_eq!(breaker.snapshot().probes_in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_paused_call_is_woken_by_hand() {
    let layer = CircuitBreakerLayer::new("lookup").when_open(WhenOpen::Pause);
    let (mut service, mut handle) = mock::spawn_layer::<&str, &str, _>(layer.clone());
    handle.allow(1);
    layer.handle().force_open();
    assert_pending!(service.poll_ready());
    layer.handle().force_closed();
    assert!(service.is_woken());
    assert_ready_ok!(service.poll_ready());
}

#[tokio::test(start_paused = true)]
async fn paused_calls_get_the_probes_that_others_give_back() {
    let breaker = CircuitBreaker::with_config("lookup", {
        let mut config = CircuitBreakerConfig::default();
        config.consecutive_failures = Some(1);
        config.half_open_calls = 1;
        config
    })
    .unwrap();
    breaker.try_acquire().unwrap().failure();
    advance(Duration::from_secs(5)).await;
    let probe = breaker.try_acquire().unwrap();
    let mut waiting = task::spawn(breaker.acquire());
    assert_pending!(waiting.poll());
    probe.ignore();
    assert!(waiting.is_woken());
    let Poll::Ready(probe) = waiting.poll() else { panic!("still waiting") };
    drop(waiting);
    let mut waiting = task::spawn(breaker.acquire());
    assert_pending!(waiting.poll());
    drop(probe);
    assert!(waiting.is_woken());
    assert!(waiting.poll().is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_shadow_refuses_nothing_and_says_what_it_would_have_done() {
    let (mut service, mut handle, breaker) = breaker(two_in_a_row);
    handle.allow(4);
    breaker.shadow();
    let mut changes = breaker.subscribe();
    for _ in 0..3 {
        call(&mut service, &mut handle, Err("down")).await;
    }
    assert_eq!(breaker.state(), State::Shadow);
    assert_eq!(breaker.snapshot().would_be, State::Open);
    let change = changes.next().await.unwrap();
    assert!(change.shadow);
    assert!(change.to_string().starts_with("shadow: Closed -> Open (2 failed in a row"), "{change}");
    breaker.reset();
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn disabled_lets_all_through_and_counts_nothing() {
    let (mut service, mut handle, breaker) = breaker(two_in_a_row);
    handle.allow(5);
    breaker.disable();
    for _ in 0..5 {
        call(&mut service, &mut handle, Err("down")).await;
    }
    assert_eq!(breaker.state(), State::Disabled);
    breaker.force_closed();
    assert_eq!(breaker.snapshot().calls, 0);
}

#[tokio::test(start_paused = true)]
async fn other_settings_keep_what_was_counted_and_another_window_starts_empty() {
    let layer = CircuitBreakerLayer::new("lookup");
    let breaker = layer.handle();
    for _ in 0..15 {
        breaker.try_acquire().unwrap().failure();
    }
    let layer = layer.minimum_calls(16);
    assert_eq!(breaker.snapshot().failures, 15);
    breaker.try_acquire().unwrap().failure();
    assert_eq!(breaker.state(), State::Open);

    breaker.reset();
    let before = breaker.try_acquire().unwrap();
    let _layer = layer.window(Window::time(Duration::from_secs(10)));
    before.failure();
    assert_eq!(breaker.snapshot().calls, 0);
    breaker.try_acquire().unwrap().failure();
    assert_eq!(breaker.snapshot().calls, 1);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_can_be_given_sixteen_windows() {
    let breaker = CircuitBreaker::new("lookup");
    let mut config = breaker.config();
    for calls in 1..=15 {
        config.window = Window::count(calls);
        breaker.reconfigure(config.clone()).unwrap();
    }
    config.window = Window::count(100);
    breaker.reconfigure(config.clone()).unwrap();
    config.window = Window::count(16);
    let error = breaker.reconfigure(config).unwrap_err();
    assert_eq!(error.setting(), "circuit_breaker.window");
    assert_eq!(breaker.config().window, Window::count(100));
}

#[test]
fn nonsense_is_refused_with_the_settings_name_and_range() {
    type Nonsense = fn(CircuitBreakerLayer) -> CircuitBreakerLayer;
    let cases: [(&str, Nonsense); 11] = [
        ("failure_rate: NaN is not more than 0 and at most 1", |layer| layer.failure_rate(f64::NAN)),
        ("failure_rate: 0.0 is not", |layer| layer.failure_rate(0.0)),
        ("failure_rate: 1.1 is not", |layer| layer.failure_rate(1.1)),
        ("slow_calls.rate: -1.0 is not", |layer| layer.slow_calls(Duration::from_secs(1), -1.0)),
        ("slow_calls.longer_than: 0ns is not", |layer| layer.slow_calls(Duration::ZERO, 0.5)),
        ("window: 0 is not a number of calls from 1 to 65536", |layer| layer.window(Window::count(0))),
        ("window: 0ns is not a time from 1 s to 1 h", |layer| layer.window(Window::time(Duration::ZERO))),
        ("consecutive_failures: 0 is not at least 1", |layer| layer.consecutive_failures(0)),
        ("minimum_calls: 0 is not", |layer| layer.minimum_calls(0)),
        ("open_for: 18446744073709551615.999999999s is not", |layer| layer.open_for(Duration::MAX)),
        ("half_open_calls: 0 is not", |layer| layer.half_open_calls(0)),
    ];
    for (message, nonsense) in cases {
        let panic = std::panic::catch_unwind(|| nonsense(CircuitBreakerLayer::new("lookup"))).unwrap_err();
        let text = panic.downcast_ref::<String>().expect("a message");
        assert!(text.starts_with("invalid setting circuit_breaker."), "{text}");
        assert!(text.contains(message), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_window_forgets() {
    let layer = CircuitBreakerLayer::new("lookup").window(Window::time(Duration::from_secs(10))).minimum_calls(10);
    let breaker = layer.handle();
    let start = Instant::now();
    for _ in 0..9 {
        breaker.try_acquire().unwrap().failure();
    }
    advance(Duration::from_secs(10)).await;
    breaker.try_acquire().unwrap().failure();
    assert_eq!((breaker.state(), breaker.snapshot().calls), (State::Closed, 1));
    assert_eq!(start.elapsed(), Duration::from_secs(10));
}

#[test]
fn tells_of_changes_and_refusals_and_is_silent_otherwise() {
    let events = Events::at(LevelFilter::DEBUG);
    let layer = CircuitBreakerLayer::new("told").consecutive_failures(1);
    let breaker = layer.handle();
    breaker.try_acquire().unwrap().success();
    assert_eq!(events.take(), "", "neither setting up nor a call that went well is an event");

    breaker.try_acquire().unwrap().record(Outcome::failure(Cause::TimedOut), Duration::ZERO);
    let opened = events.take();
    assert!(opened.trim_start().starts_with("WARN"), "{opened}");
    assert!(opened.contains("Closed -> Open (1 failed in a row, last: timed out), next probe in "), "{opened}");
    assert!(opened.contains(r#"policy="circuit_breaker" name="told" from="closed" to="open""#), "{opened}");

    assert!(breaker.try_acquire().is_err());
    let refused = events.take();
    assert!(refused.trim_start().starts_with("DEBUG"), "{refused}");
    let fields = r#"call refused policy="circuit_breaker" name="told" reason="circuit_open" state="open""#;
    assert!(refused.contains(fields), "{refused}");

    breaker.force_closed();
    assert!(events.take().trim_start().starts_with("INFO"));
    breaker.reconfigure(breaker.config()).unwrap();
    assert!(events.take().contains("settings changed"));
}
