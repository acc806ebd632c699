//! How patient a coordinator is, and how long it remembers.

use std::time::Duration;

use crate::{
    InvalidConfig,
    backoff::Backoff,
    config::{check, check_duration},
    saga::machine::Rules,
};

/// The settings of a [`Coordinator`](super::Coordinator).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CoordinatorConfig {
    /// For how long nobody else takes over what this coordinator works on, though it is not heard of. Renewed three times
    /// in that time. More than zero; 5 s by default. A longer one leaves the sagas of a node that died lying for longer; a
    /// shorter one takes them from a node that only paused.
    pub lease: Duration,
    /// How often an undo or a promised call is tried before it is parked, from 1 on; 20 by default, which with the
    /// default [`backoff`](Self::backoff) is about a quarter of an hour.
    pub undo_attempts: u32,
    /// How long to wait before an undo or a promised call is tried again: from 200 ms on by default, doubled up to a
    /// minute.
    pub backoff: Backoff,
    /// How long one attempt at an undo or a promised call may take. More than zero; 10 s by default.
    pub undo_timeout: Duration,
    /// How many undos and promised calls are made at once, over all sagas, from 1 on; 64 by default.
    pub at_once: usize,
    /// How many sagas that others left are held at once, to be undone or finished, from 1 to 1,000,000; 1,000 by default.
    /// More stay in the journal and are taken over, the oldest first, as these come to rest. What has to wait for longer than
    /// a [`lease`](Self::lease) is let go of until then, and counts no more; what waits for its trial (see
    /// [`takeovers`](Self::takeovers)) counts, and so does a definition that is past its pivot or goes on. A larger number
    /// takes as much more memory, each saga with all its steps' arguments; a smaller one is filled anew more often. No bound
    /// to what this coordinator begins itself.
    pub recover_at_once: usize,
    /// How often a saga may be taken over, without getting anywhere, from owners that died, before it is suspected of being
    /// what kills them. 3 by default.
    ///
    /// A suspect is tried again when the coordinator has lived for a [`lease`](Self::lease), has taken nothing over in that
    /// time, and has no other suspect on trial; and the trial is written down before it begins. If the process dies in two
    /// trials of it, it is parked. If it lives until what it tried came back, or for a lease, the count begins anew. So a
    /// process that is killed again and again for another reason parks nothing. In one that never lives for a lease,
    /// suspects wait, and nothing is said of them until one does.
    pub takeovers: u32,
    /// How long a saga at rest, and the answer that belongs to its idempotency key, is kept. More than zero; a day by
    /// default.
    pub retention: Duration,
    /// How many bytes the arguments of one call may have, as JSON; 64 KiB by default, at most 1 MiB.
    pub argument_limit: usize,
    /// How many steps and promised calls one saga may have, from 1 on; 1,000 by default.
    pub step_limit: u32,
}

impl Default for CoordinatorConfig {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(5),
            undo_attempts: 20,
            backoff: Backoff::exponential(Duration::from_millis(200)).at_most(Duration::from_secs(60)),
            undo_timeout: Duration::from_secs(10),
            at_once: 64,
            recover_at_once: 1000,
            takeovers: 3,
            retention: Duration::from_secs(24 * 60 * 60),
            argument_limit: 64 << 10,
            step_limit: 1000,
        }
    }
}

impl CoordinatorConfig {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    ///
    /// The first setting that is out of its range.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        check_duration("coordinator.lease", self.lease)?;
        check("coordinator.undo_attempts", self.undo_attempts, 1.., "at least 1")?;
        self.backoff.validate()?;
        check_duration("coordinator.undo_timeout", self.undo_timeout)?;
        check("coordinator.at_once", self.at_once, 1..=1_000_000, "between 1 and 1,000,000")?;
        let recover_at_once = self.recover_at_once;
        check("coordinator.recover_at_once", recover_at_once, 1..=1_000_000, "between 1 and 1,000,000")?;
        check("coordinator.takeovers", self.takeovers, 1.., "at least 1")?;
        check_duration("coordinator.retention", self.retention)?;
        check("coordinator.argument_limit", self.argument_limit, 1..=1 << 20, "between 1 byte and 1 MiB")?;
        check("coordinator.step_limit", self.step_limit, 1..=1_000_000, "between 1 and 1,000,000")
    }

    pub(crate) fn rules(&self) -> Rules {
        Rules { attempts: self.undo_attempts, backoff: self.backoff, retention: self.retention, steps: self.step_limit }
    }
}
