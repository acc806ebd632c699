//! Several who send one body at once.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Wake, Waker},
};

/// Who reads a body that is sent several times at once.
pub(super) struct Crowd {
    pub(super) waiting: Arc<Waiting>,
    /// How many there are.
    pub(super) readers: usize,
    /// There will be no more.
    pub(super) is_closed: bool,
    /// Who took the last frame: the one who goes on when what was kept is lost, for the others lack a part.
    pub(super) leader: u64,
}

/// The readers who wait for the next frame. The body wakes all of them, whoever polled it last: that one may be gone by
/// then, or not want it now.
#[derive(Default)]
pub(super) struct Waiting(Mutex<Vec<(u64, Waker)>>);

impl Crowd {
    /// Of one, so far.
    pub(super) fn new() -> Self {
        Self { waiting: Arc::default(), readers: 1, is_closed: false, leader: 0 }
    }

    /// A reader is gone. Whether what is read from now on needn't be kept.
    pub(super) fn leave(&mut self, reader: u64) -> bool {
        self.readers -= 1;
        self.waiting.no_longer(reader);
        self.is_alone()
    }

    /// No more readers will come. Whether what is read from now on needn't be kept.
    pub(super) fn close(&mut self) -> bool {
        self.is_closed = true;
        self.is_alone()
    }

    fn is_alone(&self) -> bool {
        self.is_closed && self.readers <= 1
    }
}

impl Waiting {
    pub(super) fn wait(&self, reader: u64, waker: &Waker) {
        let mut waiting = self.lock();
        match waiting.iter_mut().find(|(waiting, _)| *waiting == reader) {
            Some((_, known)) => known.clone_from(waker),
            None => waiting.push((reader, waker.clone())),
        }
    }

    pub(super) fn no_longer(&self, reader: u64) {
        self.lock().retain(|(waiting, _)| *waiting != reader);
    }

    pub(super) fn wake_all(&self) {
        let waiting = std::mem::take(&mut *self.lock());
        for (_, waker) in waiting {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(u64, Waker)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_all();
    }
}
