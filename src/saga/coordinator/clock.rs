//! The time as a journal tells it: the wall's when the process began, and from then on only what has passed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::saga::journal::Millis;

/// A clock that doesn't jump when the wall's does (an hour back would keep a lease alive for an hour).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    began: Instant,
    wall: Duration,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { began: Instant::now(), wall }
    }

    pub(crate) fn now(&self) -> Millis {
        Millis::try_from((self.wall + self.began.elapsed()).as_millis()).unwrap_or(Millis::MAX)
    }

    /// The time at `instant`.
    pub(crate) fn at(&self, instant: Instant) -> Millis {
        let time = self.wall + instant.saturating_duration_since(self.began);
        Millis::try_from(time.as_millis()).unwrap_or(Millis::MAX)
    }

    /// When it was `time`; now, if that is yet to come or too long ago.
    pub(crate) fn instant(&self, time: Millis) -> Instant {
        let now = Instant::now();
        let ago = Duration::from_millis(self.now().saturating_sub(time));
        now.checked_sub(ago).unwrap_or(now)
    }

    /// How long it is until `at`.
    pub(crate) fn until(&self, at: Millis) -> Duration {
        Duration::from_millis(at).saturating_sub(self.wall + self.began.elapsed())
    }
}
