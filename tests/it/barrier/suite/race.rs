//! Many at once. What is right is told by the tables of charges and refunds alone.

use tokio::task::JoinSet;

use super::*;
use buttress::step::{Op, StepKey};

/// Sends all of these at once.
async fn all(shop: &Shop, mut calls: Vec<(StepKey, u64, &'static str)>) -> Vec<(StepKey, u64, Answer)> {
    fastrand::shuffle(&mut calls);
    let mut tasks = JoinSet::new();
    for (key, epoch, what) in calls {
        let shop = shop.clone();
        tasks.spawn(async move {
            let answer = shop.caller.step(&key, epoch, what).await;
            (key, epoch, answer)
        });
    }
    tasks.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2_an_action_that_comes_many_times_at_once_happens_once_and_all_get_its_answer() {
    let shop = open!();
    let keys: Vec<_> = (0..8).map(|_| charge()).collect();
    let calls = keys.iter().flat_map(|key| std::iter::repeat_n((key.clone(), 1, ""), 12)).collect();
    let answers = all(&shop, calls).await;
    assert_eq!(shop.charges().await, 8);
    for key in &keys {
        let mut texts: Vec<_> = answers.iter().filter(|(of, ..)| of == key).map(|(.., answer)| ok(answer)).collect();
        texts.dedup();
        assert_eq!(texts.len(), 1, "{texts:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h4_an_action_and_its_undo_at_once_leave_nothing_behind() {
    let shop = open!();
    let keys: Vec<_> = (0..24).map(|_| charge()).collect();
    let mut calls: Vec<_> = keys.iter().flat_map(|key| [(key.clone(), 1, ""), (key.clone(), 1, "")]).collect();
    calls.extend(keys.iter().flat_map(|key| [(undo(key), 1, ""), (undo(key), 1, "")]));
    let answers = all(&shop, calls).await;
    for (key, _, answer) in &answers {
        let allowed: &[u16] = if key.op() == Op::Act { &[200, 410] } else { &[200] };
        assert!(allowed.contains(&answer.status), "{key}: {answer:?}");
    }
    let happened = answers.iter().filter(|(key, _, answer)| key.op() == Op::Act && answer.status == 200);
    let mut happened: Vec<_> = happened.map(|(.., answer)| answer.text.clone()).collect();
    happened.sort();
    happened.dedup();
    let charges = shop.charges().await;
    assert_eq!(charges, happened.len() as i64, "who was told that it happened was told the truth, and so was the rest");
    assert_eq!(shop.refunds().await, charges);
    assert_eq!(shop.count("SELECT count(DISTINCT charge) FROM refund").await, charges);
    assert_eq!(shop.count("SELECT count(*) FROM refund WHERE charge NOT IN (SELECT id FROM charge)").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undo_that_comes_many_times_at_once_runs_once() {
    let shop = open!();
    let keys: Vec<_> = (0..8).map(|_| charge()).collect();
    all(&shop, keys.iter().map(|key| (key.clone(), 1, "")).collect()).await;
    let calls = keys.iter().flat_map(|key| std::iter::repeat_n((undo(key), 1, ""), 12)).collect();
    for (key, _, answer) in all(&shop, calls).await {
        assert_ne!(ok(&answer), "null", "{key} did happen");
    }
    assert_eq!((shop.refunds().await, shop.count("SELECT count(DISTINCT charge) FROM refund").await), (8, 8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h1_no_effect_of_an_earlier_epoch_comes_after_one_of_a_later() {
    let shop = open!();
    let saga = charge().saga();
    let step = |number| StepKey::new(saga, "charge", number, Op::Act).unwrap();
    let answers = all(&shop, (0..96).map(|number| (step(number), u64::from(number % 3) + 1, "")).collect()).await;
    // The saga's row lets in one after the other, so ids are in the order of commits.
    let epochs: Vec<i64> =
        sqlx::query_scalar("SELECT epoch FROM charge ORDER BY id").fetch_all(&shop.database.pool).await.unwrap();
    assert!(epochs.is_sorted(), "{epochs:?}");
    for epoch in 1..=3_u64 {
        let told = answers.iter().filter(|(_, of, answer)| *of == epoch && answer.status == 200).count();
        let happened = epochs.iter().filter(|of| **of == epoch as i64).count();
        assert_eq!(told, happened, "epoch {epoch}");
    }
    assert!(answers.iter().all(|(_, epoch, answer)| answer.status == 200 || (answer.status == 409 && *epoch < 3)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_somebody_was_told_that_it_was_refused_it_has_not_happened_and_never_does() {
    let shop = open!();
    let keys: Vec<_> = (0..24).map(|_| charge()).collect();
    let calls = keys.iter().flat_map(|key| std::iter::repeat_n((key.clone(), 1, "perhaps"), 4)).collect();
    let answers = all(&shop, calls).await;
    let (mut happened, mut refused) = (0, 0);
    for key in &keys {
        let answers: Vec<_> = answers.iter().filter(|(of, ..)| of == key).map(|(.., answer)| answer).collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        if answers[0].status == 200 { happened += 1 } else { refused += 1 }
    }
    assert_eq!(shop.charges().await, happened);
    assert!(happened > 0 && refused > 0, "{happened} happened, {refused} were refused: the test tests nothing");
}
