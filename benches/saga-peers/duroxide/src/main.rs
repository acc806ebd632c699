//! duroxide: orchestrations that are replayed; activities and turns go through queues in SQLite. Undo is the
//! orchestration's own code.

use std::{mem, sync::Arc, time::Duration};

use duroxide::{
    ActivityContext, Client, OrchestrationContext, OrchestrationRegistry, OrchestrationStatus,
    providers::sqlite::SqliteProvider,
    runtime::{Runtime, RuntimeOptions, registry::ActivityRegistry},
};
use tokio::time::sleep;

fn main() {
    meter::main(async |task| {
        let file = task.folder.join("sagas.db");
        std::fs::File::create(&file).expect("a file");
        let store = SqliteProvider::new(&format!("sqlite:{}", file.display()), None).await.expect("a provider");
        sync_fully(&store).await;
        let store = Arc::new(store);

        let activities = ActivityRegistry::builder()
            .register("step", async |_: ActivityContext, _: String| Ok(String::new()))
            .register("undo", async |_: ActivityContext, _: String| Ok(String::new()))
            .build();
        let orchestrations = OrchestrationRegistry::builder().register("saga", three_steps).build();
        // Queues are polled; at 100 ms, a saga by itself would measure that.
        let options = match task.variant.as_str() {
            "tuned" => {
                one_connection(&store).await;
                RuntimeOptions { dispatcher_min_poll_interval: Duration::from_millis(1), ..RuntimeOptions::default() }
            }
            _ => RuntimeOptions::default(),
        };
        let _runtime = Runtime::start_with_options(store.clone(), activities, orchestrations, options).await;
        let client = Client::new(store);
        let saga = move |id: String| {
            let client = client.clone();
            async move {
                // What finds the file locked is told so, and is to come again.
                while client.start_orchestration(&id, "saga", "").await.is_err() {
                    sleep(Duration::from_millis(10)).await;
                }
                loop {
                    match client.wait_for_orchestration(&id, Duration::from_secs(60)).await {
                        Ok(OrchestrationStatus::Completed { .. }) => break,
                        Ok(failed) => panic!("{failed:?}"),
                        Err(_) => sleep(Duration::from_millis(10)).await,
                    }
                }
            }
        };
        task.measure(saga).await;
    });
}

/// Its pragma is `synchronous = WAL`, which isn't a level, and which SQLite takes for NORMAL. Here all its connections
/// are raised to FULL.
async fn sync_fully(store: &SqliteProvider) {
    let pool = store.get_pool();
    let mut connections = Vec::new();
    for _ in 0..pool.options().get_max_connections() {
        let mut connection = pool.acquire().await.expect("a connection");
        let level: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *connection).await.expect("a level");
        assert_eq!(level, 1, "NORMAL is what it sets");
        sqlx::query("PRAGMA synchronous = FULL").execute(&mut *connection).await.expect("a level");
        connections.push(connection);
    }
}

/// Takes all connections but one, and keeps them: its transactions read and then write, so that those of two connections
/// collide, which isn't waited for but answered with "database is locked" and a pause of 200 ms and more.
async fn one_connection(store: &SqliteProvider) {
    for _ in 1..store.get_pool().options().get_max_connections() {
        mem::forget(store.get_pool().acquire().await.expect("a connection"));
    }
}

async fn three_steps(context: OrchestrationContext, _: String) -> Result<String, String> {
    for step in 0..3 {
        if let Err(why) = context.schedule_activity("step", "").await {
            for _ in 0..step {
                context.schedule_activity("undo", "").await?;
            }
            return Err(why);
        }
    }
    Ok(String::new())
}
