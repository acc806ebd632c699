//! Plain services, and work that is no service.

use std::{
    convert::Infallible,
    future::{pending, poll_fn, ready},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::Poll,
    time::Duration,
};

use buttress::{
    BoxError, Deadline, Elapsed, Reason, Rejection, TimeoutLayer,
    timeout::{Timeout, TimeoutConfig},
};
use futures_util::FutureExt;
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_test::{assert_request_eq, mock};

const MS: Duration = Duration::from_millis(1);

fn elapsed(error: &BoxError) -> Option<&Elapsed> {
    error.downcast_ref()
}

/// Counts itself for as long as it lives.
struct Alive(Arc<AtomicU32>);

impl Alive {
    fn new(count: &Arc<AtomicU32>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_the_time_is_up() {
    let layer = TimeoutLayer::new("lookup").within(200 * MS);
    let timeout = layer.handle();
    let (mut service, mut handle) = mock::spawn_layer::<_, &str, _>(layer);
    assert!(service.poll_ready().is_ready());
    let begun = Instant::now();
    let call = tokio::spawn(service.call("request"));
    let _never_answered = handle.next_request().await.unwrap();

    let error = call.await.unwrap().unwrap_err();
    assert_eq!(begun.elapsed(), 200 * MS);
    assert_eq!(elapsed(&error), Some(&Elapsed::new("lookup")));
    assert_eq!(error.to_string(), "lookup: request timed out");
    assert_eq!(Rejection::find(&error), None, "it may have been sent");
    let snapshot = timeout.snapshot();
    assert_eq!((snapshot.elapsed, snapshot.inherited, snapshot.refused), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn hands_answers_and_errors_on() {
    let (mut service, mut handle) = mock::spawn_layer(TimeoutLayer::new("lookup"));
    assert!(service.poll_ready().is_ready());
    let call = tokio::spawn(service.call("request"));
    assert_request_eq!(handle, "request").send_response("answer");
    assert_eq!(call.await.unwrap().unwrap(), "answer");

    assert!(service.poll_ready().is_ready());
    let call = tokio::spawn(service.call("request"));
    assert_request_eq!(handle, "request").send_error("broken");
    assert_eq!(call.await.unwrap().unwrap_err().to_string(), "broken");
}

#[tokio::test(start_paused = true)]
async fn waits_for_the_inner_service_to_get_ready_and_hands_its_error_on() {
    let (mut service, mut handle) = mock::spawn_layer::<&str, &str, _>(TimeoutLayer::new("lookup").within(MS));
    handle.allow(0);
    assert!(service.poll_ready().is_pending());
    sleep(10 * MS).await;
    assert!(service.poll_ready().is_pending(), "there is no call yet that could be late");
    handle.send_error("gone");
    match service.poll_ready() {
        Poll::Ready(Err(error)) => assert_eq!(error.to_string(), "gone"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn gives_an_answer_that_is_there_however_late() {
    let (mut service, mut handle) = mock::spawn_layer(TimeoutLayer::new("lookup").within(200 * MS));
    assert!(service.poll_ready().is_ready());
    let mut call = Box::pin(service.call("request"));
    assert!((&mut call).now_or_never().is_none());
    assert_request_eq!(handle, "request").send_response("answer");
    advance(300 * MS).await;
    assert_eq!(call.now_or_never().unwrap().unwrap(), "answer");
}

#[tokio::test(start_paused = true)]
async fn does_not_make_a_call_whose_deadline_has_passed() {
    let layer = TimeoutLayer::new("lookup");
    let timeout = layer.handle();
    let mut service = layer.layer(service_fn(|()| -> std::future::Ready<Result<(), BoxError>> { panic!("called") }));
    let late = Deadline::at(Instant::now()).scope(async { service.ready().await?.call(()).await });
    let error = late.await.unwrap_err();
    let rejection = Rejection::find(&error).unwrap();
    assert_eq!((rejection.policy(), rejection.name().as_str()), ("timeout", "lookup"));
    assert_eq!(rejection.reason(), Reason::DeadlinePassed);
    assert_eq!((timeout.snapshot().refused, timeout.snapshot().elapsed), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_inner_service_finds_the_deadline_when_it_is_called_and_when_it_is_polled() {
    let mut service = TimeoutLayer::new("lookup").within(200 * MS).layer(service_fn(|()| {
        let called = Deadline::current();
        async move { Ok::<_, Infallible>((called, Deadline::current())) }
    }));
    let deadline = Some(Deadline::after(200 * MS));
    assert_eq!(service.ready().await.unwrap().call(()).await.unwrap(), (deadline, deadline));
    assert_eq!(Deadline::current(), None, "and nobody else does");
}

#[tokio::test(start_paused = true)]
async fn of_two_timeouts_the_earlier_deadline_counts() {
    for (outer, inner, inherited) in [(300, 100, false), (100, 300, true), (100, 100, false)] {
        let mut service = ServiceBuilder::new()
            .layer(TimeoutLayer::new("total").within(outer * MS))
            .layer(TimeoutLayer::new("attempt").within(inner * MS))
            .service_fn(|()| pending::<Result<(), Infallible>>());
        let begun = Instant::now();
        let error = service.ready().await.unwrap().call(()).await.unwrap_err();
        assert_eq!(begun.elapsed(), 100 * MS);
        let expected = if inherited { Elapsed::inherited("attempt") } else { Elapsed::new("attempt") };
        assert_eq!(elapsed(&error), Some(&expected), "outer {outer} ms, inner {inner} ms");
        assert_eq!(expected.is_inherited(), inherited);
    }
}

#[tokio::test(start_paused = true)]
async fn what_lies_between_two_timeouts_learns_that_the_outer_time_ran_out() {
    let (total, attempt) = (TimeoutLayer::new("total").within(100 * MS), TimeoutLayer::new("attempt"));
    let (outer, inner) = (total.handle(), attempt.handle());
    let told = Arc::new(AtomicU32::new(0));
    let seen = told.clone();
    let mut service = ServiceBuilder::new()
        .layer(total)
        .map_err(move |error: BoxError| {
            seen.fetch_add(u32::from(error.is::<Elapsed>()), Ordering::SeqCst);
            error
        })
        .layer(attempt)
        .service_fn(|()| pending::<Result<(), Infallible>>());
    service.ready().await.unwrap().call(()).await.unwrap_err();
    assert_eq!(told.load(Ordering::SeqCst), 1);
    assert_eq!((inner.snapshot().elapsed, inner.snapshot().inherited), (1, 1));
    assert_eq!(outer.snapshot().elapsed, 0, "it is told once");
}

#[tokio::test(start_paused = true)]
async fn drops_the_inner_future_the_moment_the_time_is_up() {
    let count = Arc::new(AtomicU32::new(0));
    let alive = count.clone();
    let mut service = TimeoutLayer::new("lookup").within(100 * MS).layer(service_fn(move |()| {
        let alive = Alive::new(&alive);
        async move {
            pending::<()>().await;
            drop(alive);
            Ok::<_, Infallible>(())
        }
    }));
    let mut call = Box::pin(service.ready().await.unwrap().call(()));
    assert!((&mut call).now_or_never().is_none());
    assert_eq!(count.load(Ordering::SeqCst), 1);
    (&mut call).await.unwrap_err();
    assert_eq!(count.load(Ordering::SeqCst), 0, "though the response future is still held");

    let timeout = Timeout::with_config("report", within(100 * MS)).unwrap();
    let alive = Alive::new(&count);
    let mut run = Box::pin(timeout.run(async move {
        pending::<()>().await;
        drop(alive);
    }));
    (&mut run).await.unwrap_err();
    assert_eq!(count.load(Ordering::SeqCst), 0, "though the run is still held");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_drops_the_inner_future_and_is_not_counted() {
    let layer = TimeoutLayer::new("lookup").within(100 * MS);
    let timeout = layer.handle();
    let count = Arc::new(AtomicU32::new(0));
    let alive = count.clone();
    let mut service = layer.layer(service_fn(move |()| {
        let alive = Alive::new(&alive);
        async move {
            sleep(10 * MS).await;
            sleep(10 * MS).await;
            drop(alive);
            Ok::<_, Infallible>(())
        }
    }));
    for polled_for in [None, Some(0), Some(5), Some(15)] {
        let mut call = Box::pin(service.ready().await.unwrap().call(()));
        if let Some(millis) = polled_for {
            assert!((&mut call).now_or_never().is_none());
            sleep(millis * MS).await;
            assert!((&mut call).now_or_never().is_none());
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
        drop(call);
        assert_eq!(count.load(Ordering::SeqCst), 0, "dropped after {polled_for:?} ms");
    }
    sleep(200 * MS).await;
    assert_eq!(timeout.snapshot().elapsed, 0);
}

#[tokio::test(start_paused = true)]
async fn work_that_never_pauses_for_breath_is_cut_off_too() {
    let timeout = Timeout::with_config("report", within(100 * MS)).unwrap();
    let busy = tokio::spawn(timeout.run(async {
        loop {
            tokio::task::consume_budget().await;
        }
    }));
    tokio::task::yield_now().await;
    advance(101 * MS).await;
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(busy.is_finished(), "the timer starved");
    let ended: Result<Infallible, Elapsed> = busy.await.unwrap();
    assert_eq!(ended.unwrap_err(), Elapsed::new("report"));
}

#[tokio::test(start_paused = true)]
async fn runs_what_is_no_service() {
    let timeout = Timeout::with_config("report", within(100 * MS)).unwrap();
    assert_eq!(timeout.run(async { Deadline::current() }).await, Ok(Some(Deadline::after(100 * MS))));
    assert_eq!(timeout.run(sleep(99 * MS)).await, Ok(()));
    assert_eq!(timeout.run(sleep(101 * MS)).await, Err(Elapsed::new("report")));

    let outer = Deadline::after(10 * MS);
    let cut = outer.sync_scope(|| timeout.run(sleep(50 * MS)));
    assert_eq!(cut.await, Err(Elapsed::inherited("report")));
    let never = outer.sync_scope(|| timeout.run(poll_fn(|_| -> Poll<()> { panic!("polled") })));
    assert_eq!(never.await, Err(Elapsed::inherited("report")));
    let snapshot = timeout.snapshot();
    assert_eq!((snapshot.elapsed, snapshot.inherited, snapshot.refused), (2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_spawned_task_inherits_the_deadline_only_if_it_is_carried_there() {
    let deadline = Deadline::after(100 * MS);
    deadline
        .scope(async {
            assert_eq!(tokio::spawn(async { Deadline::current() }).await.unwrap(), None);
            let carried = Deadline::carry(async {
                tokio::task::yield_now().await;
                Deadline::current()
            });
            assert_eq!(tokio::spawn(carried).await.unwrap(), Some(deadline));
        })
        .await;
    assert_eq!(Deadline::carry(async { Deadline::current() }).await, None);
}

#[tokio::test(start_paused = true)]
async fn every_service_of_a_layer_and_its_clones_share_one_policy() {
    let layer = TimeoutLayer::new("lookup").within(100 * MS);
    let timeout = layer.handle();
    for _ in 0..20 {
        let mut service = layer.clone().layer(service_fn(|()| pending::<Result<(), Infallible>>()));
        service.ready().await.unwrap().call(()).await.unwrap_err();
    }
    assert_eq!(timeout.snapshot().elapsed, 20);
}

#[tokio::test(start_paused = true)]
async fn new_settings_hold_for_the_next_call() {
    let layer = TimeoutLayer::new("lookup").within(100 * MS);
    let timeout = layer.handle();
    let mut service = layer.layer(service_fn(|()| pending::<Result<(), Infallible>>()));
    let begun = Instant::now();
    let under_way = service.ready().await.unwrap().call(());
    timeout.reconfigure(within(300 * MS)).unwrap();
    under_way.await.unwrap_err();
    assert_eq!(begun.elapsed(), 100 * MS);
    service.ready().await.unwrap().call(()).await.unwrap_err();
    assert_eq!(begun.elapsed(), 400 * MS);
}

#[test]
fn settings_that_make_no_sense_leave_the_old_ones_in_force() {
    let timeout = Timeout::new("lookup");
    let error = timeout.reconfigure(within(Duration::ZERO)).unwrap_err();
    assert_eq!(error.to_string(), "invalid setting timeout.within: 0ns is not more than zero and at most a year");
    assert_eq!(timeout.config(), TimeoutConfig::default());
    assert_eq!(timeout.config().within, Duration::from_secs(5));
    assert!(Timeout::with_config("lookup", within(Duration::MAX)).is_err());
}

#[test]
#[should_panic(expected = "invalid setting timeout.within: 0ns is not more than zero and at most a year")]
fn no_time_at_all_panics_in_code() {
    let _ = TimeoutLayer::new("lookup").within(Duration::ZERO);
}

#[test]
#[should_panic(expected = "name must not be empty")]
fn a_policy_without_a_name_panics() {
    let _ = TimeoutLayer::http("");
}

#[test]
fn everything_can_be_sent_and_shared() {
    fn check<T: Send + Sync + Clone + std::fmt::Debug>(_: &T) {}
    let layer = TimeoutLayer::new("lookup");
    check(&layer);
    check(&layer.handle());
    check(&layer.layer(service_fn(ready::<Result<u32, Infallible>>)));
}

#[tokio::test(start_paused = true)]
async fn any_request_will_do() {
    struct Odd<'a>(&'a str);
    let text = String::from("borrowed and not even clonable");
    let mut service =
        TimeoutLayer::new("lookup").layer(service_fn(|odd: Odd<'_>| ready(Ok::<_, Infallible>(odd.0.len()))));
    assert_eq!(service.ready().await.unwrap().call(Odd(&text)).await.unwrap(), text.len());
}

fn within(within: Duration) -> TimeoutConfig {
    let mut config = TimeoutConfig::default();
    config.within = within;
    config
}
