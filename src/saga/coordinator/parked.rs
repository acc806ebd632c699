//! How many sagas are parked, as the journal says: they stay so over a restart, and another coordinator may park one.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    meter::COUNTS,
    name::Name,
    saga::{
        coordinator::hub::Hub,
        journal::{Filter, State},
    },
};

/// How often it is looked when nobody knows of a reason.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How many are counted at most: each is read.
const MOST: u32 = 1000;

/// How many sagas were parked when it was last looked, by name.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    counted: Mutex<Vec<(Name, u64)>>,
    looked: Mutex<Option<Instant>>,
    again: AtomicBool,
}

impl Parked {
    /// One was parked, or an operator decided about one.
    pub(crate) fn look_again(&self) {
        self.again.store(true, Ordering::Relaxed);
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn counted(&self) -> Vec<(Name, u64)> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_due(&self, now: Instant) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = self.again.swap(false, Ordering::Relaxed)
            || looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK_EVERY);
        if is_due {
            *looked = Some(now);
        }
        is_due
    }
}

/// Counts them, if they are shown to anybody and may have changed.
pub(crate) async fn look(hub: &Hub) {
    if !COUNTS || !hub.parked.is_due(Instant::now()) {
        return;
    }
    let filter = Filter { state: Some(State::Parked), name: None, before: None, limit: MOST };
    // A journal that can't be read is told of by those who need it; this is looked at again.
    let Ok(rows) = hub.writer.ask(move |journal| journal.list(&filter)).await else { return hub.parked.look_again() };
    let mut counted: Vec<(Name, u64)> = Vec::new();
    for row in rows {
        match counted.iter_mut().find(|(name, _)| *name == row.name) {
            Some((_, count)) => *count += 1,
            None => counted.push((row.name, 1)),
        }
    }
    *hub.parked.counted.lock().unwrap_or_else(PoisonError::into_inner) = counted;
}
