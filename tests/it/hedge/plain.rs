//! Plain services: who wins, and when there is a hedge.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use buttress::{
    BoxError, Deadline, HedgeLayer, Reason, Rejection,
    budget::{Budget, BudgetConfig},
    hedge::{After, Careful, Hedge, HedgeConfig},
    protocol::Plain,
    registry,
    retry::Idempotent,
};
use tokio::time::{Instant, timeout};
use tower::{Layer, Service, ServiceExt};
use tracing_subscriber::filter::LevelFilter;

use super::{Course, MS};
use crate::support::events::Events;

type Answer = (Duration, Result<usize, BoxError>);

fn layer() -> HedgeLayer<Plain, Idempotent<Careful>> {
    HedgeLayer::new("test").idempotent().after(100 * MS)
}

fn good(after: u32, value: usize) -> Answer {
    (after * MS, Ok(value))
}

fn bad(after: u32, error: &'static str) -> Answer {
    (after * MS, Err(error.into()))
}

fn refused(after: u32) -> Answer {
    (after * MS, Err(Rejection::new("bulkhead", "below", Reason::BulkheadFull).into()))
}

#[tokio::test(start_paused = true)]
async fn the_first_good_answer_wins_and_the_loser_is_dropped() {
    let inner = Course::new(|call| if call == 0 { good(10_000, 0) } else { good(20, call) });
    let (layer, began) = (layer(), Instant::now());
    assert_eq!(layer.layer(inner.clone()).oneshot(7).await.unwrap(), 1);
    assert_eq!(inner.running(), 0);
    assert_eq!(inner.times(began), [0, 100]);
    assert_eq!(began.elapsed().as_millis(), 120);
    let snapshot = layer.handle().snapshot();
    assert_eq!((snapshot.hedged, snapshot.hedges, snapshot.won, snapshot.lost), (1, 1, 1, 0));

    let inner = Course::new(|call| if call == 0 { good(110, 0) } else { good(20, call) });
    assert_eq!(layer.layer(inner.clone()).oneshot(7).await.unwrap(), 0);
    assert_eq!((inner.calls(), inner.running()), (2, 0));
    let snapshot = layer.handle().snapshot();
    assert_eq!((snapshot.hedged, snapshot.hedges, snapshot.won, snapshot.lost), (2, 2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_loser_is_gone_before_the_answer_is_handed_on() {
    for winner in [0, 1] {
        let inner = Course::new(move |call| good(if call == winner { 150 } else { 10_000 }, call));
        let mut service = layer().layer(inner.clone());
        let mut call = Box::pin(service.ready().await.unwrap().call(7));
        assert_eq!((&mut call).await.unwrap(), winner);
        assert_eq!((inner.calls(), inner.running()), (2, 0), "the call is still there");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_time_is_not_hedged() {
    let inner = Course::new(|call| good(99, call));
    let layer = layer();
    assert_eq!(layer.layer(inner.clone()).oneshot(7).await.unwrap(), 0);
    assert_eq!((inner.calls(), layer.handle().snapshot().hedged), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn there_are_no_more_hedges_than_there_may_be_and_each_waits_for_its_turn() {
    for (most, times) in [(0, vec![0]), (1, vec![0, 100]), (3, vec![0, 100, 200, 300])] {
        let inner = Course::new(|_| good(1000, 0));
        let began = Instant::now();
        layer().max_hedges(most).layer(inner.clone()).oneshot(7).await.unwrap();
        assert_eq!(inner.times(began), times);
        assert_eq!((began.elapsed(), inner.running()), (1000 * MS, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_waits_for_the_other() {
    for failing in [0, 1] {
        let inner = Course::new(move |call| if call == failing { bad(150, "no luck") } else { good(300, call) });
        let layer = layer();
        assert_eq!(layer.layer(inner.clone()).oneshot(7).await.unwrap(), 1 - failing);
        let won = u64::from(failing == 0);
        assert_eq!((layer.handle().snapshot().won, layer.handle().snapshot().lost), (won, 1 - won));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_lets_the_hedge_go_at_once() {
    let inner = Course::new(|call| if call == 0 { bad(5, "no luck") } else { good(5, call) });
    let began = Instant::now();
    assert_eq!(layer().layer(inner.clone()).oneshot(7).await.unwrap(), 1);
    assert_eq!(inner.times(began), [0, 5]);
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_the_last_failure_is_handed_on() {
    let inner = Course::new(|call| bad(if call == 1 { 10 } else { 300 }, ["first", "second", "third"][call]));
    let began = Instant::now();
    let error = layer().max_hedges(2).layer(inner.clone()).oneshot(7).await.unwrap_err();
    // The second's failure at 110 made the third go, and the first failed before that did.
    assert_eq!(inner.times(began), [0, 100, 110]);
    assert_eq!(error.to_string(), "third");
}

#[tokio::test(start_paused = true)]
async fn what_the_user_calls_fatal_ends_the_race() {
    let inner = Course::new(|call| if call == 0 { good(1000, 0) } else { bad(10, "gone for good") });
    let layer = layer().non_fatal_if(|result: Result<&usize, &BoxError>| {
        result.is_err_and(|error| !error.to_string().contains("for good"))
    });
    let began = Instant::now();
    assert!(layer.layer(inner.clone()).oneshot(7).await.is_err());
    assert_eq!((began.elapsed(), inner.running()), (110 * MS, 0));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_call_drops_all_its_attempts() {
    let inner = Course::new(|_| good(100_000, 0));
    let layer = layer().max_hedges(3);
    let call = layer.layer(inner.clone()).oneshot(7);
    assert!(timeout(250 * MS, call).await.is_err());
    assert_eq!((inner.calls(), inner.running()), (3, 0));
    // It is neither won nor lost.
    let snapshot = layer.handle().snapshot();
    assert_eq!((snapshot.hedges, snapshot.won, snapshot.lost), (2, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_hedged_until_it_is_said_what_may_be_carried_out_twice() {
    let events = Events::at(LevelFilter::WARN);
    let inner = Course::new(|_| good(1000, 0));
    let layer = HedgeLayer::new("unsaid").after(100 * MS);
    for _ in 0..3 {
        layer.layer(inner.clone()).oneshot(7).await.unwrap();
    }
    assert_eq!(inner.calls(), 3);
    assert_eq!(events.take().matches("nothing is hedged").count(), 1);

    let layer = HedgeLayer::new("said").after(100 * MS).safe_when(|request: &u32| request.is_multiple_of(2));
    for request in [1, 2, 3] {
        layer.layer(inner.clone()).oneshot(request).await.unwrap();
    }
    assert_eq!(inner.calls(), 3 + 4);
    assert_eq!(events.take(), "");
}

#[tokio::test(start_paused = true)]
async fn an_empty_budget_holds_hedges_back_and_not_calls() {
    let events = Events::at(LevelFilter::DEBUG);
    let inner = Course::new(|_| good(1000, 0));
    // One token, and it never comes back.
    let layer = layer().budget(Budget::new(tokens(2)).unwrap());
    let service = layer.layer(inner.clone());
    layer.handle().budget().failed();
    service.clone().oneshot(1).await.unwrap();
    assert_eq!(inner.calls(), 1);
    assert_eq!(layer.handle().snapshot().held_back_budget, 1);
    let told = events.take();
    assert!(told.contains("WARN") && told.contains("hedge budget exhausted"), "{told}");
    assert!(told.contains("request not sent again") && told.contains("reason=\"budget\""), "{told}");

    // A failure that would have let a hedge go is handed on then.
    let inner = Course::new(|_| bad(10, "no luck"));
    assert_eq!(layer.layer(inner.clone()).oneshot(1).await.unwrap_err().to_string(), "no luck");
    assert_eq!(inner.calls(), 1);
}

fn tokens(max_tokens: u32) -> BudgetConfig {
    BudgetConfig::Tokens { max_tokens, token_ratio: 0.001 }
}

#[tokio::test(start_paused = true)]
async fn a_shared_budget_is_spent_and_not_filled() {
    let share = BudgetConfig::Share { ratio: 1.0, per_second: 1 };
    let fast = Course::new(|call| good(1, call));
    for (layer, available) in
        [(layer().budget(Budget::new(share).unwrap()), 15), (layer().share_budget(Budget::new(share).unwrap()), 10)]
    {
        let mut service = layer.layer(fast.clone());
        for _ in 0..5 {
            service.ready().await.unwrap().call(1).await.unwrap();
        }
        assert_eq!(layer.handle().budget().available(), available);
        layer.layer(Course::new(|call| good(200, call))).oneshot(1).await.unwrap();
        let filled = u64::from(available == 15);
        assert_eq!(layer.handle().budget().available(), available - 1 + filled);
    }
}

#[tokio::test(start_paused = true)]
async fn there_is_no_hedge_that_could_not_end_before_the_deadline() {
    for (left, calls) in [(100, 1), (101, 2)] {
        let inner = Course::new(|_| good(5000, 0));
        let layer = layer();
        let call = layer.layer(inner.clone()).oneshot(7);
        let _ = timeout(1000 * MS, Deadline::after(left * MS).scope(call)).await;
        assert_eq!(inner.calls(), calls);
        assert_eq!(layer.handle().snapshot().held_back_deadline, 2 - calls as u64);
    }
    // Half of the calls took 50 ms, so with less than that there is no point.
    let layer = layer().minimum_calls(10);
    let mut service = layer.layer(Course::new(|_| good(50, 0)));
    for _ in 0..10 {
        service.ready().await.unwrap().call(7).await.unwrap();
    }
    for (left, calls) in [(140, 1), (180, 2)] {
        let inner = Course::new(|_| good(5000, 0));
        let call = layer.layer(inner.clone()).oneshot(7);
        let _ = timeout(1000 * MS, Deadline::after(left * MS).scope(call)).await;
        assert_eq!(inner.calls(), calls, "{left}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hedge_that_is_refused_leaves_the_first_alone() {
    let inner = Course::new(|call| if call == 0 { good(500, 0) } else { refused(0) });
    let layer = layer().max_hedges(4);
    assert_eq!(layer.layer(inner.clone()).oneshot(7).await.unwrap(), 0);
    // And there is no other.
    assert_eq!((inner.calls(), layer.handle().snapshot().held_back_refused), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_a_rejection_only_if_nothing_was_sent() {
    let inner = Course::new(|_| refused(0));
    let error = layer().layer(inner.clone()).oneshot(7).await.unwrap_err();
    assert!(Rejection::find(&error).is_some());
    assert_eq!(inner.calls(), 1);

    let inner = Course::new(|call| if call == 0 { bad(10, "reset") } else { refused(0) });
    let error = layer().layer(inner.clone()).oneshot(7).await.unwrap_err();
    assert!(Rejection::find(&error).is_none());
    assert_eq!(error.to_string(), "below: bulkhead full; an earlier attempt may have been carried out");
}

/// Ready only the first time somebody asks; clones never are, or fail to be.
#[derive(Clone)]
struct Reluctant<S> {
    inner: S,
    first: Arc<AtomicBool>,
    fails: bool,
}

impl<S: Service<u32, Response = usize, Error = BoxError>> Service<u32> for Reluctant<S> {
    type Response = usize;
    type Error = BoxError;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.first.load(SeqCst) {
            let ready = self.inner.poll_ready(cx);
            if ready.is_ready() {
                self.first.store(false, SeqCst);
            }
            return ready;
        }
        if self.fails { Poll::Ready(Err("closed".into())) } else { Poll::Pending }
    }

    fn call(&mut self, request: u32) -> S::Future {
        self.inner.call(request)
    }
}

#[tokio::test(start_paused = true)]
async fn a_hedge_whose_clone_is_not_ready_holds_nobody_up_and_costs_nothing() {
    for fails in [false, true] {
        let inner = Course::new(|call| good(500, call));
        let reluctant = Reluctant { inner: inner.clone(), first: Arc::new(AtomicBool::new(true)), fails };
        let layer = layer();
        let began = Instant::now();
        assert_eq!(layer.layer(reluctant).oneshot(7).await.unwrap(), 0);
        assert_eq!((began.elapsed(), inner.calls()), (500 * MS, 1));
        assert_eq!(layer.handle().snapshot().hedges, 0);
        assert_eq!(layer.handle().budget().available(), 100, "the token is back");
    }
}

#[tokio::test(start_paused = true)]
async fn settings_change_while_it_runs() {
    let inner = Course::new(|_| good(500, 0));
    let layer = layer();
    let mut service = layer.layer(inner.clone());
    service.ready().await.unwrap().call(1).await.unwrap();
    assert_eq!(inner.calls(), 2);
    let hedge = layer.handle();
    let mut config = hedge.config();
    config.after = After::Delay(400 * MS);
    config.max_hedges = 0;
    hedge.reconfigure(config.clone()).unwrap();
    service.ready().await.unwrap().call(1).await.unwrap();
    assert_eq!(inner.calls(), 3);
    assert_eq!(hedge.snapshot().after, Some(400 * MS));
    config.max_hedges = 5;
    assert!(hedge.reconfigure(config).unwrap_err().to_string().contains("hedge.max_hedges: 5 is not between 0 and 4"));
    assert_eq!(hedge.config().max_hedges, 0);
}

#[tokio::test(start_paused = true)]
async fn it_is_listed_among_the_policies() {
    let layer = HedgeLayer::new("hedge listed").after(100 * MS);
    let found = registry::hedge("hedge listed").unwrap();
    assert_eq!(found.config(), layer.handle().config());
    let line = registry::policies().into_iter().find(|policy| policy.name().as_str() == "hedge listed").unwrap();
    assert_eq!(line.to_string(), "hedge hedge listed: after 100ms, 0 hedges sent, 0 won, 100 left");
    drop((layer, found, line));
    assert!(registry::hedge("hedge listed").is_none());
}

#[test]
fn the_defaults_are_those_documented() {
    let config = HedgeConfig::default();
    assert_eq!(config.after, After::Quantile(0.95));
    assert_eq!((config.max_hedges, config.minimum_calls, config.replay_at_most), (1, 100, 65_536));
    assert_eq!(config.budget, BudgetConfig::Share { ratio: 0.1, per_second: 10 });
    assert_eq!(HedgeLayer::new("test").handle().config(), config);
    assert!(config.validate().is_ok());
}

#[test]
fn nonsense_is_refused_with_its_name_and_range() {
    let check = |change: fn(&mut HedgeConfig), message: &str| {
        let mut config = HedgeConfig::default();
        change(&mut config);
        let error = Hedge::with_config("test", config).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    };
    check(|config| config.after = After::Delay(Duration::ZERO), "hedge.after.delay: 0ns is not more than zero");
    check(|config| config.after = After::Quantile(f64::NAN), "hedge.after.quantile: NaN is not between 0.5 and 0.9999");
    check(|config| config.after = After::Quantile(1.0), "hedge.after.quantile");
    check(|config| config.minimum_calls = 0, "hedge.minimum_calls");
    check(|config| config.replay_at_most = usize::MAX, "hedge.replay_at_most");
    check(
        |config| config.budget = BudgetConfig::Share { ratio: 11.0, per_second: 1 },
        "hedge.budget.share.ratio: 11.0",
    );
}

#[test]
#[should_panic(expected = "invalid setting hedge.after.delay: 0ns is not more than zero")]
fn nonsense_in_code_panics() {
    let _ = layer().after(Duration::ZERO);
}
