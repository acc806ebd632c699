//! The one that writes: takes what is waiting, writes it as one transaction, and wakes who waited.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::{Journal, JournalError, Lookup, Releases, Write, Written, store::Store, threads::Threads};
use crate::{name::Name, saga::meter::Journaling};

/// How many writes may wait. Beyond it there is no [`Room`], and layers above see that nobody is ready.
const MOST_WAITING: usize = 4096;

/// The only one that writes to a journal; clones share it.
///
/// A journal that failed once is not written again: everybody who waits, and everybody who comes, gets an error. Reading
/// goes on.
#[derive(Clone)]
pub struct Writer {
    shared: Arc<Shared>,
}

struct Shared {
    room: Arc<Semaphore>,
    is_exclusive: bool,
    /// Heard from before anything was claimed.
    releases: Option<watch::Receiver<()>>,
    watched: Journaling,
    by: By,
}

/// Who writes.
enum By {
    /// Whoever submits.
    Caller(Mutex<Store>),
    Threads(Threads),
}

/// A place in the queue. Given back when what took it is written.
#[derive(Debug)]
pub struct Room(#[allow(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// Resolves when the write is durable, or known not to be. Dropped, the write goes on.
#[derive(Debug)]
pub struct Ack(oneshot::Receiver<Result<Written, JournalError>>);

impl Writer {
    /// Writes in whichever task submits, each write a batch of its own: for a journal that doesn't block.
    pub fn inline(journal: impl Journal) -> Self {
        Self::inline_as("sagas".into(), journal)
    }

    /// As [`inline`](Self::inline), under this name.
    pub(crate) fn inline_as(name: Name, journal: impl Journal) -> Self {
        let (is_exclusive, releases) = (journal.is_exclusive(), journal.releases());
        let watched = Journaling::new(name);
        let store = Store::new(Box::new(journal), watched.clone());
        Self::new(is_exclusive, releases, watched, By::Caller(Mutex::new(store)))
    }

    /// Writes on a thread of its own, whatever is waiting in one batch, and reads on another: for a journal that blocks.
    ///
    /// The threads end, and the journal is dropped, when the last clone of this is, after everything that was submitted is
    /// written. [`close`](Self::close) does the same and waits for it.
    ///
    /// # Errors
    ///
    /// The journal can't be opened for reading, or the threads can't be had.
    pub fn threaded(journal: impl Journal) -> Result<Self, JournalError> {
        Self::threaded_as("sagas".into(), journal)
    }

    /// As [`threaded`](Self::threaded), under this name.
    pub(crate) fn threaded_as(name: Name, journal: impl Journal) -> Result<Self, JournalError> {
        let (is_exclusive, releases) = (journal.is_exclusive(), journal.releases());
        let watched = Journaling::new(name);
        let threads = Threads::start(Box::new(journal), &watched)?;
        Ok(Self::new(is_exclusive, releases, watched, By::Threads(threads)))
    }

    fn new(is_exclusive: bool, releases: Option<Releases>, watched: Journaling, by: By) -> Self {
        let releases = releases.map(|releases| releases.listen());
        let room = Arc::new(Semaphore::new(MOST_WAITING));
        Self { shared: Arc::new(Shared { room, is_exclusive, releases, watched, by }) }
    }

    /// Its name, and what it counts.
    pub(crate) fn watched(&self) -> &Journaling {
        &self.shared.watched
    }

    /// Changes when somebody lets go of sagas, and if somebody has since the journal was opened.
    pub(crate) fn releases(&self) -> Option<watch::Receiver<()>> {
        self.shared.releases.clone()
    }

    /// Waits for a place in the queue.
    pub fn room(&self) -> impl Future<Output = Room> + Send + 'static {
        let room = Arc::clone(&self.shared.room);
        async move { Room(room.acquire_owned().await.expect("the semaphore is never closed")) }
    }

    /// A place in the queue, if there is one.
    pub fn try_room(&self) -> Option<Room> {
        Arc::clone(&self.shared.room).try_acquire_owned().ok().map(Room)
    }

    /// Queues a write, in a place that was waited for or, for what can't wait, beside all places. Those that one task submits
    /// are written in that order.
    pub fn submit(&self, write: Write, room: Option<Room>) -> Ack {
        let (told, ack) = oneshot::channel();
        let waiting = self.shared.watched.waiting.enter();
        match &self.shared.by {
            By::Threads(threads) => threads.submit(write, told, room, waiting),
            By::Caller(store) => {
                let written = lock(store).write(std::slice::from_ref(&write)).map(|mut written| written.remove(0));
                drop((room, waiting));
                // Nobody may be waiting any more.
                let _ = told.send(written);
            }
        }
        Ack(ack)
    }

    /// Waits for room, and for the write to be durable.
    ///
    /// # Errors
    ///
    /// The journal failed, now or before: whether this is written is not known.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for room, nothing is written. Dropped later, the write goes on.
    pub async fn write(&self, write: Write) -> Result<Written, JournalError> {
        let room = self.room().await;
        self.submit(write, Some(room)).await
    }

    /// Asks the journal something, without waiting for what is being written.
    ///
    /// # Errors
    ///
    /// What the question gave, or that it panicked, or that the journal is closed.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn Lookup) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        match &self.shared.by {
            By::Threads(threads) => threads.ask(question).await,
            By::Caller(store) => question(lock(store).lookup()),
        }
    }

    /// Whether whoever owned the unfinished sagas is known to be dead.
    pub fn is_exclusive(&self) -> bool {
        self.shared.is_exclusive
    }

    /// Writes what was submitted, and lets the journal go: its file may be opened again. Later writes and questions are
    /// answered with an error. Does nothing to one that is written inline.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the journal is still closed, and nobody waits for it. It may be called again, and by several.
    pub async fn close(&self) {
        if let By::Threads(threads) = &self.shared.by {
            threads.close().await;
        }
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

fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}
