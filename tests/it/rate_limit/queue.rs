//! Calls that wait for their turn.

use buttress::Deadline;
use tokio::time::Instant;

use super::*;

/// One a second, and one at a time.
fn slow() -> RateLimitLayer {
    RateLimitLayer::new("slow").limit(1, SECOND).max_wait(10 * SECOND)
}

#[tokio::test(start_paused = true)]
async fn calls_wait_for_their_turn_in_the_order_in_which_they_came() {
    let (mut service, mut handle) = spawn(&slow());
    let mut calls = ["first", "second", "third"].map(|request| call!(service, request));
    for (turn, expected) in ["first", "second", "third"].into_iter().enumerate() {
        for call in &mut calls[turn..] {
            assert_pending!(call.poll());
        }
        assert_request_eq!(handle, expected).send_response("done");
        assert_pending!(handle.poll_request());
        assert_eq!(assert_ready_ok!(calls[turn].poll()), "done");
        advance(SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_of_many_waits_for_as_long_as_all_take_and_no_longer() {
    let limit = RateLimit::new("l");
    let mut config = limit.config();
    (config.limit, config.burst, config.max_wait) = (20, Some(1), 10 * SECOND);
    limit.reconfigure(config).unwrap();
    let started = Instant::now();
    let calls = (0..61).map(|_| async {
        limit.acquire().await.unwrap();
        started.elapsed()
    });
    let at = futures_util::future::join_all(calls).await;
    for (turn, at) in at.into_iter().enumerate() {
        assert_eq!(at, turn as u32 * SECOND / 20);
    }
    assert_eq!((limit.snapshot().waited, limit.snapshot().allowed, limit.snapshot().waiting), (60, 61, 0));
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_takes_nothing_along_and_all_behind_move_up() {
    let limit = slow().handle();
    limit.try_acquire().unwrap();
    let mut waits = [0; 3].map(|_| Some(task::spawn(limit.acquire())));
    for wait in waits.iter_mut().flatten() {
        assert_pending!(wait.poll());
    }
    assert_eq!(limit.try_acquire().unwrap_err().retry_after(), Some(4 * SECOND));
    waits[0] = None;
    assert_eq!((limit.snapshot().waiting, limit.try_acquire().unwrap_err().retry_after()), (2, Some(3 * SECOND)));
    assert!(waits[1].as_ref().unwrap().is_woken(), "it is the first now, and has to see to it");
    assert_pending!(waits[1].as_mut().unwrap().poll());
    advance(SECOND).await;
    assert_ready_ok!(waits[1].as_mut().unwrap().poll());
    // Between its turn and its noticing.
    advance(SECOND).await;
    waits[2] = None;
    assert_ready_ok!(task::spawn(limit.acquire()).poll(), "nothing was lost with it");
}

#[tokio::test(start_paused = true)]
async fn nobody_passes_those_who_wait() {
    let limit = RateLimitLayer::new("l").limit(10, SECOND).max_wait(SECOND).handle();
    limit.try_acquire_many(10).unwrap();
    let mut heavy = task::spawn(limit.acquire_many(5));
    assert_pending!(heavy.poll());
    advance(SECOND * 3 / 10).await;
    assert_eq!(limit.try_acquire().unwrap_err().retry_after(), Some(SECOND * 3 / 10), "three are there, for another");
    assert_eq!(limit.snapshot().available, 0);
    limit.try_acquire_many(0).unwrap();
    advance(SECOND * 2 / 10).await;
    assert_ready_ok!(heavy.poll());
}

#[tokio::test(start_paused = true)]
async fn who_would_wait_too_long_is_refused_at_once() {
    let limit = RateLimitLayer::new("l").limit(1, SECOND).max_wait(2 * SECOND).handle();
    limit.try_acquire().unwrap();
    let mut waits = [0; 2].map(|_| task::spawn(limit.acquire()));
    for wait in &mut waits {
        assert_pending!(wait.poll());
    }
    let refused = assert_ready_err!(task::spawn(limit.acquire()).poll());
    assert_eq!((refused.reason(), refused.retry_after()), (Reason::RateLimited, Some(3 * SECOND)));
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded() {
    let limit = slow().max_queue(2).handle();
    limit.try_acquire().unwrap();
    let mut waits = [0; 2].map(|_| task::spawn(limit.acquire()));
    for wait in &mut waits {
        assert_pending!(wait.poll());
    }
    assert_ready_err!(task::spawn(limit.acquire()).poll());
    drop(waits);
    assert_pending!(task::spawn(limit.acquire()).poll());
}

#[tokio::test(start_paused = true)]
async fn never_waits_until_the_deadline() {
    let limit = slow().handle();
    limit.try_acquire().unwrap();
    let too_early = Deadline::after(SECOND);
    let refused = too_early.sync_scope(|| assert_ready_err!(task::spawn(limit.acquire()).poll()));
    assert_eq!((refused.reason(), refused.retry_after()), (Reason::RateLimited, Some(SECOND)));
    let later = Deadline::after(SECOND + Duration::from_millis(1));
    later.scope(limit.acquire()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_layer_below_a_timeout_knows_its_deadline() {
    use buttress::TimeoutLayer;
    use tower::{ServiceBuilder, ServiceExt};

    let limit = slow();
    limit.handle().try_acquire().unwrap();
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new("t").within(SECOND / 2))
        .layer(limit)
        .service_fn(|()| async { Ok::<_, BoxError>(()) });
    let started = Instant::now();
    let error = service.oneshot(()).await.unwrap_err();
    assert_eq!(rejection(&error).reason(), Reason::RateLimited);
    assert_eq!(started.elapsed(), Duration::ZERO, "it didn't wait for what would come too late");
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_served_by_the_new_rate_sooner_or_refused_when_its_time_is_up() {
    let limit = slow().handle();
    limit.try_acquire().unwrap();
    let mut sooner = task::spawn(limit.acquire());
    assert_pending!(sooner.poll());
    let mut config = limit.config();
    config.limit = 10;
    limit.reconfigure(config.clone()).unwrap();
    assert!(sooner.is_woken());
    assert_ready_ok!(sooner.poll(), "of ten, one is used");

    (config.limit, config.max_wait) = (1, 3 * SECOND);
    limit.reconfigure(config.clone()).unwrap();
    let mut refused = task::spawn(limit.acquire());
    assert_pending!(refused.poll());
    config.per = 60 * SECOND;
    limit.reconfigure(config.clone()).unwrap();
    assert_pending!(refused.poll());
    advance(3 * SECOND).await;
    assert_eq!(assert_ready_err!(refused.poll()).reason(), Reason::RateLimited);
    assert_eq!(limit.snapshot().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_has_become_too_heavy_while_it_waited_is_refused() {
    let limit = RateLimitLayer::new("l").limit(10, SECOND).max_wait(SECOND).handle();
    limit.try_acquire_many(10).unwrap();
    let mut heavy = task::spawn(limit.acquire_many(10));
    let mut light = task::spawn(limit.acquire());
    assert_pending!(heavy.poll());
    assert_ready_err!(light.poll(), "it would wait for 1.1 s");
    let mut config = limit.config();
    config.burst = Some(5);
    limit.reconfigure(config).unwrap();
    assert!(heavy.is_woken());
    assert_eq!(assert_ready_err!(heavy.poll()).retry_after(), None);
    assert_eq!(limit.snapshot().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_with_the_instance_that_was_made_ready_for_it() {
    use crate::support::gate::Gate;

    let gate = Gate::open();
    let layer = slow();
    let mut service = layer.layer(gate.clone());
    let mut calls: Vec<_> = Vec::new();
    for request in 0..3 {
        std::future::poll_fn(|cx| Service::<usize>::poll_ready(&mut service, cx)).await.unwrap();
        calls.push(Service::<usize>::call(&mut service, request));
    }
    let answers = futures_util::future::join_all(calls).await;
    assert_eq!(answers.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(gate.calls(), 3);
}
