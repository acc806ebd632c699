//! A harness that can't turn red proves nothing: mistakes are planted in real processes, and each has to be found.
//!
//! What provokes a mistake is no luck but a failpoint or a request that is held back. The same scenario without the mistake
//! has to be green, or it would prove nothing either.
//!
//! Two mistakes can't be shown here. That the journal's fence is off shows only with two coordinators on one journal, and a
//! file can be opened by one: the machine's exploration and the journal's own tests have that. And what `synchronous=NORMAL`
//! loses, `kill -9` doesn't: the tests of power loss have that.

use std::time::Duration;

use buttress::failpoint::Planted;
use fastrand::Rng;
use tokio::time::{sleep, timeout};

use crate::{
    client::Manners,
    net::Weather,
    shop::Fate,
    world::{REST, World, Wrong},
};

const SOON: Duration = Duration::from_secs(10);

/// One for each mistake.
pub(crate) const TESTS: &[(&str, fn())] = &[
    ("planted_barrier_off_is_found", || found(Planted::BarrierOff, &["I1", "I2", "I4"])),
    ("planted_epoch_not_sent_is_found", || found(Planted::EpochNotSent, &["I9"])),
    ("planted_unknown_taken_for_refused_is_found", || found(Planted::UnknownTakenForRefused, &["I1", "I3"])),
    ("planted_undo_in_forward_order_is_found", || found(Planted::UndoInForwardOrder, &["I10"])),
    ("planted_intent_after_action_is_found", || found(Planted::IntentAfterAction, &["I1", "I3"])),
    ("planted_handler_not_detached_is_found", || found(Planted::HandlerNotDetached, &["rest"])),
    ("planted_key_not_scoped_is_found", || found(Planted::KeyNotScoped, &["I6"])),
];

/// Runs the scenario of a mistake without it, and with it, when each of these invariants has to be violated.
fn found(mistake: Planted, invariants: &[&str]) {
    crate::runtime().block_on(async {
        if let Err(wrong) = run(mistake, "", REST).await {
            panic!("{}, and nothing was planted:\n{}", mistake.as_str(), wrong.report);
        }
        let wrong = run(mistake, mistake.as_str(), Duration::from_secs(2)).await.expect_err("a mistake was planted");
        for invariant in invariants {
            let is_violated = match *invariant {
                "rest" => wrong.is_restless,
                invariant => wrong.violations.iter().any(|violation| violation.invariant == invariant),
            };
            assert!(is_violated, "{} doesn't violate {invariant}:\n{}", mistake.as_str(), wrong.report);
        }
    });
}

async fn run(mistake: Planted, planted: &str, patience: Duration) -> Result<(), Wrong> {
    let mut world = World::new(mistake.as_str(), &[("BUTTRESS_PLANTED", planted)], 1, true).await;
    world.patience = patience;
    let mut chance = Rng::with_seed(1);
    match mistake {
        Planted::BarrierOff => {
            let (stock, money) = &world.nets;
            let twice = Weather { duplicates: 1.0, ..Weather::default() };
            stock.turns(twice);
            money.turns(twice);
            world.clients.place(Fate::Commits, Manners::Plain, &mut chance).await;
            // The second one is on its way.
            sleep(Duration::from_millis(100)).await;
        }
        Planted::EpochNotSent => {
            // Nothing undoes the label, so nothing but the epoch keeps it from being printed too late.
            world.nets.0.hold("/Label");
            let placing = place(&world, Fate::Labels);
            timeout(SOON, world.nets.0.has_held()).await.expect("a label is wanted");
            world.coordinator.kill().await;
            world.coordinator.start("").await;
            world.rest().await.unwrap();
            timeout(SOON, world.nets.0.let_go()).await.expect("the label is answered");
            placing.await.unwrap();
        }
        Planted::UnknownTakenForRefused => {
            world.money.tell("arm P2=abort").await;
            let placing = place(&world, Fate::Commits);
            assert!(world.money.dies(SOON).await);
            world.money.start("").await;
            placing.await.unwrap();
        }
        Planted::UndoInForwardOrder => {
            world.clients.place(Fate::Declines, Manners::Plain, &mut chance).await;
        }
        Planted::IntentAfterAction => {
            world.money.tell("arm P2=pause").await;
            let placing = place(&world, Fate::Commits);
            assert!(world.money.pauses(SOON).await);
            world.coordinator.kill().await;
            world.money.tell("release P2").await;
            world.coordinator.start("").await;
            placing.await.unwrap();
        }
        Planted::HandlerNotDetached => {
            world.money.tell("arm inbound=pause:200").await;
            let leaves = Manners::Leaves(Duration::from_millis(100));
            world.clients.place(Fate::Commits, leaves, &mut chance).await;
            assert!(world.money.pauses(SOON).await);
        }
        Planted::KeyNotScoped => {
            for _ in 0..2 {
                world.clients.place(Fate::Commits, Manners::Plain, &mut chance).await;
            }
        }
        other => unreachable!("{other:?} can't be shown here"),
    }
    let checked = world.check(&[]).await;
    world.end().await;
    checked
}

/// Somebody who is waiting while the scenario goes on.
fn place(world: &World, fate: Fate) -> tokio::task::JoinHandle<()> {
    let clients = world.clients.clone();
    tokio::spawn(async move { clients.place(fate, Manners::Plain, &mut Rng::with_seed(2)).await })
}
