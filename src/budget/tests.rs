use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use tokio::time::advance;

use super::*;

fn withdraw(budget: &Budget) -> bool {
    budget.withdraw(Cost::Transient).map(Token::spend).is_ok()
}

#[tokio::test(start_paused = true)]
async fn retries_are_a_share_of_the_calls_of_the_last_ten_seconds() {
    let budget = Budget::share(0.2, 0);
    assert!(!withdraw(&budget));
    (0..10).for_each(|_| budget.deposit());
    assert_eq!(budget.available(), 2);
    assert!(withdraw(&budget));
    assert!(withdraw(&budget));
    assert!(!withdraw(&budget));

    advance(Duration::from_secs(9)).await;
    assert!(!withdraw(&budget));
    (0..5).for_each(|_| budget.deposit());
    assert!(withdraw(&budget));
    // The first ten calls leave the window, and so do the two retries that they paid for.
    advance(Duration::from_secs(1)).await;
    assert_eq!(budget.available(), 0);
    advance(Duration::from_secs(9)).await;
    (0..5).for_each(|_| budget.deposit());
    assert_eq!(budget.available(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_after_a_long_pause_counts() {
    let budget = Budget::share(1.0, 0);
    advance(Duration::from_secs(1000)).await;
    budget.deposit();
    assert_eq!(budget.available(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_default_lets_rare_callers_retry() {
    let budget = Budget::default();
    assert_eq!((0..1000).filter(|_| withdraw(&budget)).count(), 100);
    advance(Duration::from_secs(10)).await;
    assert_eq!(budget.available(), 100);
}

#[tokio::test(start_paused = true)]
async fn an_unspent_token_goes_back_once() {
    for budget in [
        Budget::share(0.0, 1),
        Budget::new(BudgetConfig::Costs { capacity: 140, transient: 14, throttled: 5, success: 1 }).unwrap(),
    ] {
        assert_eq!(budget.available(), 10);
        let token = budget.withdraw(Cost::Transient).unwrap();
        assert_eq!(budget.available(), 9);
        drop(token);
        assert_eq!(budget.available(), 10);
        budget.withdraw(Cost::Transient).unwrap().spend();
        assert_eq!(budget.available(), 9);
    }
    // One that left the window in the meantime is not given back to a later second.
    let budget = Budget::share(0.0, 1);
    let token = budget.withdraw(Cost::Transient).unwrap();
    advance(Duration::from_secs(10)).await;
    assert!(withdraw(&budget));
    drop(token);
    assert_eq!(budget.available(), 9);
}

/// gRPC proposal A6: with 10 tokens and a ratio of 0.1, five failures stop the retries, and ten successes are worth one
/// failure.
#[test]
fn tokens_stop_retries_at_half() {
    let budget = Budget::tokens(10, 0.1);
    for left in [5, 4, 3, 2, 1] {
        assert_eq!(budget.available(), left);
        assert!(withdraw(&budget), "{left}");
        budget.failed();
    }
    assert!(!withdraw(&budget));
    (0..100).for_each(|_| budget.failed());
    (0..50).for_each(|_| budget.succeeded(None));
    assert!(!withdraw(&budget));
    budget.succeeded(None);
    assert!(withdraw(&budget));
    (0..1000).for_each(|_| budget.succeeded(None));
    assert_eq!(budget.available(), 5);
}

#[test]
fn costs_come_back_with_success() {
    let budget = Budget::costs();
    assert_eq!((0..100).filter(|_| withdraw(&budget)).count(), 35);
    assert_eq!((0..100).filter(|_| budget.withdraw(Cost::Throttled).map(Token::spend).is_ok()).count(), 2);
    assert_eq!(budget.available(), 0);
    budget.succeeded(Some(Cost::Transient));
    assert_eq!(budget.available(), 1);
    assert!(withdraw(&budget));
    (0..14).for_each(|_| budget.succeeded(None));
    assert_eq!(budget.available(), 1);
}

#[tokio::test(start_paused = true)]
async fn exhaustion_is_news_once() {
    let budget = Budget::tokens(1, 0.001);
    budget.failed();
    assert!(budget.withdraw(Cost::Transient).unwrap_err().news);
    for _ in 0..5 {
        advance(Duration::from_secs(9)).await;
        assert!(!budget.withdraw(Cost::Transient).unwrap_err().news);
    }
    advance(CALM).await;
    assert!(budget.withdraw(Cost::Transient).unwrap_err().news);
}

#[test]
fn nonsense_is_refused_by_name() {
    let costs =
        |capacity, transient, throttled, success| BudgetConfig::Costs { capacity, transient, throttled, success };
    for (config, setting) in [
        (BudgetConfig::Share { ratio: f64::NAN, per_second: 10 }, "budget.share.ratio"),
        (BudgetConfig::Share { ratio: -0.1, per_second: 10 }, "budget.share.ratio"),
        (BudgetConfig::Share { ratio: 11.0, per_second: 10 }, "budget.share.ratio"),
        (BudgetConfig::Share { ratio: 0.2, per_second: 1_000_001 }, "budget.share.per_second"),
        (BudgetConfig::Share { ratio: 0.0, per_second: 0 }, "budget.share.per_second"),
        (BudgetConfig::Tokens { max_tokens: 0, token_ratio: 0.1 }, "budget.tokens.max_tokens"),
        (BudgetConfig::Tokens { max_tokens: 1001, token_ratio: 0.1 }, "budget.tokens.max_tokens"),
        (BudgetConfig::Tokens { max_tokens: 10, token_ratio: 0.0 }, "budget.tokens.token_ratio"),
        (BudgetConfig::Tokens { max_tokens: 10, token_ratio: f64::NAN }, "budget.tokens.token_ratio"),
        (costs(0, 14, 5, 1), "budget.costs.capacity"),
        (costs(10, 14, 5, 1), "budget.costs.transient"),
        (costs(500, 14, 0, 1), "budget.costs.throttled"),
        (costs(500, 14, 5, 501), "budget.costs.success"),
    ] {
        assert_eq!(Budget::new(config).unwrap_err().setting(), setting, "{config:?}");
    }
}

#[test]
fn threads_that_ask_at_once_never_overdraw() {
    const THREADS: u64 = 8;
    const CALLS: u64 = 20_000;
    for budget in [Budget::share(0.1, 100), Budget::costs()] {
        let granted = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..CALLS {
                        budget.deposit();
                        if withdraw(&budget) {
                            granted.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let granted = granted.into_inner();
        let most = match budget.config() {
            // Within the ten seconds of the window. All of it, for after the last deposit there were withdrawals.
            BudgetConfig::Share { .. } => THREADS * CALLS / 10 + 1000,
            _ => 35,
        };
        assert_eq!(granted, most);
        assert_eq!(budget.available(), 0);
    }
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Deposit,
    Withdraw,
    GiveBack,
    Advance(u64),
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => Just(Event::Deposit),
        6 => Just(Event::Withdraw),
        1 => Just(Event::GiveBack),
        1 => (0_u64..15).prop_map(Event::Advance),
    ]
}

proptest! {
    /// Against a model that remembers every event. Exact, because fewer than 16 deposits come in a row.
    #[test]
    fn a_share_is_what_it_says(
        ratio in 0.0..2.0,
        per_second in 0_u32..3,
        events in proptest::collection::vec(any_event(), 1..200),
    ) {
        let share = Share::new(ratio, per_second);
        let (mut now, mut deposits, mut withdrawals) = (0_u32, Vec::new(), Vec::<u32>::new());
        let mut unread = 0;
        for event in events {
            let recent = |ticks: &[u32]| ticks.iter().filter(|tick| now - **tick < 10).count() as u64;
            match event {
                Event::Deposit => {
                    unread += 1;
                    if unread % 16 != 0 {
                        share.deposit(|| now);
                        deposits.push(now);
                    }
                }
                Event::Withdraw => {
                    let most = (ratio * recent(&deposits) as f64 + 1e-6) as u64 + u64::from(per_second) * 10;
                    prop_assert_eq!(share.withdraw(now).is_some(), recent(&withdrawals) < most);
                    if recent(&withdrawals) < most {
                        withdrawals.push(now);
                    }
                }
                Event::GiveBack => {
                    if let Some(tick) = withdrawals.pop() {
                        share.give_back(tick);
                    }
                }
                Event::Advance(seconds) => {
                    now += seconds as u32;
                    share.available(now);
                }
            }
        }
    }
}
