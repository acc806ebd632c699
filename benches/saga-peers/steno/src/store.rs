//! The simplest durable store: one table of records, one writing thread, SQLite with WAL and `synchronous=FULL`.

use std::{
    path::Path,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use async_trait::async_trait;
use rusqlite::Connection;
use steno::{SagaCachedState, SagaCreateParams, SagaId, SagaNodeEvent, SecStore};
use tokio::sync::oneshot;

#[derive(Debug)]
pub struct Store {
    writer: Sender<Record>,
}

struct Record {
    saga: String,
    body: String,
    durable: oneshot::Sender<()>,
}

impl Store {
    /// Writes up to `batch` waiting records with one commit.
    pub fn open(file: &Path, batch: usize) -> rusqlite::Result<Self> {
        let database = Connection::open(file)?;
        database.pragma_update(None, "journal_mode", "WAL")?;
        database.pragma_update(None, "synchronous", "FULL")?;
        database.execute_batch("CREATE TABLE log(lsn INTEGER PRIMARY KEY, saga TEXT NOT NULL, body TEXT NOT NULL)")?;
        let (writer, waiting) = channel();
        thread::spawn(move || write(&database, &waiting, batch).expect("the disk takes it"));
        Ok(Self { writer })
    }

    async fn record(&self, saga: SagaId, body: String) {
        let (durable, written) = oneshot::channel();
        self.writer.send(Record { saga: saga.to_string(), body, durable }).expect("the writer is there");
        written.await.expect("the writer is there");
    }
}

fn write(database: &Connection, waiting: &Receiver<Record>, batch: usize) -> rusqlite::Result<()> {
    while let Ok(first) = waiting.recv() {
        let mut written = vec![first];
        written.extend(waiting.try_iter().take(batch - 1));
        let transaction = database.unchecked_transaction()?;
        for record in &written {
            let mut insert = transaction.prepare_cached("INSERT INTO log(saga, body) VALUES (?1, ?2)")?;
            insert.execute([&record.saga, &record.body])?;
        }
        transaction.commit()?;
        for record in written {
            // Who asked may be gone when the benchmark ends.
            let _ = record.durable.send(());
        }
    }
    Ok(())
}

#[async_trait]
impl SecStore for Store {
    async fn saga_create(&self, saga: SagaCreateParams) -> Result<(), anyhow::Error> {
        let id = saga.id;
        self.record(id, serde_json::to_string(&saga)?).await;
        Ok(())
    }

    async fn record_event(&self, event: SagaNodeEvent) {
        let body = serde_json::to_string(&event).expect("an event is data");
        self.record(event.saga_id, body).await;
    }

    async fn saga_update(&self, id: SagaId, update: SagaCachedState) {
        self.record(id, update.to_string()).await;
    }
}
