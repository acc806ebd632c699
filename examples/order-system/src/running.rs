//! A service that runs: where it listens, and how it is stopped.

use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::stack::Watch;

/// Anything that keeps a service from starting.
pub type StartError = Box<dyn Error + Send + Sync>;

/// How long a service that stops waits for what it has begun: its requests, and then its sagas.
const PATIENCE: Duration = Duration::from_secs(20);

/// A service that listens. Dropped without [`stop`](Running::stop), it is told to stop and not waited for.
#[derive(Debug)]
pub struct Running {
    name: &'static str,
    address: SocketAddr,
    watch: Watch,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    /// Runs `serve`, which must end soon after the future it is given.
    pub(crate) fn start<F>(
        name: &'static str,
        address: SocketAddr,
        watch: Watch,
        serve: impl FnOnce(Stopped) -> F,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(Stopped(stopped)));
        Self { name, address, watch, stop, task }
    }

    /// What the service is called.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its layers can be asked.
    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Accepts nothing more, finishes what runs, and closes its database.
    pub async fn stop(mut self) {
        let _ = self.stop.send(());
        if timeout(PATIENCE, &mut self.task).await.is_err() {
            tracing::warn!(service = self.name, "still busy after {PATIENCE:?}; left behind");
            self.task.abort();
        }
    }
}

/// Ends when the service is to stop.
#[derive(Debug)]
pub(crate) struct Stopped(oneshot::Receiver<()>);

impl Stopped {
    pub(crate) async fn wait(self) {
        let _ = self.0.await;
    }
}

/// Serves a router until `stopped`.
pub(crate) async fn serve_http(listener: TcpListener, app: axum::Router, stopped: Stopped) {
    if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stopped.wait()).await {
        tracing::error!(%error, "server ended");
    }
}
