//! A service whose steps can be done and undone, and which remembers what it was told.

use std::{
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use buttress::{
    BoxError,
    saga::{Call, Coordinator, CoordinatorBuilder},
    step::{StepContext, StepKey},
};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tower::Service;

/// What undoes everything here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TakeBack {
    pub(crate) of: StepKey,
}

pub(crate) const TAKE_BACK: Call<TakeBack> = Call::new("world.take-back");
pub(crate) const TELL: Call<String> = Call::new("world.tell");

/// What happened in the world, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    log: Arc<Mutex<Vec<String>>>,
    /// How often undos fail before they work.
    stubborn: Arc<Mutex<u32>>,
}

impl World {
    pub(crate) fn note(&self, what: impl Into<String>) {
        self.log.lock().unwrap().push(what.into());
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn fail_undos(&self, times: u32) {
        *self.stubborn.lock().unwrap() = times;
    }

    /// A step's action.
    pub(crate) async fn act(&self, key: StepKey) -> Result<(), BoxError> {
        assert_eq!(StepContext::current().map(|step| step.key().clone()), Some(key.clone()));
        self.note(format!("do {}", key.step()));
        Ok(())
    }

    /// A coordinator in memory that knows its calls.
    pub(crate) fn coordinator(&self) -> CoordinatorBuilder {
        self.register(Coordinator::in_memory())
    }

    pub(crate) fn register(&self, builder: CoordinatorBuilder) -> CoordinatorBuilder {
        builder.on(TAKE_BACK, Undoer(self.clone())).on(TELL, Teller(self.clone()))
    }
}

#[derive(Clone, Debug)]
struct Undoer(World);

#[derive(Clone, Debug)]
struct Teller(World);

impl Service<TakeBack> for Undoer {
    type Response = ();
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<(), BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, undo: TakeBack) -> Self::Future {
        let world = self.0.clone();
        Box::pin(async move {
            let mut stubborn = world.stubborn.lock().unwrap();
            if *stubborn > 0 {
                *stubborn -= 1;
                return Err("not now".into());
            }
            drop(stubborn);
            world.note(format!("undo {}", undo.of.step()));
            Ok(())
        })
    }
}

impl Service<String> for Teller {
    type Response = ();
    type Error = BoxError;
    type Future = std::future::Ready<Result<(), BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, what: String) -> Self::Future {
        self.0.note(format!("tell {what}"));
        std::future::ready(Ok(()))
    }
}
