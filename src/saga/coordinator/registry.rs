//! Who is called when a saga names a call.

use std::{
    collections::BTreeMap,
    marker::PhantomData,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use serde::de::DeserializeOwned;
use tower_service::Service;

use crate::BoxError;

/// The calls of a coordinator, by name.
#[derive(Default)]
pub(crate) struct Registry(BTreeMap<String, Registered>);

pub(crate) struct Registered {
    target: Box<dyn Invoke>,
    /// Whether operators may see the arguments.
    pub(crate) shown: bool,
}

/// A service behind a name. Boxed, for each has a type of its own.
trait Invoke: Send + Sync {
    fn invoke(&self, args: &[u8]) -> BoxFuture<'static, Result<(), BoxError>>;
}

struct Target<S, A> {
    // A service need not be `Sync`; it is cloned for each call.
    service: Mutex<S>,
    args: PhantomData<fn(A)>,
}

impl Registry {
    /// Says whether the name was free.
    pub(crate) fn insert<A, S>(&mut self, name: &str, shown: bool, service: S) -> bool
    where
        A: DeserializeOwned + Send + 'static,
        S: Service<A> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        let target = Target { service: Mutex::new(service), args: PhantomData };
        let registered = Registered { target: Box::new(target), shown };
        self.0.insert(name.to_owned(), registered).is_none()
    }

    pub(crate) fn get(&self, call: &str) -> Option<&Registered> {
        self.0.get(call)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> + '_ {
        self.0.keys().map(String::as_str)
    }
}

impl Registered {
    /// Calls the service with the arguments of the journal.
    pub(crate) fn invoke(&self, args: &Bytes) -> BoxFuture<'static, Result<(), BoxError>> {
        self.target.invoke(args)
    }
}

impl<A, S> Invoke for Target<S, A>
where
    A: DeserializeOwned + Send + 'static,
    S: Service<A> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    fn invoke(&self, args: &[u8]) -> BoxFuture<'static, Result<(), BoxError>> {
        let args: A = match serde_json::from_slice(args) {
            Ok(args) => args,
            Err(error) => {
                let problem = format!("the journaled arguments don't fit the call any more: {error}");
                return std::future::ready(Err(problem.into())).boxed();
            }
        };
        let mut service = self.service.lock().unwrap_or_else(PoisonError::into_inner).clone();
        async move {
            std::future::poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
            service.call(args).await.map(drop).map_err(Into::into)
        }
        .boxed()
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
