//! The thread that writes, and the one that reads.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::{
    Journal, JournalError, Lookup, Write, Written,
    store::{Store, panicked},
    writer::Room,
};
use crate::{meter::Tallied, saga::meter::Journaling};

/// What one transaction takes at most. More would make the first of a batch wait longer than an fsync is worth.
const MOST_WRITES: usize = 1024;
const MOST_BYTES: usize = 1024 * 1024;
/// How many questions may wait. Beyond it those who ask do.
const MOST_QUESTIONS: usize = 256;

pub(super) type Answer = Result<Written, JournalError>;
type Question = Box<dyn FnOnce(&mut dyn Lookup) + Send>;

/// A journal on two threads. They end when this is dropped, after all that was submitted is written.
pub(super) struct Threads {
    /// `None` once it is closed. Bounded by the writer's places.
    jobs: Mutex<Option<Sender<Job>>>,
    questions: Mutex<Option<Sender<Question>>>,
    asking: Arc<Semaphore>,
    /// Closed when both threads are done, and the journal with them.
    ended: watch::Receiver<()>,
}

struct Job {
    write: Write,
    told: oneshot::Sender<Answer>,
    /// Given back when it is answered.
    _room: Option<Room>,
    _waiting: Tallied,
}

impl Threads {
    pub(super) fn start(journal: Box<dyn Journal>, watched: &Journaling) -> Result<Self, JournalError> {
        let (jobs, waiting) = mpsc::channel();
        let (questions, asked) = mpsc::channel();
        let (writing, ended) = watch::channel(());
        let reading = writing.clone();
        let reader = journal.reader()?;
        // The writer's thread first: if the other can't be had, this one ends with its sender.
        let store = Store::new(journal, watched.clone());
        spawn("saga-journal", move || {
            write_all(&waiting, store);
            drop(writing);
        })?;
        spawn("saga-reader", move || {
            answer_all(&asked, reader);
            drop(reading);
        })?;
        Ok(Self {
            jobs: Mutex::new(Some(jobs)),
            questions: Mutex::new(Some(questions)),
            asking: Arc::new(Semaphore::new(MOST_QUESTIONS)),
            ended,
        })
    }

    pub(super) fn submit(&self, write: Write, told: oneshot::Sender<Answer>, room: Option<Room>, waiting: Tallied) {
        let job = Job { write, told, _room: room, _waiting: waiting };
        let sent = match &*lock(&self.jobs) {
            Some(jobs) => jobs.send(job).map_err(|unsent| unsent.0),
            None => Err(job),
        };
        if let Err(job) = sent {
            let _ = job.told.send(Err(closed()));
        }
    }

    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn Lookup) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let place: OwnedSemaphorePermit =
            Arc::clone(&self.asking).acquire_owned().await.expect("the semaphore is never closed");
        let (told, answer) = oneshot::channel();
        let question: Question = Box::new(move |lookup| {
            let answer = catch_unwind(AssertUnwindSafe(|| question(lookup)));
            drop(place);
            // Nobody may be waiting any more.
            let _ = told.send(answer.unwrap_or_else(|panic| Err(JournalError::new(panicked(&*panic)))));
        });
        let sent = lock(&self.questions).as_ref().is_some_and(|questions| questions.send(question).is_ok());
        match answer.await {
            Ok(answer) if sent => answer,
            _ => Err(closed()),
        }
    }

    pub(super) async fn close(&self) {
        drop(lock(&self.jobs).take());
        drop(lock(&self.questions).take());
        // Nothing is ever sent: it ends when the last sender is gone.
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), JournalError> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(run);
    spawned.map(drop).map_err(|error| JournalError::new(format!("the thread {name} can't be started: {error}")))
}

/// Until there are no more senders, which is when everything that was sent has been received.
fn write_all(waiting: &Receiver<Job>, mut store: Store) {
    let mut left = None;
    while let Some(first) = left.take().or_else(|| waiting.recv().ok()) {
        let mut bytes = first.write.size();
        let (mut batch, mut tell) = (vec![first.write], vec![(first.told, first._room, first._waiting)]);
        while batch.len() < MOST_WRITES
            && let Ok(job) = waiting.try_recv()
        {
            bytes += job.write.size();
            if bytes > MOST_BYTES {
                left = Some(job);
                break;
            }
            batch.push(job.write);
            tell.push((job.told, job._room, job._waiting));
        }
        let written = store.write(&batch);
        let answers: Box<dyn Iterator<Item = Answer>> = match written {
            Ok(written) => Box::new(written.into_iter().map(Ok)),
            Err(error) => Box::new(std::iter::repeat_with(move || Err(error.clone()))),
        };
        for ((told, _room, _waiting), answer) in tell.into_iter().zip(answers) {
            let _ = told.send(answer);
        }
    }
}

fn answer_all(asked: &Receiver<Question>, mut reader: Box<dyn Lookup + Send>) {
    while let Ok(question) = asked.recv() {
        question(&mut *reader);
    }
}

fn closed() -> JournalError {
    JournalError::new("it is closed; this was neither written nor read")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
