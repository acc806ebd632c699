//! One step of a definition, with its types put away.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use serde::{Serialize, de::DeserializeOwned};
use tower_service::Service;

use super::run::{Merge, Place};
use crate::{
    BoxError,
    name::Name,
    saga::{coordinator::registry::Registry, journal::Invocation},
    step::{StepKey, check_name},
};

/// One step of a definition.
pub(crate) struct DefinedStep<O> {
    pub(crate) name: Name,
    pub(crate) number: u32,
    pub(crate) settle: Duration,
    act: Arc<dyn Act<O>>,
    undo: Option<Undo<O>>,
}

/// What undoes a step.
struct Undo<O> {
    /// The arguments, as JSON, of the state before the step, and of its key.
    args: Arc<UndoArgs<O>>,
    /// Registers the service under the name of the call.
    register: Arc<Register>,
}

type UndoArgs<O> = dyn Fn(&O, &StepKey) -> serde_json::Result<Vec<u8>> + Send + Sync;
type Register = dyn Fn(&mut Registry, &str) -> bool + Send + Sync;

/// The step itself. Boxed, for each has types of its own.
trait Act<O>: Send + Sync {
    /// Calls the service, and gives what it gave as JSON.
    fn act(&self, state: &O) -> BoxFuture<'static, Result<Bytes, BoxError>>;
    /// Reads what the service gave, and gives what puts it into the state.
    fn merge(&self, output: &[u8]) -> serde_json::Result<Merge<O>>;
    /// What the service is given, for what undoes it to be given the same.
    fn args(&self, state: &O) -> Box<dyn std::any::Any>;
}

struct Acted<S, F, M> {
    // A service need not be `Sync`; it is cloned for each call.
    service: Mutex<S>,
    args: F,
    merge: Arc<M>,
}

/// Names the types that a service and two closures only imply.
struct Typed<A, B, T> {
    acted: A,
    types: std::marker::PhantomData<fn(B) -> T>,
}

impl<O: 'static> DefinedStep<O> {
    pub(crate) fn new<B, T, S, F, M>(name: Name, number: u32, service: S, args: F, merge: M) -> Self
    where
        B: Send + 'static,
        T: Serialize + DeserializeOwned + Send + 'static,
        S: Service<B, Response = T> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        F: Fn(&O) -> B + Send + Sync + 'static,
        M: Fn(&mut O, T) + Send + Sync + 'static,
    {
        let acted = Acted { service: Mutex::new(service), args, merge: Arc::new(merge) };
        let act = Typed { acted, types: std::marker::PhantomData::<fn(B) -> T> };
        Self { name, number, settle: Duration::ZERO, act: Arc::new(act), undo: None }
    }

    /// Undone by `service`, which is given what the step was given: an `A`.
    pub(crate) fn undone_as_done<A, S>(&mut self, service: S)
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        S: Service<A> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        let act = Arc::clone(&self.act);
        let args = move |state: &O, _: &StepKey| {
            let args = act.args(state).downcast::<A>().expect("a step's undo is described right after the step");
            serde_json::to_vec(&*args)
        };
        self.undone(service, Arc::new(args));
    }

    /// Undone by `service`, which is given what `args` makes.
    pub(crate) fn undone_by<U, S>(&mut self, service: S, args: impl Fn(&O, &StepKey) -> U + Send + Sync + 'static)
    where
        U: Serialize + DeserializeOwned + Send + 'static,
        S: Service<U> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        self.undone::<U, S>(service, Arc::new(move |state, key| serde_json::to_vec(&args(state, key))));
    }

    fn undone<U, S>(&mut self, service: S, args: Arc<UndoArgs<O>>)
    where
        U: DeserializeOwned + Send + 'static,
        S: Service<U> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        let service = Mutex::new(service);
        let register = move |calls: &mut Registry, name: &str| {
            let service = service.lock().unwrap_or_else(PoisonError::into_inner).clone();
            calls.insert::<U, S>(name, false, service)
        };
        self.undo = Some(Undo { args, register: Arc::new(register) });
    }
}

impl<O> DefinedStep<O> {
    /// Registers what undoes it; `place` is where it is in a saga.
    pub(crate) fn register(&self, calls: &mut Registry, place: &Place<'_>) -> Result<(), String> {
        check_name(&format!("{}{}", place.steps, self.name)).map_err(|error| error.to_string())?;
        let call = self.call(&place.calls);
        match &self.undo {
            Some(undo) if !(undo.register)(calls, &call) => Err(format!("call {call} is registered twice")),
            _ => Ok(()),
        }
    }

    pub(crate) fn has_undo(&self) -> bool {
        self.undo.is_some()
    }

    pub(crate) fn undo(&self, calls: &str, state: &O, key: &StepKey) -> serde_json::Result<Option<Invocation>> {
        let Some(undo) = &self.undo else { return Ok(None) };
        Ok(Some(Invocation { call: self.call(calls).into(), args: (undo.args)(state, key)?.into() }))
    }

    fn call(&self, calls: &str) -> String {
        format!("{calls}{}", self.name)
    }

    pub(crate) fn act(&self, state: &O) -> BoxFuture<'static, Result<Bytes, BoxError>> {
        self.act.act(state)
    }

    pub(crate) fn merge(&self, output: &[u8]) -> serde_json::Result<Merge<O>> {
        self.act.merge(output)
    }
}

impl<O, B, T, S, F, M> Act<O> for Typed<Acted<S, F, M>, B, T>
where
    B: Send + 'static,
    T: Serialize + DeserializeOwned + Send + 'static,
    S: Service<B, Response = T> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    F: Fn(&O) -> B + Send + Sync,
    M: Fn(&mut O, T) + Send + Sync + 'static,
{
    fn act(&self, state: &O) -> BoxFuture<'static, Result<Bytes, BoxError>> {
        let args = (self.acted.args)(state);
        let mut service = self.acted.service.lock().unwrap_or_else(PoisonError::into_inner).clone();
        async move {
            std::future::poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
            let output = service.call(args).await.map_err(Into::into)?;
            Ok(serde_json::to_vec(&output)?.into())
        }
        .boxed()
    }

    fn merge(&self, output: &[u8]) -> serde_json::Result<Merge<O>> {
        let output: T = serde_json::from_slice(output)?;
        let merge = Arc::clone(&self.acted.merge);
        Ok(Box::new(move |state| merge(state, output)))
    }

    fn args(&self, state: &O) -> Box<dyn std::any::Any> {
        Box::new((self.acted.args)(state))
    }
}

// Not derived: the state need not be cloned with its steps.
impl<O> Clone for DefinedStep<O> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            number: self.number,
            settle: self.settle,
            act: Arc::clone(&self.act),
            undo: self.undo.clone(),
        }
    }
}

impl<O> Clone for Undo<O> {
    fn clone(&self) -> Self {
        Self { args: Arc::clone(&self.args), register: Arc::clone(&self.register) }
    }
}
