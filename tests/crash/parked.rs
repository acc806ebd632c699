//! What can't be brought to rest is parked, and an operator has it tried again.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::timeout;

use crate::{client::Manners, process::Started, shop::Fate, world::World};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("h7_a_saga_whose_undo_is_always_refused_is_parked_until_an_operator_retries", || run(refused())),
    ("h8_a_saga_that_kills_its_coordinator_each_time_is_parked_until_an_operator_retries", || run(deadly())),
    ("h8_of_twenty_one_sagas_only_the_one_that_kills_its_coordinators_is_parked", || run(poison())),
    ("h8_a_saga_whose_coordinator_is_killed_again_and_again_for_another_reason_is_undone", || run(innocent())),
    ("c22_a_coordinator_that_dies_over_what_an_operator_decided_can_be_told_again", || run(half_told())),
];

const SOON: Duration = Duration::from_secs(10);

fn run(scenario: impl Future<Output = ()>) {
    crate::runtime().block_on(scenario);
}

async fn refused() {
    let mut world = World::new("refused", &[("CRASH_ATTEMPTS", "4")], 1, false).await;
    park_by_refusing(&mut world).await;
    end_by_retrying(world).await;
}

async fn half_told() {
    let mut world = World::new("half-told", &[("CRASH_ATTEMPTS", "4")], 1, false).await;
    let saga = park_by_refusing(&mut world).await;
    world.coordinator.tell("arm C2=abort").await;
    assert_eq!(world.coordinator.tell(&format!("retry {saga}")).await, None, "it dies before that is written");
    world.coordinator.kill().await;
    world.coordinator.start("").await;
    end_by_retrying(world).await;
}

async fn deadly() {
    let mut world = World::new("deadly", &[("CRASH_TAKEOVERS", "3")], 1, false).await;
    world.coordinator.tell("arm C15=abort").await;
    let clients = world.clients.clone();
    let placing = tokio::spawn(async move {
        // It hangs up, for whoever asks again has a saga that isn't deadly.
        let leaves = Manners::Leaves(Duration::from_millis(500));
        clients.place(Fate::Declines, leaves, &mut Rng::with_seed(1)).await;
    });
    assert!(world.coordinator.dies(SOON).await);
    placing.await.unwrap();
    // Three times among others, as it were, and twice alone.
    for takeover in 1..=5 {
        if world.coordinator.start("C15=abort").await == Started::Ready {
            assert!(world.coordinator.dies(SOON).await, "takeover {takeover}");
        }
    }
    // Now it isn't tried any more.
    assert_eq!(world.coordinator.start("C15=abort").await, Started::Ready);
    parked(&mut world).await;
    world.coordinator.kill().await;
    world.coordinator.start("").await;
    end_by_retrying(world).await;
}

/// In the middle of twenty others, which can't be undone either before the first coordinators have died.
async fn poison() {
    const POISON: &str = "order-9";
    let mut world = World::new("poison", &[("CRASH_TAKEOVERS", "3")], 1, false).await;
    world.stock.tell("stubborn 1000000").await;
    let placing = (0..21).map(|seed| {
        let clients = world.clients.clone();
        async move { clients.place(Fate::Declines, Manners::Plain, &mut Rng::with_seed(seed)).await }
    });
    futures_util::future::join_all(placing).await;
    world.coordinator.kill().await;
    world.coordinator.set("CRASH_POISON", POISON);
    for takeover in 1..=3 {
        dies_on_its_own(&mut world, takeover).await;
    }
    world.stock.tell("stubborn 0").await;
    for takeover in 4..=5 {
        dies_on_its_own(&mut world, takeover).await;
    }
    assert_eq!(world.coordinator.start("").await, Started::Ready);
    let saga = parked(&mut world).await;
    let history = world.history().await;
    let poisoned = history.asked.iter().find(|asked| asked.order.id == POISON).unwrap();
    assert_eq!(poisoned.answers[0].said.as_ref().unwrap().saga, saga);
    world.coordinator.kill().await;
    world.coordinator.set("CRASH_POISON", "");
    world.coordinator.start("").await;
    end_by_retrying(world).await;
}

async fn dies_on_its_own(world: &mut World, takeover: u32) {
    if world.coordinator.start_or_die().await == Started::Ready {
        assert!(world.coordinator.dies(SOON).await, "takeover {takeover}");
    }
}

async fn innocent() {
    let mut world = World::new("innocent", &[("CRASH_TAKEOVERS", "3")], 1, false).await;
    world.stock.tell("stubborn 1000000").await;
    world.clients.place(Fate::Declines, Manners::Plain, &mut Rng::with_seed(1)).await;
    for _ in 0..10 {
        world.coordinator.kill().await;
        world.coordinator.start("").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.stock.tell("stubborn 0").await;
    let checked = world.check(&[]).await;
    assert!(checked.is_ok(), "{}", checked.unwrap_err().report);
    assert_eq!(world.coordinator.tell("parked").await.as_deref(), Some(""));
    world.end().await;
}

/// The charge can be given back, the hold can't.
async fn park_by_refusing(world: &mut World) -> String {
    world.stock.tell("stubborn 1000000").await;
    let mut chance = Rng::with_seed(1);
    let placing = world.clients.place(Fate::Declines, Manners::Plain, &mut chance);
    timeout(SOON, placing).await.expect("the answer doesn't wait for the undo");
    let saga = parked(world).await;
    world.stock.tell("stubborn 0").await;
    saga
}

/// The one that is parked; everything else is as it should be.
async fn parked(world: &mut World) -> String {
    world.rest().await.unwrap();
    let saga = world.coordinator.tell("parked").await.unwrap();
    assert!(!saga.is_empty() && !saga.contains(' '), "one saga is parked, not {saga:?}");
    let checked = world.check(std::slice::from_ref(&saga)).await;
    assert!(checked.is_ok(), "{}", checked.unwrap_err().report);
    saga
}

async fn end_by_retrying(mut world: World) {
    let saga = parked(&mut world).await;
    assert_eq!(world.coordinator.tell(&format!("retry {saga}")).await.as_deref(), Some("retried"));
    let checked = world.check(&[]).await;
    assert!(checked.is_ok(), "{}", checked.unwrap_err().report);
    world.end().await;
}
