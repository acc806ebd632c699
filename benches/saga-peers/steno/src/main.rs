//! steno: that an action started, and what it gave, are on disk before it goes on, in whatever store a user writes.
//! Ours is in `store.rs`.

mod store;

use std::sync::Arc;

use steno::{
    Action, ActionContext, ActionError, ActionFunc, ActionRegistry, DagBuilder, Node, SagaDag, SagaId, SagaName,
    SagaType, SecClient,
};

use crate::store::Store;

#[derive(Debug)]
struct Bench;

impl SagaType for Bench {
    type ExecContextType = ();
}

fn main() {
    meter::main(async |task| {
        let batch = if task.variant == "grouped" { 1024 } else { 1 };
        let store = Store::open(&task.folder.join("sagas.db"), batch).expect("a store");
        let sec = Arc::new(steno::sec(slog::Logger::root(slog::Discard, slog::o!()), Arc::new(store)));
        let action: Arc<dyn Action<Bench>> = ActionFunc::new_action("act", act, undo);
        let mut registry = ActionRegistry::new();
        registry.register(action.clone());
        let registry = Arc::new(registry);
        let run = move |_| three_steps(sec.clone(), registry.clone(), action.clone());
        task.measure(run).await;
    });
}

async fn three_steps(sec: Arc<SecClient>, registry: Arc<ActionRegistry<Bench>>, action: Arc<dyn Action<Bench>>) {
    let mut dag = DagBuilder::new(SagaName::new("bench"));
    for step in ["reserve", "charge", "confirm"] {
        dag.append(Node::action(step, step, action.as_ref()));
    }
    let dag = Arc::new(SagaDag::new(dag.build().expect("a valid graph"), serde_json::Value::Null));
    let id = SagaId::new_v4();
    let ended = sec.saga_create(id, Arc::new(()), dag, registry).await.expect("it is created");
    sec.saga_start(id).await.expect("it starts");
    assert!(ended.await.kind.is_ok(), "nothing fails");
}

async fn act(_: ActionContext<Bench>) -> Result<(), ActionError> {
    Ok(())
}

async fn undo(_: ActionContext<Bench>) -> Result<(), anyhow::Error> {
    Ok(())
}
