//! Watching: the changes of one breaker, of a keyed one's, and of all there are.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use tokio::sync::broadcast::{self, error::RecvError};

use super::event::Change;
use crate::name::Name;

/// A change of a breaker, and whose it is.
///
/// Displays as `payments: Closed -> Open (10 of 20 failed, last: http 503), next probe in 4.2s`, with the key behind the
/// name where there is one: `payments["eu-1"]`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct NamedChange {
    /// The breaker's name.
    pub name: Name,
    /// Of a keyed breaker, the key as its `Debug` shows it.
    pub key: Option<Arc<str>>,
    /// What has changed.
    pub change: Change,
}

impl fmt::Display for NamedChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{}[{key}]: {}", self.name, self.change),
            None => write!(f, "{}: {}", self.name, self.change),
        }
    }
}

/// The changes of a breaker since [`subscribe`](super::CircuitBreaker::subscribe).
#[derive(Debug)]
pub struct Changes(broadcast::Receiver<Change>);

/// The changes of many breakers, each with its name: of all keys of a
/// [keyed breaker](super::KeyedCircuitBreaker::subscribe), or of [all breakers there are](crate::registry::watch).
#[derive(Debug)]
pub struct NamedChanges(broadcast::Receiver<NamedChange>);

impl Changes {
    /// The next change; `None` once the breaker is gone. Who falls more than 64 changes behind misses the oldest.
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped before it is ready has taken nothing.
    pub async fn next(&mut self) -> Option<Change> {
        next(&mut self.0).await
    }
}

impl NamedChanges {
    /// The next change; `None` once nothing is left that could change, which of all breakers there are never is so. Who
    /// falls more than 1024 changes behind misses the oldest.
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped before it is ready has taken nothing.
    pub async fn next(&mut self) -> Option<NamedChange> {
        next(&mut self.0).await
    }
}

async fn next<T: Clone>(changes: &mut broadcast::Receiver<T>) -> Option<T> {
    loop {
        match changes.recv().await {
            Ok(change) => return Some(change),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

/// Where changes go. Takes room only once somebody listens: there may be a thousand breakers, and nobody.
#[derive(Debug)]
pub(super) struct Channel<T>(OnceLock<broadcast::Sender<T>>);

/// Everybody's.
static ALL: Channel<NamedChange> = Channel::new();

/// The changes of all breakers of the process from now on.
pub(crate) fn watch_all() -> NamedChanges {
    ALL.named()
}

pub(super) fn tell_all(change: impl FnOnce() -> NamedChange) {
    ALL.send(change);
}

impl<T: Clone> Channel<T> {
    pub(super) const fn new() -> Self {
        Self(OnceLock::new())
    }

    pub(super) fn send(&self, value: impl FnOnce() -> T) {
        if let Some(sender) = self.0.get().filter(|sender| sender.receiver_count() > 0) {
            // Whoever listened may just have gone.
            let _ = sender.send(value());
        }
    }

    fn listen(&self, kept: usize) -> broadcast::Receiver<T> {
        self.0.get_or_init(|| broadcast::Sender::new(kept)).subscribe()
    }
}

impl Channel<Change> {
    pub(super) fn changes(&self) -> Changes {
        Changes(self.listen(64))
    }
}

impl Channel<NamedChange> {
    pub(super) fn named(&self) -> NamedChanges {
        NamedChanges(self.listen(1024))
    }
}
