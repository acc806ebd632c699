//! This crate: the undo of a step is on disk before the step begins, its result before the next one does.

use buttress::{
    BoxError,
    saga::{Call, Coordinator, Saga, SagaError},
    step::StepKey,
};
use tower::service_fn;

const UNDO: Call<StepKey> = Call::new("bench.undo");

fn main() {
    meter::main(async |task| {
        let undo = service_fn(async |_: StepKey| Ok::<_, BoxError>(()));
        let started = Coordinator::sqlite(task.folder.join("sagas.db")).on(UNDO, undo).start().await;
        let coordinator = started.expect("a coordinator");
        let saga = move |_| {
            let coordinator = coordinator.clone();
            async move { coordinator.scope("bench", three_steps).await.expect("nothing fails") }
        };
        task.measure(saga).await;
    });
}

async fn three_steps(saga: Saga) -> Result<(), SagaError> {
    for step in ["reserve", "charge", "confirm"] {
        saga.step(step).undo(UNDO, StepKey::clone).run(async |_| Ok::<_, BoxError>(())).await?;
    }
    Ok(())
}
