//! Services that are not ready until they have a permit.

use super::*;

fn pausing(max_queue: usize) -> BulkheadLayer {
    BulkheadLayer::new("b").max_concurrent(1).max_queue(max_queue).when_full(WhenFull::Pause)
}

#[tokio::test(start_paused = true)]
async fn a_service_is_ready_when_it_has_a_permit() {
    let layer = pausing(8);
    let bulkhead = layer.handle();
    let (mut service, mut handle) = spawn(&layer);
    let mut first = call!(service, "first");
    assert_pending!(service.poll_ready());
    assert_eq!(counts(&bulkhead), (1, 1));
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_pending!(service.poll_ready(), "a pause lasts as long as it takes");

    assert_request_eq!(handle, "first").send_response("1");
    assert_ready_ok!(first.poll());
    assert!(service.is_woken());
    assert_ready_ok!(service.poll_ready());
    assert_eq!(counts(&bulkhead), (1, 0), "reserved");
    assert_ready_ok!(service.poll_ready(), "and not reserved twice");
    assert_eq!(counts(&bulkhead), (1, 0));

    let mut second = task::spawn(service.call("second"));
    assert_request_eq!(handle, "second").send_response("2");
    assert_ready_ok!(second.poll());
    assert_eq!(counts(&bulkhead), (0, 0), "spent, and given back");
}

#[tokio::test(start_paused = true)]
async fn a_clone_takes_its_own_turn() {
    let layer = pausing(8);
    let bulkhead = layer.handle();
    let (mut service, _handle) = spawn(&layer);
    assert_ready_ok!(service.poll_ready());
    let mut clone = mock::Spawn::new(service.get_ref().clone());
    assert_pending!(clone.poll_ready());
    drop(service);
    assert!(clone.is_woken());
    assert_ready_ok!(clone.poll_ready());
    assert_eq!(counts(&bulkhead), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_dropped_gives_back_what_it_has_reserved() {
    let layer = pausing(8);
    let bulkhead = layer.handle();
    let (mut reserved, _h1) = spawn(&layer);
    let (mut paused, _h2) = spawn(&layer);
    assert_ready_ok!(reserved.poll_ready());
    assert_pending!(paused.poll_ready());
    assert_eq!(counts(&bulkhead), (1, 1));
    drop(paused);
    assert_eq!(counts(&bulkhead), (1, 0), "it left the queue");
    drop(reserved);
    assert_eq!(counts(&bulkhead), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_dropped_at_the_moment_of_its_turn_gives_the_permit_to_the_next() {
    let layer = pausing(8);
    let (mut first, _h1) = spawn(&layer);
    let (mut second, _h2) = spawn(&layer);
    let permit = layer.handle().try_acquire().unwrap();
    assert_pending!(first.poll_ready());
    assert_pending!(second.poll_ready());
    drop(permit);
    assert!(first.is_woken() && !second.is_woken());
    drop(first);
    assert!(second.is_woken());
    assert_ready_ok!(second.poll_ready());
}

#[tokio::test(start_paused = true)]
async fn once_enough_are_paused_a_further_service_is_ready_and_refuses() {
    let layer = pausing(1);
    let bulkhead = layer.handle();
    let permit = bulkhead.try_acquire().unwrap();
    let (mut paused, _h1) = spawn(&layer);
    let (mut service, mut handle) = spawn(&layer);
    assert_pending!(paused.poll_ready());
    assert_eq!(reason(&assert_ready_err!(call!(service, "refused").poll())), Reason::QueueFull);
    assert_eq!(bulkhead.snapshot().rejected.queue_full, 1);

    assert_ready_ok!(service.poll_ready());
    drop(paused);
    assert_ready_ok!(service.poll_ready(), "who was ready stays ready");
    drop(permit);
    let mut call = task::spawn(service.call("lucky"));
    assert_request_eq!(handle, "lucky").send_response("came free by then");
    assert_ready_ok!(call.poll());
    assert_eq!(counts(&bulkhead), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_service_whose_inner_one_fails_keeps_no_permit() {
    let layer = pausing(8);
    let (mut service, mut handle) = spawn(&layer);
    handle.allow(0);
    assert_pending!(service.poll_ready());
    assert_eq!(counts(&layer.handle()), (1, 0), "the permit comes first");
    handle.send_error("gone");
    assert_eq!(assert_ready_err!(service.poll_ready()).to_string(), "gone");
    assert_eq!(counts(&layer.handle()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_service_can_be_told_to_pause_or_to_refuse_while_it_runs() {
    let layer = pausing(8);
    let bulkhead = layer.handle();
    let (mut service, mut handle) = spawn(&layer);
    let mut first = call!(service, "first");
    assert_pending!(service.poll_ready());
    let layer = layer.when_full(WhenFull::Reject);
    assert_pending!(service.poll_ready(), "who waits keeps its place");
    let (mut refusing, _h) = spawn(&layer);
    assert_ready_err!(call!(refusing, "refused").poll());

    assert_request_eq!(handle, "first").send_response("1");
    assert_ready_ok!(first.poll());
    assert_ready_ok!(service.poll_ready());
    let _layer = layer.when_full(WhenFull::Pause);
    assert_pending!(refusing.poll_ready());
    assert_eq!(counts(&bulkhead), (1, 1));
}
