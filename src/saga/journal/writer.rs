//! The one that writes: takes what is waiting, writes it as one transaction, and wakes who waited.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{Journal, JournalError, Lookup, Write, Written};

/// How many writes may wait. Beyond it there is no [`Room`], and layers above see that nobody is ready.
const MOST_WAITING: usize = 4096;

/// The only one that writes to a journal; clones share it.
#[derive(Clone)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
}

struct Shared {
    room: Arc<Semaphore>,
    journal: Mutex<Box<dyn Journal>>,
}

/// A place in the queue. Given back when what took it is written.
#[derive(Debug)]
pub(crate) struct Room(#[allow(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// Resolves when the write is durable, or known not to be. Dropped, the write goes on.
#[derive(Debug)]
pub(crate) struct Ack(oneshot::Receiver<Result<Written, JournalError>>);

impl Writer {
    /// Writes in whichever task submits, each write a batch of its own: for a journal that doesn't block.
    pub(crate) fn inline(journal: impl Journal) -> Self {
        let shared = Shared { room: Arc::new(Semaphore::new(MOST_WAITING)), journal: Mutex::new(Box::new(journal)) };
        Self { shared: Arc::new(shared) }
    }

    /// Waits for a place in the queue.
    pub(crate) fn room(&self) -> impl Future<Output = Room> + Send + 'static {
        let room = Arc::clone(&self.shared.room);
        async move { Room(room.acquire_owned().await.expect("the semaphore is never closed")) }
    }

    /// A place in the queue, if there is one.
    pub(crate) fn try_room(&self) -> Option<Room> {
        Arc::clone(&self.shared.room).try_acquire_owned().ok().map(Room)
    }

    /// Queues a write, in a place that was waited for or, for what can't wait, beside all places. Those that one task submits
    /// are written in that order.
    pub(crate) fn submit(&self, write: Write, room: Option<Room>) -> Ack {
        let (told, ack) = oneshot::channel();
        let written = self.journal().write(std::slice::from_ref(&write)).map(|mut written| written.remove(0));
        drop(room);
        // Nobody may be waiting any more.
        let _ = told.send(written);
        Ack(ack)
    }

    /// Waits for room, and for the write to be durable.
    pub(crate) async fn write(&self, write: Write) -> Result<Written, JournalError> {
        let room = self.room().await;
        self.submit(write, Some(room)).await
    }

    /// Asks the journal something, without waiting for what is being written.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn Lookup) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        question(&mut **self.journal())
    }

    /// Whether whoever owned the unfinished sagas is known to be dead.
    pub(crate) fn is_exclusive(&self) -> bool {
        self.journal().is_exclusive()
    }

    fn journal(&self) -> std::sync::MutexGuard<'_, Box<dyn Journal>> {
        self.shared.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("room", &self.shared.room.available_permits()).finish_non_exhaustive()
    }
}

impl Future for Ack {
    type Output = Result<Written, JournalError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(Pin::new(&mut self.0).poll(cx)) {
            Ok(written) => written,
            Err(_) => Err(JournalError::new("the writer is gone; whether the last write is durable is not known")),
        })
    }
}
