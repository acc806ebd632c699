//! durare: a step's result is on disk before the next one begins. Undo is the workflow's own code.

use std::{str::FromStr, sync::Arc, time::Duration};

use durare::{DurableContext, DurableEngine, PostgresProvider, Result, SqliteProvider, StateProvider, WorkflowOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

#[durare::workflow]
async fn saga(context: DurableContext, _input: ()) -> Result<()> {
    for step in 0..3 {
        if let Err(why) = act(&context).await {
            for _ in 0..step {
                undo(&context).await?;
            }
            return Err(why);
        }
    }
    Ok(())
}

#[durare::step]
async fn act(context: &DurableContext) -> Result<()> {
    Ok(())
}

#[durare::step]
async fn undo(context: &DurableContext) -> Result<()> {
    Ok(())
}

fn main() {
    meter::main(async |task| {
        let provider: Arc<dyn StateProvider> = match task.variant.as_str() {
            "postgres" => Arc::new(PostgresProvider::connect(&task.database).await.expect("PostgreSQL")),
            _ => Arc::new(sqlite(&task.folder.join("sagas.db").to_string_lossy()).await),
        };
        let engine = Arc::new(DurableEngine::new(provider).await.expect("an engine"));
        engine.launch().await.expect("it launches");
        let run = move |id: String| {
            let engine = engine.clone();
            async move {
                let started = engine.start_with(Saga, (), WorkflowOptions::with_id(id)).await.expect("it starts");
                started.await.expect("it ends");
            }
        };
        task.measure(run).await;
    });
}

/// As `SqliteProvider::connect` does it, but for the level, which there is NORMAL, and for more patience with a lock.
async fn sqlite(file: &str) -> SqliteProvider {
    let options = SqliteConnectOptions::from_str(&format!("sqlite://{file}"))
        .expect("an address")
        .create_if_missing(true)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(60));
    SqliteProvider::from_pool(SqlitePoolOptions::new().max_connections(5).connect_with(options).await.expect("SQLite"))
}
