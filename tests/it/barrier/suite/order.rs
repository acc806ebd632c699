//! A coordinator that lost its saga does nothing any more.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h1_a_coordinator_of_an_earlier_epoch_can_neither_act_nor_undo_nor_read() {
    let shop = open!();
    let key = charge();
    ok(&shop.caller.step(&key, 1, "").await);
    let later = buttress::step::StepKey::new(key.saga(), "ship", 1, key.op()).unwrap();
    ok(&shop.caller.step(&later, 3, "").await);
    for stale in [&later, &key, &undo(&key), &undo(&later)] {
        let fenced = shop.caller.step(stale, 2, "").await;
        assert_eq!((fenced.status, fenced.was_refused), (409, false), "it must conclude nothing: {fenced:?}");
    }
    assert_eq!((shop.charges().await, shop.refunds().await), (2, 0));
    ok(&shop.caller.step(&undo(&key), 3, "").await);
    ok(&shop.caller.step(&undo(&later), 4, "").await);
    assert_eq!(shop.refunds().await, 2);
    ok(&shop.caller.step(&charge(), 1, "").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h1_a_later_epoch_is_noted_by_whatever_is_heard_of_it() {
    for what in ["replay", "nothing to undo", "gone", "refused"] {
        let shop = open!();
        let key = charge();
        match what {
            "replay" => {
                ok(&shop.caller.step(&key, 1, "").await);
                ok(&shop.caller.step(&key, 2, "").await);
            }
            "nothing to undo" => {
                ok(&shop.caller.step(&undo(&key), 2, "").await);
            }
            "gone" => {
                ok(&shop.caller.step(&undo(&key), 1, "").await);
                assert_eq!(shop.caller.step(&key, 2, "").await.status, 410);
            }
            _ => {
                shop.till.broke.store(true, std::sync::atomic::Ordering::SeqCst);
                assert_eq!(shop.caller.step(&key, 2, "decline").await.status, 402);
            }
        }
        let other = buttress::step::StepKey::new(key.saga(), "ship", 1, key.op()).unwrap();
        assert_eq!(shop.caller.step(&other, 1, "").await.status, 409, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h1_a_new_coordinator_waits_for_what_the_old_one_is_doing_and_nothing_old_comes_after_it() {
    let shop = open!();
    let key = charge();
    let (zombie, held) = (shop.clone(), key.clone());
    let zombie = tokio::spawn(async move { zombie.caller.step(&held, 1, "hold").await });
    shop.somebody_inside().await;
    let (new, undone) = (shop.clone(), undo(&key));
    let new = tokio::spawn(async move { new.caller.step(&undone, 2, "").await });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!new.is_finished(), "what isn't committed yet can't be undone");
    shop.let_go();
    assert_eq!(ok(&zombie.await.unwrap()), "1");
    assert_eq!(ok(&new.await.unwrap()), "1");
    assert_eq!((shop.charges().await, shop.refunds().await), (1, 1));
    assert_eq!(shop.caller.step(&key, 1, "").await.status, 409);
}
