//! A handler that goes away in the middle leaves nothing.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_hangs_up_in_mid_transaction_leaves_nothing_behind() {
    let shop = open!();
    let key = charge();
    let (caller, held) = (shop.caller.clone(), key.clone());
    let call = tokio::spawn(async move { caller.step(&held, 1, "hold").await });
    shop.somebody_inside().await;
    call.abort();
    // The same step once more waits for the lock, so it comes after the rollback.
    assert_eq!(shop.caller.step(&key, 1, "").await.status, 200);
    assert_eq!(shop.charges().await, 1);
    assert_eq!(shop.count("SELECT count(*) FROM saga_barrier").await, 2, "the saga's row and the action's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undo_that_is_dropped_in_mid_transaction_is_done_by_the_next() {
    let shop = open!();
    let key = charge();
    ok(&shop.caller.step(&key, 1, "").await);
    let (caller, held) = (shop.caller.clone(), undo(&key));
    let call = tokio::spawn(async move { caller.step(&held, 1, "hold").await });
    shop.somebody_inside().await;
    call.abort();
    ok(&shop.caller.step(&undo(&key), 1, "").await);
    assert_eq!(shop.refunds().await, 1);
}

/// Dropped after so many polls, so at every point at which it waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_an_action_is_dropped_it_happened_with_its_answer_or_not_at_all() {
    let shop = open!();
    let mut went_through = 0;
    for polls in 0..40 {
        let (key, pool) = (charge(), shop.database.pool.clone());
        let mut headers = HeaderMap::new();
        let step = buttress::step::StepContext::new(key.clone(), 1);
        buttress::step::StepHeaders::of(&step).write(&mut headers);
        let barrier = Barrier::<Db>::new(pool, &headers);
        let text = key.to_string();
        let act = barrier.act(|mut tx| async move {
            let insert = sqlx::query_scalar("INSERT INTO charge(key, epoch) VALUES ($1, 1) RETURNING id");
            let id: i64 = insert.bind(text).fetch_one(&mut *tx).await?;
            Ok(id)
        });
        let mut act = Box::pin(act);
        let mut left = polls;
        let ended = std::future::poll_fn(|cx| {
            if left == 0 {
                return std::task::Poll::Ready(None);
            }
            left -= 1;
            act.as_mut().poll(cx).map(Some)
        });
        went_through += i32::from(ended.await.is_some());
        drop(act);

        let before: i64 = sqlx::query_scalar("SELECT count(*) FROM charge WHERE key = $1")
            .bind(key.to_string())
            .fetch_one(&shop.database.pool)
            .await
            .unwrap();
        let charged = shop.caller.step(&key, 1, "").await;
        let ids: Vec<i64> = sqlx::query_scalar("SELECT id FROM charge WHERE key = $1")
            .bind(key.to_string())
            .fetch_all(&shop.database.pool)
            .await
            .unwrap();
        assert_eq!(ids.len(), 1, "dropped after {polls} polls, {before} before the repetition");
        assert_eq!(ok(&charged), ids[0].to_string(), "dropped after {polls} polls");
    }
    assert!(went_through > 0, "forty polls are enough to get through at least once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_mid_transaction_leaves_nothing_behind() {
    let shop = open!();
    let key = charge();
    let (caller, panicking) = (shop.caller.clone(), key.clone());
    let call = tokio::spawn(async move { caller.step(&panicking, 1, "panic").await });
    assert!(call.await.is_err(), "hyper has closed the connection");
    ok(&shop.caller.step(&key, 1, "").await);
    assert_eq!(shop.charges().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_effect_that_gives_its_transaction_away_is_rolled_back() {
    let shop = open!();
    let mut headers = HeaderMap::new();
    buttress::step::StepHeaders::of(&buttress::step::StepContext::new(charge(), 1)).write(&mut headers);
    let barrier = Barrier::<Db>::new(shop.database.pool.clone(), &headers);
    let away = Arc::new(std::sync::Mutex::new(None));
    let keep = away.clone();
    let given = barrier.act(|mut tx| async move {
        sqlx::query("INSERT INTO charge(key, epoch) VALUES ('given away', 1)").execute(&mut *tx).await?;
        *keep.lock().unwrap() = Some(tx);
        Ok(())
    });
    assert!(matches!(given.await, Err(Stop::Failed(_))));
    away.lock().unwrap().take();
    ok(&shop.caller.step(&charge(), 1, "").await);
    assert_eq!(shop.charges().await, 1);
}
