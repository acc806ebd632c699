//! Futures that are dropped, handles that are kept, steps side by side.

use std::{
    future::{Future, pending, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use buttress::{
    BoxError, Reason, Rejection,
    saga::{Kind, Saga, SagaError},
    step::{StepContext, StepOutcome},
};
use tokio::time::{sleep, timeout};

use super::{
    course::step,
    world::{TAKE_BACK, TELL, TakeBack, World},
};

const REST: Duration = Duration::from_secs(3600);

/// Polls `future` so many times, and drops it then. Whether it had come to its end.
pub(super) async fn drop_after(polls: u32, future: impl Future) -> bool {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn h18_a_step_may_be_dropped_at_each_await_and_what_it_did_is_undone() {
    for commits in [false, true] {
        for polls in 0.. {
            let world = World::default();
            let coordinator = world.coordinator().start().await.unwrap();
            let inner = world.clone();
            let (ended, mut end) = tokio::sync::mpsc::unbounded_channel();
            let result: Result<(), SagaError> = coordinator
                .scope("place-order", async move |saga: Saga| {
                    step(&saga, &inner, "reserve").await?;
                    let charge = saga.step("charge").undo(TAKE_BACK, |key| TakeBack { of: key.clone() });
                    let run = charge.run(|key| async {
                        tokio::task::yield_now().await;
                        inner.act(key).await?;
                        tokio::task::yield_now().await;
                        Ok::<_, BoxError>(())
                    });
                    ended.send(drop_after(polls, run).await).unwrap();
                    match commits {
                        true => Ok(()),
                        false => step(&saga, &inner, "a name that is none").await,
                    }
                })
                .await;
            assert_eq!(result.is_ok(), commits);
            assert!(coordinator.drain(REST).await.unwrap().in_time);
            let (ended, log) = (end.recv().await.unwrap(), world.log());
            let has = |line: &str| log.iter().any(|logged| logged == line);
            // The world has no barrier, and takes an undo of what never happened; then it must have been on its way.
            assert!(!has("do charge") || has("undo charge") || (ended && commits), "{polls} polls: {log:?}");
            assert_eq!(has("undo reserve"), !commits, "{polls} polls: {log:?}");
            assert!(!ended || !commits || !has("undo charge"), "{polls} polls: {log:?}");
            if ended {
                println!("done after {polls} polls");
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn h18_a_step_that_a_failing_sibling_takes_with_it_is_undone() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    let inner = world.clone();
    let ended: Result<(), SagaError> = coordinator
        .scope("place-order", async move |saga: Saga| {
            let slow = saga.step("slow").undo(TAKE_BACK, |key| TakeBack { of: key.clone() });
            let slow = slow.run(|key| async {
                inner.act(key).await?;
                sleep(REST).await;
                Ok::<_, BoxError>(())
            });
            let fails = saga.step("fails").run(async |_| {
                sleep(Duration::from_secs(1)).await;
                Err::<(), BoxError>("no".into())
            });
            tokio::try_join!(slow, fails).map(drop)
        })
        .await;
    ended.unwrap_err();
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    assert_eq!(world.log(), ["do slow", "undo slow"]);
}

#[tokio::test(start_paused = true)]
async fn h6_a_saga_goes_on_though_nobody_waits_for_it() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    let inner = world.clone();
    let scope = coordinator.scope::<(), SagaError, _>("place-order", async move |saga: Saga| {
        step(&saga, &inner, "reserve").await?;
        sleep(Duration::from_secs(10)).await;
        step(&saga, &inner, "charge").await
    });
    timeout(Duration::from_secs(1), scope).await.unwrap_err();
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    assert_eq!(world.log(), ["do reserve", "do charge"]);
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_is_over_begins_nothing_and_keeps_nobody_from_draining() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    for steps in [0, 1] {
        let inner = world.clone();
        let kept: Result<Saga, SagaError> = coordinator
            .scope("place-order", async move |saga: Saga| {
                for _ in 0..steps {
                    step(&saga, &inner, "reserve").await?;
                }
                Ok(saga)
            })
            .await;
        let kept = kept.unwrap();
        assert_eq!(step(&kept, &world, "charge").await.unwrap_err().kind(), &Kind::Over);
        kept.then(TELL, "too late".to_owned());
        std::mem::forget(kept);
    }
    assert!(coordinator.drain(Duration::from_secs(1)).await.unwrap().in_time);
    assert_eq!(world.log(), ["do reserve"]);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_was_done_and_then_refused_may_have_happened() {
    for (first, outcome) in [(None, StepOutcome::Refused), (Some(StepOutcome::Done), StepOutcome::Unknown)] {
        let world = World::default();
        let coordinator = world.coordinator().start().await.unwrap();
        let ended: Result<(), SagaError> = coordinator
            .scope("place-order", async move |saga: Saga| {
                let charge = saga.step("charge").undo(TAKE_BACK, |key| TakeBack { of: key.clone() });
                charge
                    .run(|_| async move {
                        if let Some(first) = first {
                            StepContext::current().unwrap().note(first);
                        }
                        let refusal = Rejection::new("circuit_breaker", "payments", Reason::CircuitOpen);
                        Err::<(), BoxError>(refusal.into())
                    })
                    .await
            })
            .await;
        assert_eq!(ended.unwrap_err().kind(), &Kind::Step { step: "charge".into(), outcome });
        assert!(coordinator.drain(REST).await.unwrap().in_time);
        let undone = world.log().contains(&"undo charge".to_owned());
        assert_eq!(undone, outcome == StepOutcome::Unknown, "{:?}", world.log());
    }
}

#[tokio::test(start_paused = true)]
async fn h3_a_step_that_timed_out_is_undone_and_so_is_what_came_before_it() {
    let world = World::default();
    let coordinator = world.coordinator().start().await.unwrap();
    let inner = world.clone();
    let ended: Result<(), SagaError> = coordinator
        .scope("place-order", async move |saga: Saga| {
            step(&saga, &inner, "reserve").await?;
            let charge = saga.step("charge").undo(TAKE_BACK, |key| TakeBack { of: key.clone() });
            charge.run(|_| timeout(Duration::from_secs(1), pending::<()>())).await
        })
        .await;
    ended.unwrap_err();
    assert!(coordinator.drain(REST).await.unwrap().in_time);
    assert_eq!(world.log(), ["do reserve", "undo charge", "undo reserve"]);
}
