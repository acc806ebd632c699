//! One at a time, by key, first come first served.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::saga::coordinator::course::{Course, Stage};

/// Who works on what in this process. There is an entry for a key only while somebody works on it or waits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns(Arc<Mutex<HashMap<Arc<str>, Line>>>);

#[derive(Debug)]
struct Line {
    one: Arc<Semaphore>,
    /// What the first in line said it was about.
    about: Bytes,
    /// Who is in line, the one whose turn it is among them.
    users: usize,
}

/// A place in line.
#[derive(Debug)]
pub(crate) struct Place {
    turns: Turns,
    key: Arc<str>,
    one: Arc<Semaphore>,
}

/// The turn to work on something; over when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    // In this order: who is next is let in before the line is looked at.
    _permit: OwnedSemaphorePermit,
    _place: Place,
}

impl Turns {
    /// Lines up for `key`; nothing if those in line are about something else.
    pub(crate) fn line_up(&self, key: &Arc<str>, about: &Bytes) -> Option<Place> {
        let mut lines = self.lines();
        let line = lines.entry(key.clone()).or_insert_with(|| Line {
            one: Arc::new(Semaphore::new(1)),
            about: about.clone(),
            users: 0,
        });
        if line.about != *about {
            return None;
        }
        line.users += 1;
        Some(Place { turns: self.clone(), key: key.clone(), one: line.one.clone() })
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<Arc<str>, Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The turn, if it is ours at once.
    pub(crate) fn at_once(self) -> Result<Turn, Self> {
        match self.one.clone().try_acquire_owned() {
            Ok(permit) => Ok(Turn { _permit: permit, _place: self }),
            Err(_) => Err(self),
        }
    }

    /// Waits for our turn.
    pub(crate) async fn turn(self) -> Turn {
        let permit = self.one.clone().acquire_owned().await.expect("the semaphore is never closed");
        Turn { _permit: permit, _place: self }
    }
}

impl Turn {
    /// Ends it when the saga is at rest, or nothing more is heard of it here.
    pub(crate) fn until_rest_of(self, course: &Course) {
        let mut stage = course.watch();
        tokio::spawn(async move {
            // An error is that nobody works on it here any more.
            let _ = stage.wait_for(|stage| matches!(stage, Stage::Settled(_) | Stage::Lost(_))).await;
            drop(self);
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.turns.lines();
        if let Some(line) = lines.get_mut(&self.key) {
            line.users -= 1;
            if line.users == 0 {
                lines.remove(&self.key);
            }
        }
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use super::*;

    fn line_up(turns: &Turns) -> Place {
        turns.line_up(&"key".into(), &Bytes::new()).unwrap()
    }

    #[tokio::test]
    async fn one_works_at_a_time_and_nobody_overtakes() {
        let turns = Turns::default();
        let first = line_up(&turns).at_once().unwrap();
        let (second, third) = (line_up(&turns), line_up(&turns));
        let mut second = tokio_test::task::spawn(second.turn());
        let mut third = tokio_test::task::spawn(third.turn());
        assert!(second.poll().is_pending() && third.poll().is_pending());
        drop(first);
        assert!(second.is_woken() && third.poll().is_pending());
        assert!(line_up(&turns).at_once().is_err(), "the turn is the second's");
        drop(second);
        assert!(third.poll().is_ready(), "the second has left");
    }

    #[tokio::test]
    async fn nothing_is_left_of_a_line_that_everybody_has_left() {
        let turns = Turns::default();
        let turn = line_up(&turns).at_once().unwrap();
        let mut waiting = tokio_test::task::spawn(line_up(&turns).turn());
        assert!(waiting.poll().is_pending());
        assert!(turns.line_up(&"key".into(), &Bytes::from_static(b"other")).is_none());
        drop(turn);
        assert!(turns.line_up(&"key".into(), &Bytes::from_static(b"other")).is_none(), "somebody waits still");
        drop(waiting);
        assert!(turns.0.lock().unwrap().is_empty());
        assert!(turns.line_up(&"key".into(), &Bytes::from_static(b"other")).is_some());
    }
}
