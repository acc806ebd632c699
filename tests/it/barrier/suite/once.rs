//! Nothing happens twice, and what was undone doesn't happen.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2_a_repeated_action_gets_the_stored_answer_and_happens_once() {
    let shop = open!();
    let key = charge();
    let first = shop.caller.step(&key, 1, "").await;
    for epoch in [1, 1, 2] {
        assert_eq!(shop.caller.step(&key, epoch, "").await, first, "whoever asks, and however often");
    }
    assert_eq!((ok(&first), shop.charges().await), ("1", 1));

    let other = shop.caller.step(&charge(), 1, "").await;
    assert_eq!((ok(&other), shop.charges().await), ("2", 2), "another saga's step is another");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_of_one_name_are_told_apart_by_their_number() {
    let shop = open!();
    let first = charge();
    let second = buttress::step::StepKey::new(first.saga(), "charge", 1, first.op()).unwrap();
    assert_ne!(ok(&shop.caller.step(&first, 1, "").await), ok(&shop.caller.step(&second, 1, "").await));
    ok(&shop.caller.step(&undo(&first), 1, "").await);
    assert_eq!((shop.charges().await, shop.refunds().await), (2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undo_is_handed_the_stored_answer_and_runs_once() {
    let shop = open!();
    let key = charge();
    ok(&shop.caller.step(&charge(), 1, "").await);
    let charged = shop.caller.step(&key, 1, "").await;
    let refunded = shop.caller.step(&undo(&key), 1, "").await;
    assert_eq!(ok(&refunded), ok(&charged));
    assert_eq!(shop.caller.step(&undo(&key), 2, "").await, refunded);
    assert_eq!(shop.refunds().await, 1);
    assert_eq!(shop.count("SELECT charge FROM refund").await.to_string(), ok(&charged));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h4_an_action_that_comes_after_its_undo_is_gone_and_taken_for_refused() {
    let shop = open!();
    let key = charge();
    assert_eq!(ok(&shop.caller.step(&undo(&key), 1, "").await), "null");
    for _ in 0..2 {
        let late = shop.caller.step(&key, 1, "").await;
        assert_eq!((late.status, late.was_refused), (410, true), "{late:?}");
    }
    assert_eq!((shop.charges().await, shop.refunds().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h4_a_repeated_action_after_its_undo_gets_its_answer_and_does_not_happen_again() {
    let shop = open!();
    let key = charge();
    let charged = shop.caller.step(&key, 1, "").await;
    ok(&shop.caller.step(&undo(&key), 1, "").await);
    assert_eq!(shop.caller.step(&key, 1, "").await, charged);
    assert_eq!((shop.charges().await, shop.refunds().await), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h5_an_undo_of_what_never_happened_does_nothing_however_often() {
    let shop = open!();
    let key = undo(&charge());
    for _ in 0..3 {
        assert_eq!(ok(&shop.caller.step(&key, 1, "").await), "null");
    }
    assert_eq!(shop.refunds().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undo_that_failed_is_tried_again() {
    let shop = open!();
    let key = charge();
    let charged = shop.caller.step(&key, 1, "").await;
    let failed = shop.caller.step(&undo(&key), 1, "fail").await;
    assert_eq!((failed.status, failed.was_refused), (500, false));
    shop.till.broke.store(true, std::sync::atomic::Ordering::SeqCst);
    let declined = shop.caller.step(&undo(&key), 1, "decline").await;
    assert_eq!((declined.status, shop.refunds().await), (402, 0), "a refused undo isn't stored either");
    assert_eq!(ok(&shop.caller.step(&undo(&key), 1, "").await), ok(&charged));
    assert_eq!(shop.refunds().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_remembered_so_that_a_late_attempt_does_not_happen_after_all() {
    let shop = open!();
    let key = charge();
    shop.till.broke.store(true, std::sync::atomic::Ordering::SeqCst);
    let declined = shop.caller.step(&key, 1, "decline").await;
    assert_eq!((declined.status, declined.was_refused), (402, true));
    assert!(declined.text.contains("card declined"), "{}", declined.text);
    shop.till.broke.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(shop.caller.step(&key, 1, "decline").await, declined, "though now it could happen");
    assert_eq!(ok(&shop.caller.step(&undo(&key), 1, "").await), "null", "and there is nothing to undo");
    assert_eq!(shop.caller.step(&key, 1, "").await, declined);
    assert_eq!((shop.charges().await, shop.refunds().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_that_is_not_the_last_word_is_not_remembered() {
    let shop = open!();
    let key = charge();
    shop.till.broke.store(true, std::sync::atomic::Ordering::SeqCst);
    let later = shop.caller.step(&key, 1, "later").await;
    assert_eq!((later.status, later.was_refused, shop.charges().await), (429, false, 0));
    for what in ["fail", "wrong"] {
        let failed = shop.caller.step(&key, 1, what).await;
        assert_eq!((failed.status, failed.was_refused, shop.charges().await), (500, false, 0));
        assert!(!failed.text.contains("fire") && !failed.text.contains("row"), "{}", failed.text);
    }
    shop.till.broke.store(false, std::sync::atomic::Ordering::SeqCst);
    ok(&shop.caller.step(&key, 1, "later").await);
    assert_eq!(shop.charges().await, 1);
}
