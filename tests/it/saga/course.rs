//! What a saga does, from its first step to its rest.

use std::time::Duration;

use buttress::{
    BoxError,
    saga::{Kind, Saga, SagaError},
    step::StepOutcome,
};

use super::world::{TAKE_BACK, TELL, TakeBack, World};

const REST: Duration = Duration::from_secs(3600);

pub(super) async fn step(saga: &Saga, world: &World, name: &'static str) -> Result<(), SagaError> {
    saga.step(name).undo(TAKE_BACK, |key| TakeBack { of: key.clone() }).run(|key| world.act(key)).await
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_commits_keeps_what_it_did_and_makes_the_calls_it_promised() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    let inner = world.clone();
    let answer: Result<u32, SagaError> = coordinator
        .scope("place-order", async move |saga: Saga| {
            step(&saga, &inner, "reserve").await?;
            saga.then(TELL, "receipt".to_owned());
            step(&saga, &inner, "charge").await?;
            Ok(7)
        })
        .await;
    assert_eq!(answer.unwrap(), 7);
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    assert_eq!(world.log(), ["do reserve", "do charge", "tell receipt"]);
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_fails_undoes_in_reverse_what_it_did_and_breaks_its_promises() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    let inner = world.clone();
    let answer: Result<(), SagaError> = coordinator
        .scope("place-order", async move |saga: Saga| {
            step(&saga, &inner, "reserve").await?;
            step(&saga, &inner, "charge").await?;
            saga.then(TELL, "receipt".to_owned());
            saga.step("ship").run(async |_| Err::<(), BoxError>("no lorry".into())).await
        })
        .await;
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), &Kind::Step { step: "ship".into(), outcome: StepOutcome::Unknown });
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    assert_eq!(world.log(), ["do reserve", "do charge", "undo charge", "undo reserve"]);
}

#[tokio::test(start_paused = true)]
async fn h7_an_undo_that_fails_is_tried_again_until_it_works() {
    let world = World::default();
    world.fail_undos(5);
    let coordinator = world.coordinator().start().await.unwrap();
    let inner = world.clone();
    let answer: Result<(), SagaError> = coordinator
        .scope("place-order", async move |saga: Saga| {
            step(&saga, &inner, "reserve").await?;
            step(&saga, &inner, "charge").await?;
            Err(saga.step("ship").run(async |_| Err::<(), BoxError>("no lorry".into())).await.unwrap_err())
        })
        .await;
    answer.unwrap_err();
    tokio::time::sleep(REST).await;
    assert_eq!(world.log(), ["do reserve", "do charge", "undo charge", "undo reserve"]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_is_undone_and_the_panic_goes_on() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    let inner = world.clone();
    let caller = coordinator.clone();
    let task = tokio::spawn(async move {
        caller
            .scope::<(), SagaError, _>("place-order", async move |saga: Saga| {
                step(&saga, &inner, "reserve").await?;
                panic!("of the handler");
            })
            .await
    });
    assert!(task.await.unwrap_err().is_panic());
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    assert_eq!(world.log(), ["do reserve", "undo reserve"]);
}
