//! Calls that queue for a permit.

use super::*;

const WAIT: Duration = Duration::from_millis(100);

fn queueing(max_queue: usize) -> BulkheadLayer {
    BulkheadLayer::new("b").max_concurrent(1).max_wait(WAIT).max_queue(max_queue)
}

#[tokio::test(start_paused = true)]
async fn calls_are_served_in_the_order_in_which_they_came() {
    let layer = queueing(8);
    let bulkhead = layer.handle();
    let (mut service, mut handle) = spawn(&layer);
    let mut first = call!(service, "first");
    let mut second = call!(service, "second");
    let mut third = call!(service, "third");
    assert_eq!(counts(&bulkhead), (1, 2));
    // Whoever asks first: the order is that of the calls.
    assert_pending!(third.poll());
    assert_pending!(second.poll());

    assert_request_eq!(handle, "first").send_response("1");
    assert_pending!(handle.poll_request());
    assert_ready_ok!(first.poll());
    assert!(second.is_woken() && !third.is_woken());
    assert_pending!(second.poll());
    assert_request_eq!(handle, "second").send_response("2");
    assert_eq!(assert_ready_ok!(second.poll()), "2");
    assert_pending!(third.poll());
    assert_request_eq!(handle, "third").send_response("3");
    assert_eq!(assert_ready_ok!(third.poll()), "3");
    assert_eq!(counts(&bulkhead), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn nobody_overtakes_a_call_that_was_let_in_and_has_not_noticed() {
    let layer = queueing(8);
    let (mut service, mut handle) = spawn(&layer);
    let first = call!(service, "first");
    let mut second = call!(service, "second");
    drop(first);
    let mut third = call!(service, "third");
    assert_pending!(third.poll());
    assert_pending!(second.poll());
    assert_request_eq!(handle, "first");
    assert_request_eq!(handle, "second").send_response("2");
    assert_ready_ok!(second.poll());
}

#[tokio::test(start_paused = true)]
async fn a_call_is_refused_when_it_has_waited_long_enough() {
    let layer = queueing(8);
    let bulkhead = layer.handle();
    let (mut service, mut handle) = spawn(&layer);
    let _first = call!(service, "first");
    let mut second = call!(service, "second");
    assert_pending!(second.poll());
    tokio::time::advance(WAIT - Duration::from_millis(1)).await;
    assert_pending!(second.poll());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(second.is_woken());
    assert_eq!(reason(&assert_ready_err!(second.poll())), Reason::WaitExpired);
    assert_eq!(counts(&bulkhead), (1, 0), "it left the queue at once");
    assert_eq!(bulkhead.snapshot().rejected.wait_expired, 1);
    assert_request_eq!(handle, "first");
    assert_pending!(handle.poll_request());
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_comes_with_the_end_of_the_wait_is_taken() {
    let layer = queueing(8);
    let (mut service, mut handle) = spawn(&layer);
    let first = call!(service, "first");
    let mut second = call!(service, "second");
    assert_pending!(second.poll());
    tokio::time::advance(WAIT).await;
    drop(first);
    assert_request_eq!(handle, "first");
    assert_pending!(second.poll());
    assert_request_eq!(handle, "second").send_response("2");
    assert_ready_ok!(second.poll());
    assert_eq!(counts(&layer.handle()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once() {
    let layer = queueing(2);
    let bulkhead = layer.handle();
    let (mut service, _handle) = spawn(&layer);
    let _first = call!(service, "first");
    let _second = call!(service, "second");
    let third = call!(service, "third");
    let mut fourth = call!(service, "fourth");
    assert_eq!(reason(&assert_ready_err!(fourth.poll())), Reason::QueueFull);
    assert_eq!(bulkhead.snapshot().rejected.queue_full, 1);

    drop(third);
    assert_pending!(call!(service, "fifth").poll(), "there is a place again");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_in_the_queue_leaves_it_at_once() {
    let layer = queueing(8);
    let bulkhead = layer.handle();
    let (mut service, mut handle) = spawn(&layer);
    let first = call!(service, "first");
    let mut polled = call!(service, "polled");
    assert_pending!(polled.poll());
    let never_polled = call!(service, "never polled");
    let mut last = call!(service, "last");
    assert_pending!(last.poll());
    assert_eq!(counts(&bulkhead), (1, 3));
    drop(polled);
    assert_eq!(counts(&bulkhead), (1, 2));
    drop(never_polled);
    assert_eq!(counts(&bulkhead), (1, 1));
    drop(first);
    assert!(last.is_woken());
    assert_pending!(last.poll());
    assert_request_eq!(handle, "first");
    assert_request_eq!(handle, "last");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_at_the_moment_it_is_let_in_gives_the_permit_to_the_next() {
    let layer = queueing(8);
    let bulkhead = layer.handle();
    let (mut service, mut handle) = spawn(&layer);
    let first = call!(service, "first");
    let mut second = call!(service, "second");
    let mut third = call!(service, "third");
    assert_pending!(second.poll());
    assert_pending!(third.poll());
    drop(first);
    assert!(second.is_woken() && !third.is_woken());
    drop(second);
    assert!(third.is_woken());
    assert_eq!(counts(&bulkhead), (1, 0));
    assert_pending!(third.poll());
    assert_request_eq!(handle, "first");
    assert_request_eq!(handle, "third");
    drop(third);
    assert_eq!(counts(&bulkhead), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_instance_that_was_made_ready_is_the_one_that_is_called() {
    // The gate panics when called unready, and a clone of it isn't ready.
    let layer = queueing(8);
    let gate = Gate::open();
    let mut service = mock::Spawn::new(layer.layer(gate.clone()));
    let permit = layer.handle().try_acquire().unwrap();
    let queued = [call!(service, 1), call!(service, 2), call!(service, 3)];
    drop(permit);
    for (call, expected) in queued.into_iter().zip(1..) {
        assert_eq!(call.into_inner().await.unwrap(), expected);
    }
    assert_eq!(call!(service, 4).into_inner().await.unwrap(), 4);
    assert_eq!((gate.calls(), gate.most()), (4, 1));
}

#[tokio::test(start_paused = true)]
async fn a_raised_limit_lets_in_who_waits() {
    let layer = queueing(8);
    let bulkhead = layer.handle();
    let (mut service, mut handle) = spawn(&layer);
    let _first = call!(service, "first");
    let mut second = call!(service, "second");
    let mut third = call!(service, "third");
    let mut fourth = call!(service, "fourth");
    for call in [&mut second, &mut third, &mut fourth] {
        assert_pending!(call.poll());
    }
    let _layer = layer.max_concurrent(3);
    assert_eq!(counts(&bulkhead), (3, 1));
    assert!(second.is_woken() && third.is_woken() && !fourth.is_woken());
    assert_pending!(second.poll());
    assert_pending!(third.poll());
    for expected in ["first", "second", "third"] {
        assert_request_eq!(handle, expected);
    }
    assert_pending!(handle.poll_request());
}

#[tokio::test(start_paused = true)]
async fn the_wait_can_be_changed_for_those_who_come_later() {
    let layer = queueing(8);
    let (mut service, _handle) = spawn(&layer);
    let _first = call!(service, "first");
    let mut second = call!(service, "second");
    let layer = layer.max_wait(Duration::ZERO);
    assert_eq!(reason(&assert_ready_err!(call!(service, "third").poll())), Reason::BulkheadFull);
    assert_pending!(second.poll());
    let _layer = layer.max_wait(WAIT / 2);
    let mut fourth = call!(service, "fourth");
    assert_pending!(fourth.poll());
    tokio::time::advance(WAIT / 2).await;
    assert_ready_err!(fourth.poll());
    assert_pending!(second.poll());
    tokio::time::advance(WAIT / 2).await;
    assert_ready_err!(second.poll());
}
