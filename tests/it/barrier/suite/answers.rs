//! What is kept, what is refused, and what is forgotten.

use std::time::Duration;

use axum::routing::get;
use buttress::{
    barrier::LARGEST_ANSWER,
    step::{IDEMPOTENCY_KEY, Op, SAGA_ID, SAGA_STEP},
};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h10_an_answer_that_is_too_large_is_an_error_and_rolled_back() {
    let shop = open!();
    let key = charge();
    let large = shop.caller.step(&key, 1, &format!("large:{}", LARGEST_ANSWER + 1)).await;
    assert_eq!((large.status, large.was_refused), (500, false));
    assert!(large.text.contains("answer of 65537 bytes: at most 65536 are kept"), "{}", large.text);
    assert_eq!(shop.charges().await, 0);
    let largest = shop.caller.step(&key, 1, &format!("large:{LARGEST_ANSWER}")).await;
    assert_eq!(ok(&largest).len(), LARGEST_ANSWER);
    assert_eq!(shop.caller.step(&key, 1, "").await, largest);
    assert_eq!(shop.charges().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stored_answer_that_cannot_be_read_is_never_taken_for_a_refusal() {
    let shop = open!();
    let key = charge();
    ok(&shop.caller.step(&key, 1, "text").await);
    let undone = shop.caller.step(&undo(&key), 1, "").await;
    assert_eq!((undone.status, undone.was_refused), (500, false), "for it did happen");
    assert!(undone.text.contains("kept answer can't be read"), "{}", undone.text);
    assert_eq!(shop.refunds().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_no_step_s_or_not_this_one_s_is_refused_and_told_why() {
    let shop = open!();
    let key = charge();
    let (status, text) = shop.caller.plain(shop.caller.request(Op::Act, "")).await;
    assert_eq!(status, 400);
    assert!(text.contains("not called in a step of a saga"), "{text}");

    let mut request = shop.caller.request(Op::Act, "");
    for (name, value) in
        [(IDEMPOTENCY_KEY, key.to_string()), (SAGA_ID, key.saga().to_string()), (SAGA_STEP, "charge".to_owned())]
    {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    request.headers_mut().insert(SAGA_EPOCH, "soon".parse().unwrap());
    let (status, text) = shop.caller.plain(request).await;
    assert_eq!(status, 400);
    assert!(text.contains(r#"saga-epoch: \"soon\" is no whole number"#), "{text}");

    let mut astray = shop.caller.request(Op::Act, "");
    let step = buttress::step::StepContext::new(undo(&key), 1);
    buttress::step::StepHeaders::of(&step).write(astray.headers_mut());
    let (status, text) = shop.caller.plain(astray).await;
    assert_eq!(status, 400);
    assert!(text.contains("/undo is sent to where the act is done"), "{text}");
    assert_eq!(shop.charges().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_may_let_plain_calls_through_and_a_handler_may_ask() {
    let shop = open!();
    let routes = Router::new().route("/charges", post(charge_it).delete(refund_it)).with_state(shop.till.clone());
    let optional = serve(routes.layer(shop.layer.clone().optional())).await;
    for id in ["1", "2"] {
        assert_eq!(optional.plain(optional.request(Op::Act, "")).await, (200, id.to_owned()), "it happens each time");
    }
    shop.till.broke.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(optional.plain(optional.request(Op::Act, "decline")).await.0, 402);
    assert_eq!(optional.plain(optional.request(Op::Undo, "")).await.0, 400, "there is nothing to be handed");
    let key = charge();
    assert_eq!(optional.step(&key, 1, "").await, optional.step(&key, 1, "").await);
    assert_eq!(shop.charges().await, 3);

    let asks = async |barrier: Option<Barrier<Db>>| barrier.is_some().to_string();
    let asked = serve(Router::new().route("/charges", post(asks)).layer(shop.layer.clone())).await;
    assert_eq!(asked.plain(asked.request(Op::Act, "")).await, (200, "false".to_owned()));
    assert_eq!(ok(&asked.step(&key, 1, "").await), "true");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_without_the_layer_says_so() {
    let shop = open!();
    let bare = async |_: Barrier<Db>| ();
    let bare = serve(Router::new().route("/charges", post(bare).merge(get(|| async {})))).await;
    let answer = bare.step(&charge(), 1, "").await;
    assert_eq!((answer.status, answer.was_refused), (500, false));
    assert!(answer.text.contains("no BarrierLayer"), "{}", answer.text);
    drop(shop);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_the_table_or_a_connection_concludes_nothing() {
    let shop = open!();
    let key = charge();
    sqlx::query("ALTER TABLE saga_barrier RENAME TO elsewhere").execute(&shop.database.pool).await.unwrap();
    let failed = shop.caller.step(&key, 1, "").await;
    assert_eq!((failed.status, failed.was_refused), (500, false));
    assert!(!failed.text.contains("saga_barrier"), "what the database says isn't for everybody: {}", failed.text);
    shop.database.pool.close().await;
    let lost = shop.caller.step(&key, 1, "").await;
    assert_eq!((lost.status, lost.was_refused), (503, false));
    assert!(lost.text.contains("database busy or lost"), "{}", lost.text);
}

/// Takes as long as a lock is waited for, which is the database's clock and no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_lock_too_long_concludes_nothing_and_does_not_wait_for_ever() {
    let shop = open!();
    let key = charge();
    let (caller, held) = (shop.caller.clone(), key.clone());
    let holding = tokio::spawn(async move { caller.step(&held, 1, "hold").await });
    shop.somebody_inside().await;
    let busy = shop.caller.step(&undo(&key), 1, "").await;
    assert_eq!((busy.status, busy.was_refused), (503, false), "{busy:?}");
    shop.let_go();
    let charged = holding.await.unwrap();
    assert_eq!(ok(&shop.caller.step(&undo(&key), 1, "").await), ok(&charged));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h12_what_was_not_heard_of_for_long_enough_is_forgotten_and_nothing_else() {
    let shop = open!();
    let (old, recent) = (charge(), charge());
    for key in [&old, &recent] {
        ok(&shop.caller.step(key, 1, "").await);
        ok(&shop.caller.step(&undo(key), 1, "").await);
    }
    let a_week = Duration::from_secs(7 * 24 * 60 * 60);
    assert_eq!(shop.layer.prune(a_week).await.unwrap(), 0);
    // As if a week had gone by, for one of them but its last sign of life.
    sqlx::query("UPDATE saga_barrier SET at = at - $1 WHERE saga = $2 OR op <> 2")
        .bind(i64::try_from(a_week.as_millis()).unwrap() + 1_000)
        .bind(old.saga().as_bytes().as_slice())
        .execute(&shop.database.pool)
        .await
        .unwrap();
    assert_eq!(shop.layer.prune(a_week).await.unwrap(), 3, "the saga's row, the action's and the undo's");
    assert_eq!(shop.count("SELECT count(*) FROM saga_barrier").await, 3);
    assert_eq!(shop.caller.step(&undo(&recent), 1, "").await.status, 200);
    assert_eq!(shop.refunds().await, 2);
}
