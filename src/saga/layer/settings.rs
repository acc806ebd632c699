//! What a [`SagaLayer`](super::SagaLayer) is told.

use std::{fmt, sync::Arc, time::Duration};

use http::request::Parts;

use crate::name::Name;

/// What becomes of a saga whose client hangs up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum OnDisconnect {
    /// It goes on as if nothing had happened: whoever asks again finds it done.
    #[default]
    Continue,
    /// The handler is cut off, at whatever `.await` it stands, and what it did is undone.
    Undo,
}

/// What becomes of a request that wants for itself what another, unfinished saga works on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum OnConflict {
    /// It waits for its turn, first come first served, until its deadline or for as long as
    /// [`max_wait`](super::SagaLayer::max_wait); then it is answered 409.
    #[default]
    Wait,
    /// It is answered 409 at once.
    Conflict,
    /// It is answered 423 at once.
    Locked,
}

/// What a request wants for itself.
pub(crate) type ExclusiveBy = Arc<dyn Fn(&Parts) -> Option<String> + Send + Sync>;

/// How a layer treats its requests.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) name: Name,
    pub(crate) deadline: Option<Duration>,
    pub(crate) on_disconnect: OnDisconnect,
    /// How long a failing answer waits for the undo.
    pub(crate) undo_wait: Duration,
    /// How long a request without a deadline waits for another.
    pub(crate) max_wait: Duration,
    pub(crate) exclusive: Option<ExclusiveBy>,
    pub(crate) on_conflict: OnConflict,
}

impl Settings {
    pub(crate) fn new(name: Name) -> Self {
        Self {
            name,
            deadline: None,
            on_disconnect: OnDisconnect::default(),
            undo_wait: Duration::from_secs(1),
            max_wait: Duration::from_secs(10),
            exclusive: None,
            on_conflict: OnConflict::default(),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("name", &self.name)
            .field("deadline", &self.deadline)
            .field("on_disconnect", &self.on_disconnect)
            .field("undo_wait", &self.undo_wait)
            .field("max_wait", &self.max_wait)
            .field("exclusive", &self.exclusive.is_some())
            .field("on_conflict", &self.on_conflict)
            .finish()
    }
}
