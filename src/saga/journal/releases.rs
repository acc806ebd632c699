//! News that somebody let go of sagas.

use std::sync::Arc;

use tokio::sync::watch;

/// Tells coordinators that somebody let go of sagas in a journal, so that they take them over at once. Clones tell the same
/// ones.
#[derive(Debug, Clone, Default)]
pub struct Releases(Arc<watch::Sender<()>>);

impl Releases {
    /// One that nobody listens to yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that there may be something to be taken over: neither at rest nor parked, and nobody's. Told more than once before
    /// anybody looked, it is as if told once. If there is nothing, a claim is made for nothing.
    pub fn tell(&self) {
        self.0.send_replace(());
    }

    pub(crate) fn listen(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}
