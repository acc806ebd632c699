//! A limit that finds itself.

use buttress::{Cause, Outcome, bulkhead::Adaptive, protocol::ClassifyResult};
use tokio::time::{Instant, advance};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A second's worth of calls, all inside at once, that end in this way.
async fn second_of(bulkhead: &Bulkhead, calls: usize, took: Duration, outcome: Outcome) {
    let permits: Vec<_> = (0..calls).map_while(|_| bulkhead.try_acquire().ok()).collect();
    assert_eq!(permits.len(), calls);
    advance(took).await;
    permits.into_iter().for_each(|permit| permit.record(outcome));
    advance(SECOND.saturating_sub(took)).await;
}

fn limit(bulkhead: &Bulkhead) -> usize {
    bulkhead.snapshot().limit
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_used_grows_while_calls_take_no_longer() {
    let bulkhead = BulkheadLayer::new("b").max_concurrent(20).adaptive(Adaptive::default()).handle();
    for _ in 0..10 {
        second_of(&bulkhead, limit(&bulkhead), SECOND / 10, Outcome::Success).await;
    }
    assert!(limit(&bulkhead) >= 28, "{}", limit(&bulkhead));
}

#[tokio::test(start_paused = true)]
async fn constant_timeouts_take_it_down_to_the_minimum() {
    for adaptive in [Adaptive::default(), Adaptive::aimd(), Adaptive::vegas(), Adaptive::gradient2()] {
        let bulkhead = BulkheadLayer::new("b").max_concurrent(20).adaptive(adaptive.min(3)).handle();
        for _ in 0..200 {
            second_of(&bulkhead, limit(&bulkhead), SECOND * 5, Outcome::failure(Cause::TimedOut)).await;
        }
        assert_eq!(limit(&bulkhead), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_not_used_stays_where_it_is() {
    for adaptive in [Adaptive::default(), Adaptive::aimd(), Adaptive::vegas(), Adaptive::gradient2()] {
        let bulkhead = BulkheadLayer::new("b").max_concurrent(20).adaptive(adaptive.min_samples(1)).handle();
        for round in 0..500 {
            second_of(&bulkhead, 1, SECOND / (1 + round % 50), Outcome::Success).await;
            advance(SECOND * (round % 60)).await;
        }
        assert_eq!(limit(&bulkhead), 20);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_were_cancelled_count_for_nothing() {
    let bulkhead = BulkheadLayer::new("b").adaptive(Adaptive::aimd().min_samples(1)).handle();
    for _ in 0..100 {
        let permits: Vec<_> = (0..25).map(|_| bulkhead.try_acquire().unwrap()).collect();
        advance(SECOND).await;
        drop(permits);
    }
    assert_eq!(limit(&bulkhead), 25);
}

#[tokio::test(start_paused = true)]
async fn a_raised_limit_lets_in_who_waits() {
    let layer =
        BulkheadLayer::new("b").max_concurrent(2).max_wait(SECOND * 60).adaptive(Adaptive::aimd().min_samples(1));
    let (mut service, mut handle) = spawn(&layer);
    let mut calls = [call!(service, "1"), call!(service, "2"), call!(service, "3"), call!(service, "4")];
    assert_eq!(counts(&layer.handle()), (2, 2));
    advance(SECOND).await;
    assert_request_eq!(handle, "1").send_response("done");
    assert_ready_ok!(calls[0].poll());
    assert_eq!((limit(&layer.handle()), counts(&layer.handle())), (3, (3, 0)));
}

/// Everything of the layer: the outcome is the protocol's to say, and the latency goes to the end of the exchange.
#[tokio::test(start_paused = true)]
async fn learns_from_what_the_protocol_says_of_a_call() {
    fn overload<Res>(result: Result<&Res, &BoxError>) -> Outcome {
        if result.is_ok() { Outcome::Success } else { Outcome::overload(Cause::Error) }
    }
    fn judge<Res>() -> impl ClassifyResult<Res> + Copy {
        overload::<Res>
    }
    let bulkhead = BulkheadLayer::new("b").max_concurrent(10).adaptive(Adaptive::aimd().min_samples(1)).handle();
    let layer = BulkheadLayer::from_policy(bulkhead.clone(), Plain::new(judge::<&'static str>()));
    let (mut service, mut handle) = mock::spawn_with(|inner| layer.layer(inner));
    let mut answered = call!(service, "too much");
    advance(SECOND).await;
    assert_request_eq!(handle, "too much").send_error("overloaded");
    assert_ready_err!(answered.poll());
    assert_eq!(limit(&bulkhead), 9);
}

#[tokio::test(start_paused = true)]
async fn the_limit_is_learned_anew_only_when_another_beginning_is_asked_for() {
    let layer = BulkheadLayer::new("b").max_concurrent(10).adaptive(Adaptive::aimd());
    let bulkhead = layer.handle();
    for _ in 0..5 {
        second_of(&bulkhead, limit(&bulkhead), SECOND, Outcome::Success).await;
    }
    let learned = limit(&bulkhead);
    assert!(learned > 10);
    let layer = layer.max_queue(7);
    assert_eq!(limit(&bulkhead), learned, "another setting");
    let layer = layer.adaptive(Adaptive::aimd().max(learned - 1));
    assert_eq!(limit(&bulkhead), learned - 1, "another bound");
    let layer = layer.max_concurrent(5);
    assert_eq!(limit(&bulkhead), 5, "another beginning");
    let mut config = layer.handle().config();
    config.adaptive = None;
    config.max_concurrent = 8;
    bulkhead.reconfigure(config).unwrap();
    assert_eq!(limit(&bulkhead), 8, "a fixed limit again");
    second_of(&bulkhead, 8, SECOND * 3, Outcome::failure(Cause::TimedOut)).await;
    assert_eq!(limit(&bulkhead), 8);
}

#[tokio::test(start_paused = true)]
async fn the_time_a_permit_is_kept_for_a_call_is_not_the_calls() {
    let adaptive = Adaptive::default().min_samples(1);
    let layer = BulkheadLayer::new("b").max_concurrent(1).when_full(WhenFull::Pause).adaptive(adaptive);
    let (mut service, mut handle) = spawn(&layer);
    for _ in 0..40 {
        // Ready for a second, called for a millisecond: were that a latency that goes up and down, the limit would not grow.
        let began = Instant::now();
        assert_ready_ok!(service.poll_ready());
        advance(SECOND * fastrand::u32(1..20)).await;
        let mut call = task::spawn(service.call("now"));
        advance(Duration::from_millis(1)).await;
        assert_request_eq!(handle, "now").send_response("done");
        assert_ready_ok!(call.poll());
        assert!(began.elapsed() >= SECOND);
        if limit(&layer.handle()) > 1 {
            return;
        }
    }
    panic!("it never grew");
}

#[test]
fn tells_of_a_limit_that_has_moved_much_and_not_of_every_step() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let bulkhead = BulkheadLayer::new("told").max_concurrent(100).adaptive(Adaptive::aimd().max(1000)).handle();
        let events = Events::at(LevelFilter::DEBUG);
        for _ in 0..10 {
            second_of(&bulkhead, limit(&bulkhead), SECOND, Outcome::Success).await;
        }
        let told = events.take();
        assert_eq!(told.matches("limit moved").count(), 1, "{told}");
        assert!(told.contains(r#"name="told" before=100 after=110 reason=room"#), "{told}");
    });
}

#[test]
#[should_panic(expected = "invalid setting bulkhead.adaptive.min: 300 is not between 1 and bulkhead.adaptive.max")]
fn bounds_that_make_no_sense_are_refused() {
    let _ = BulkheadLayer::http("orders").adaptive(Adaptive::default().min(300));
}
