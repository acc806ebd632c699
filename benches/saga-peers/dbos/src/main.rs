//! dbos: a step's result is in PostgreSQL before the next one begins. Undo is the workflow's own code.

use dbos::{Config, DBOS, Error, step};

fn main() {
    meter::main(async |task| {
        let config = Config { app_version: Some("1".to_owned()), ..Config::new("saga-peers", &task.database) };
        let dbos = DBOS::new(config);
        let saga = dbos.register_workflow("saga", |()| three_steps()).expect("a workflow");
        dbos.launch().await.expect("it launches");
        let run = move |_| {
            let saga = saga.clone();
            async move { saga.run(()).await.expect("it ends") }
        };
        task.measure(run).await;
    });
}

async fn three_steps() -> Result<(), Error> {
    for number in 0..3 {
        if let Err(why) = step("act", async || Ok::<_, Error>(())).await {
            for _ in 0..number {
                step("undo", async || Ok::<_, Error>(())).await?;
            }
            return Err(why);
        }
    }
    Ok(())
}
