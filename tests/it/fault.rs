//! The fault layer: what goes wrong, with which call, and who sees it.

mod wire;

use std::time::Duration;

use buttress::{
    BoxError, Elapsed, FaultLayer, Rejection, TimeoutLayer,
    fault::{Fault, FaultConfig, Injected},
};
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt};
use tracing_subscriber::filter::LevelFilter;

use crate::support::{events::Events, script::Script};

const SECOND: Duration = Duration::from_secs(1);

type Echo = Script<fn(usize, &u32) -> Result<u32, BoxError>, u32>;

fn echo() -> Echo {
    Script::new(|_, request| Ok(*request))
}

/// Makes a call of a service that is ready at once the second time it is asked.
macro_rules! call {
    ($service:expr, $request:expr) => {{
        $service.ready().await.unwrap();
        task::spawn($service.call($request))
    }};
}

fn fault(error: &BoxError) -> Fault {
    Injected::find(error).unwrap_or_else(|| panic!("{error} isn't injected")).fault()
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_wrong_until_it_is_told_to() {
    let layer = FaultLayer::new("inventory");
    let config = layer.handle().config();
    assert_eq!((config.enabled, config.seed, config.script.clone()), (true, None, None));
    assert_eq!(
        [config.fail, config.fail_after, config.hang, config.drop_reply, config.break_body, config.delay],
        [0.0; 6]
    );
    assert_eq!((config.delay_for, config.status.as_u16()), (SECOND / 10, 500));
    let inner = echo();
    let service = layer.layer(inner.clone());
    for request in 0..1_000 {
        assert_eq!(service.clone().oneshot(request).await.unwrap(), request);
    }
    assert_eq!((inner.calls(), layer.handle().snapshot().calls), (1_000, 0));
}

#[tokio::test(start_paused = true)]
async fn a_script_is_followed_call_by_call_and_then_nothing_goes_wrong() {
    let layer = FaultLayer::new("inventory").script([
        Some(Fault::Fail),
        None,
        Some(Fault::FailAfter),
        Some(Fault::Delay(SECOND)),
        Some(Fault::Hang),
        Some(Fault::DropReply),
        Some(Fault::BreakBody),
    ]);
    let inner = echo();
    let mut service = layer.layer(inner.clone());

    let error = assert_ready_err!(call!(service, 0).poll());
    assert_eq!((fault(&error), error.to_string()), (Fault::Fail, "inventory: injected fault (fail)".to_owned()));
    assert!(Rejection::find(&error).is_none(), "it looks like the real thing");
    assert_eq!(inner.calls(), 0);
    assert_eq!(assert_ready_ok!(call!(service, 1).poll()), 1);
    assert_eq!(fault(&assert_ready_err!(call!(service, 2).poll())), Fault::FailAfter);
    assert_eq!(inner.calls(), 2, "the service did it");

    let mut late = call!(service, 3);
    assert_pending!(late.poll());
    assert_eq!(inner.calls(), 2);
    advance(SECOND).await;
    assert_eq!(assert_ready_ok!(late.poll()), 3);

    let mut hangs = call!(service, 4);
    let mut dropped = call!(service, 5);
    assert_pending!(dropped.poll());
    advance(1_000_000 * SECOND).await;
    assert_pending!(hangs.poll());
    assert_pending!(dropped.poll());
    assert_eq!(*inner.asked.lock().unwrap(), [1, 2, 3, 5], "the one did it, the other was never asked");

    assert_eq!(fault(&assert_ready_err!(call!(service, 6).poll())), Fault::BreakBody, "there is no body to break");
    for request in 7..100 {
        assert_eq!(assert_ready_ok!(call!(service, request).poll()), request);
    }
    let snapshot = layer.handle().snapshot();
    assert_eq!((snapshot.calls, snapshot.injected()), (100, 6));
    let counts = [snapshot.failed, snapshot.failed_after, snapshot.delayed, snapshot.hung, snapshot.replies_dropped];
    assert_eq!((counts, snapshot.bodies_broken), ([1; 5], 1));
}

#[tokio::test(start_paused = true)]
async fn the_services_own_failure_is_not_replaced() {
    let layer = FaultLayer::new("f").script([Fault::FailAfter, Fault::BreakBody]);
    let mut service = layer.layer(Script::new(|_, _: &u32| Err::<u32, BoxError>("broken".into())));
    for _ in 0..2 {
        assert_eq!(assert_ready_err!(call!(service, 0).poll()).to_string(), "broken");
    }
}

/// Which of a hundred calls fail.
async fn failing(layer: &FaultLayer) -> Vec<u32> {
    let service = layer.layer(echo());
    let mut failing = Vec::new();
    for request in 0..100 {
        if service.clone().oneshot(request).await.is_err() {
            failing.push(request);
        }
    }
    failing
}

#[tokio::test(start_paused = true)]
async fn a_seed_gives_the_same_faults_again() {
    let layer = || FaultLayer::new("f").seed(7).fail(0.3);
    let expected = failing(&layer()).await;
    assert!((15..45).contains(&expected.len()), "{expected:?}");
    let again = layer();
    assert_eq!(failing(&again).await, expected);
    assert_ne!(failing(&again).await, expected, "the next hundred");
    again.handle().restart();
    assert_eq!(failing(&again).await, expected);

    // One that was drawn can be read, and set.
    let drawn = FaultLayer::new("f").fail(0.3);
    println!("seed {}", drawn.handle().seed());
    let expected = failing(&drawn).await;
    assert_eq!(failing(&FaultLayer::new("f").seed(drawn.handle().seed()).fail(0.3)).await, expected);
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_spared_are_not_counted() {
    let layer = FaultLayer::new("f").script([Fault::Fail]).when(|request: &u32| *request > 10);
    let service = layer.layer(echo());
    for request in [1, 2, 10] {
        service.clone().oneshot(request).await.unwrap();
    }
    service.clone().oneshot(11).await.unwrap_err();
    service.clone().oneshot(12).await.unwrap();
    assert_eq!(layer.handle().snapshot().calls, 2);
}

#[tokio::test(start_paused = true)]
async fn all_is_changed_while_it_runs() {
    let layer = FaultLayer::new("f").fail(1.0);
    let (faults, service) = (layer.handle(), layer.layer(echo()));
    service.clone().oneshot(1).await.unwrap_err();
    faults.disable();
    service.clone().oneshot(1).await.unwrap();
    assert_eq!(faults.snapshot().calls, 1, "off, nothing is counted");
    faults.enable();
    service.clone().oneshot(1).await.unwrap_err();

    let mut config = FaultConfig::default();
    config.script = Some(vec![None, Some(Fault::Fail)]);
    faults.reconfigure(config.clone()).unwrap();
    service.clone().oneshot(1).await.unwrap();
    service.clone().oneshot(1).await.unwrap_err();
    config.fail = 2.0;
    assert_eq!(faults.reconfigure(config).unwrap_err().setting(), "fault.fail");
    faults.restart();
    service.clone().oneshot(1).await.unwrap();
    service.oneshot(1).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_at_any_point_leaves_nothing_behind() {
    for scripted in
        [Fault::Delay(SECOND), Fault::Fail, Fault::FailAfter, Fault::Hang, Fault::DropReply, Fault::BreakBody]
    {
        for polled in [false, true] {
            let mut service = FaultLayer::new("f").script([scripted]).layer(echo());
            let mut dropped = call!(service, 1);
            if polled {
                let _ = dropped.poll();
            }
            drop(dropped);
            assert_eq!(assert_ready_ok!(call!(service, 2).poll()), 2, "{scripted:?}, polled: {polled}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_further_out_ends_what_hangs_and_says_that_it_may_have_been_done() {
    for scripted in [Fault::Hang, Fault::DropReply] {
        let service =
            TimeoutLayer::new("t").within(SECOND).layer(FaultLayer::new("f").script([scripted]).layer(echo()));
        let started = Instant::now();
        let error = service.oneshot(1).await.unwrap_err();
        assert!(error.is::<Elapsed>(), "{error}");
        assert_eq!(started.elapsed(), SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn every_fault_is_an_event_that_says_how_to_have_it_again() {
    let events = Events::at(LevelFilter::TRACE);
    let layer = FaultLayer::new("inventory").seed(7).script([None, Some(Fault::DropReply)]);
    let mut service = layer.layer(echo());
    assert_ready_ok!(call!(service, 0).poll());
    assert_eq!(events.take(), "");
    assert_pending!(call!(service, 1).poll());
    let told = events.take();
    assert!(told.contains("INFO") && told.contains("name=\"inventory\" fault=\"drop_reply\" call=1 seed=7"), "{told}");
    layer.handle().disable();
    assert!(events.take().contains("settings changed"));
}

#[tokio::test(start_paused = true)]
async fn is_in_the_registry_with_a_line_for_people() {
    let layer = FaultLayer::new("faults to be listed").seed(7).fail(1.0);
    layer.layer(echo()).oneshot(1).await.unwrap_err();
    let found = buttress::registry::faults("faults to be listed").unwrap();
    let lines: Vec<_> = buttress::registry::policies().iter().map(ToString::to_string).collect();
    let expected = "fault faults to be listed: on, seed 7, 1 of 1 calls went wrong".to_owned();
    assert!(lines.contains(&expected), "{lines:?}");
    found.disable();
    layer.layer(echo()).oneshot(1).await.unwrap();
}

#[test]
#[should_panic(expected = "invalid setting fault.*: the shares are 1.25 together, which is more than 1")]
fn nonsense_in_code_panics_with_the_settings_name_and_range() {
    let _ = FaultLayer::new("f").fail(0.75).hang(0.5);
}
