//! Who of those that queue comes in next: by age, by priority, by deadline.

use std::future::Future;

use buttress::{
    Deadline, Priority,
    bulkhead::{Caller, Priorities, QueueOrder},
};
use tokio::time::{Instant, advance};
use tokio_test::task::Spawn;

use super::*;

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(60);

/// One at a time, and the others wait.
fn lifo() -> Bulkhead {
    let order = QueueOrder::adaptive_lifo();
    BulkheadLayer::new("b").max_concurrent(1).max_wait(LONG).max_queue(100).order(order).handle()
}

/// Somebody who waits for a permit.
macro_rules! waits {
    ($bulkhead:expr) => {
        waits!($bulkhead, Caller::new())
    };
    ($bulkhead:expr, $caller:expr) => {{
        let mut waits = task::spawn($bulkhead.acquire_as($caller));
        assert_pending!(waits.poll());
        waits
    }};
}

fn why<F, T>(waits: &mut Spawn<F>) -> Reason
where
    F: Future<Output = Result<T, Rejection>>,
    T: std::fmt::Debug,
{
    assert!(waits.is_woken(), "it is told at once");
    assert_ready_err!(waits.poll()).reason()
}

// ===== adaptive LIFO =====

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_short_lived_is_served_first_come_first_served() {
    let bulkhead = lifo();
    let inside = bulkhead.try_acquire().unwrap();
    let (mut first, mut second) = (waits!(bulkhead), waits!(bulkhead));
    advance(50 * MS).await;
    drop(inside);
    let inside = assert_ready_ok!(first.poll());
    assert_pending!(second.poll());
    drop(inside);
    drop(assert_ready_ok!(second.poll()));
}

#[tokio::test(start_paused = true)]
async fn under_a_standing_queue_who_waited_twice_the_target_is_refused_and_the_newest_is_next() {
    let bulkhead = lifo();
    let inside = bulkhead.try_acquire().unwrap();
    let mut oldest = waits!(bulkhead);
    advance(50 * MS).await;
    let mut old = waits!(bulkhead);
    advance(51 * MS).await;
    // A hundred milliseconds with somebody who waited for more than five: now it stands, and this one sees it.
    let mut new = waits!(bulkhead);
    advance(101 * MS).await;
    let mut newer = waits!(bulkhead);
    for late in [&mut oldest, &mut old, &mut new] {
        assert_eq!(why(late), Reason::WaitExpired);
    }
    let mut newest = waits!(bulkhead);
    assert_eq!(counts(&bulkhead), (1, 2));
    drop(inside);
    assert!(newest.is_woken() && !newer.is_woken(), "newest first");
    drop(assert_ready_ok!(newest.poll()));
    drop(assert_ready_ok!(newer.poll()));
    assert_eq!(bulkhead.snapshot().rejected.wait_expired, 3);
    assert_eq!(counts(&bulkhead), (0, 0));
}

// ===== priorities =====

fn by_priority(limit: usize, max_queue: usize) -> Bulkhead {
    let layer = BulkheadLayer::new("b").max_concurrent(limit).max_wait(LONG).max_queue(max_queue);
    layer.priorities(Priorities::default()).handle()
}

fn of(priority: Priority) -> Caller<'static> {
    Caller::new().priority(priority)
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_served_by_class_and_within_a_class_in_turn() {
    let bulkhead = by_priority(1, 10);
    let inside = bulkhead.try_acquire().unwrap();
    use Priority::{Critical, CriticalPlus, Sheddable, SheddablePlus};
    let came = [Sheddable, SheddablePlus, Critical, CriticalPlus, Critical, Sheddable, CriticalPlus];
    let mut waiting: Vec<_> = came.iter().map(|priority| waits!(bulkhead, of(*priority))).collect();
    drop(inside);
    let mut served = Vec::new();
    for _ in 0..came.len() {
        let next = waiting.iter().position(Spawn::is_woken).expect("one at a time");
        served.push(next);
        drop(assert_ready_ok!(waiting[next].poll()));
    }
    assert_eq!(served, [3, 6, 2, 4, 1, 0, 5]);
    assert_eq!(counts(&bulkhead), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn from_a_full_queue_the_last_of_the_lowest_class_goes_for_a_higher_one() {
    let bulkhead = by_priority(1, 3);
    let _inside = bulkhead.try_acquire().unwrap();
    let mut critical = waits!(bulkhead, of(Priority::Critical));
    let mut early = waits!(bulkhead, of(Priority::Sheddable));
    let mut late = waits!(bulkhead, of(Priority::Sheddable));

    let refused = task::spawn(bulkhead.acquire_as(of(Priority::Sheddable))).poll();
    assert!(matches!(refused, Poll::Ready(Err(rejection)) if rejection.reason() == Reason::QueueFull), "no higher");
    let mut first = waits!(bulkhead, of(Priority::Critical));
    assert_eq!(why(&mut late), Reason::QueueFull);
    let mut second = waits!(bulkhead, of(Priority::CriticalPlus));
    assert_eq!(why(&mut early), Reason::QueueFull);
    let mut third = waits!(bulkhead, of(Priority::CriticalPlus));
    assert_eq!(why(&mut first), Reason::QueueFull, "of the critical ones the last that came");
    for waits in [&mut critical, &mut second, &mut third] {
        assert_pending!(waits.poll());
    }
    assert_eq!(bulkhead.snapshot().rejected.queue_full, 4);
    assert_eq!(counts(&bulkhead), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn an_evicted_call_that_is_dropped_before_it_knows_leaves_nothing_behind() {
    let bulkhead = by_priority(1, 1);
    let inside = bulkhead.try_acquire().unwrap();
    let evicted = waits!(bulkhead, of(Priority::Sheddable));
    let stays = waits!(bulkhead, of(Priority::Critical));
    drop(evicted);
    assert_eq!(counts(&bulkhead), (1, 1));
    drop(stays);
    drop(inside);
    assert_eq!(counts(&bulkhead), (0, 0));
}

#[test]
fn the_lower_classes_come_in_up_to_their_part_of_the_limit() {
    let bulkhead = by_priority(10, 1);
    let fill = |priority| {
        let permits: Vec<_> = std::iter::from_fn(|| bulkhead.try_acquire_as(of(priority)).ok()).collect();
        (permits.len(), permits)
    };
    let (sheddable, _inside) = fill(Priority::Sheddable);
    let (sheddable_plus, _inside_too) = fill(Priority::SheddablePlus);
    let (critical, _and_these) = fill(Priority::Critical);
    assert_eq!((sheddable, sheddable_plus, critical), (5, 3, 2));
    assert!(bulkhead.try_acquire_as(of(Priority::CriticalPlus)).is_err(), "never more than the limit");
    let lonely = by_priority(1, 1);
    assert!(lonely.try_acquire_as(of(Priority::Sheddable)).is_ok(), "a low limit shuts nobody out");
}

#[test]
fn the_defaults_are_as_documented() {
    let Priorities { sheddable_plus, sheddable, .. } = Priorities::default();
    assert_eq!((sheddable_plus, sheddable), (0.8, 0.5));
    assert_eq!(QueueOrder::default(), QueueOrder::Fifo);
    let folly = QueueOrder::AdaptiveLifo { target: 5 * MS, interval: 100 * MS };
    assert_eq!(QueueOrder::adaptive_lifo(), folly);
    let config = BulkheadConfig::default();
    assert_eq!((config.max_concurrent, config.max_wait, config.max_queue), (25, Duration::ZERO, 100));
    assert_eq!((config.when_full, config.order), (WhenFull::Reject, QueueOrder::Fifo));
    assert_eq!((config.adaptive, config.priorities, config.partitions), (None, None, Vec::new()));
    assert_eq!(Priority::default(), Priority::Critical);
}

// ===== deadlines =====

#[tokio::test(start_paused = true)]
async fn a_call_whose_deadline_passes_in_the_queue_leaves_it_at_once() {
    let bulkhead = BulkheadLayer::new("b").max_concurrent(1).max_wait(LONG).handle();
    let _inside = bulkhead.try_acquire().unwrap();
    let mut waits = task::spawn(Deadline::after(20 * MS).scope(bulkhead.acquire()));
    assert_pending!(waits.poll());
    advance(19 * MS).await;
    assert_pending!(waits.poll());
    advance(MS).await;
    assert_eq!(why(&mut waits), Reason::DeadlinePassed);
    assert_eq!(counts(&bulkhead), (1, 0));
    assert_eq!(bulkhead.snapshot().rejected.deadline_passed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_let_in_after_its_deadline_is_not_made_and_the_next_one_is() {
    let layer = BulkheadLayer::new("b").max_concurrent(1).max_wait(LONG);
    let (mut service, mut handle) = spawn(&layer);
    let first = call!(service, "first");
    assert_ready_ok!(service.poll_ready());
    let mut late = task::spawn(Deadline::after(20 * MS).sync_scope(|| service.call("late")));
    let mut next = call!(service, "next");
    assert_pending!(next.poll());
    // Let in in time, and asleep until it is too late.
    drop(first);
    advance(20 * MS).await;
    assert_eq!(reason(&assert_ready_err!(late.poll())), Reason::DeadlinePassed);
    assert_pending!(next.poll());
    assert_request_eq!(handle, "first");
    assert_request_eq!(handle, "next").send_response("done");
    assert_ready_ok!(next.poll());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_could_only_begin_after_its_deadline_does_not_queue() {
    let bulkhead = BulkheadLayer::new("b").max_concurrent(1).max_wait(LONG).handle();
    let _inside = bulkhead.try_acquire().unwrap();
    let passed = Deadline::at(Instant::now());
    let refused = passed.scope(bulkhead.acquire()).await;
    assert_eq!(refused.unwrap_err().reason(), Reason::DeadlinePassed);
}

// ===== nonsense =====

#[test]
#[should_panic(expected = "invalid setting bulkhead.order.interval: 5ms is not more than the target")]
fn an_interval_shorter_than_the_target_is_refused() {
    let _ = BulkheadLayer::new("b").order(QueueOrder::AdaptiveLifo { target: 5 * MS, interval: 5 * MS });
}

#[test]
#[should_panic(
    expected = "invalid setting bulkhead.when_full: a service that pauses waits before it knows the request"
)]
fn a_service_that_pauses_cannot_go_by_priority() {
    let _ = BulkheadLayer::new("b").when_full(WhenFull::Pause).priority(|_: &&str| Priority::Critical);
}
