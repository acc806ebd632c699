//! The settings in force, where a call can read them without a lock.

use std::{mem, time::Duration};

use crate::{
    bulkhead::config::{BulkheadConfig, WhenFull},
    config::InvalidConfig,
    sync::{AtomicU32, AtomicU64, Mutex, Ordering, lock},
};

/// The settings in force.
///
/// What a call asks for lies beside them as atomics; the limit is the gate's.
pub(super) struct Settings {
    config: Mutex<BulkheadConfig>,
    pauses: AtomicU32,
    max_queue: AtomicU32,
    max_wait_nanos: AtomicU64,
}

impl Settings {
    pub(super) fn new(config: BulkheadConfig) -> Self {
        let settings = Self {
            pauses: AtomicU32::new(0),
            max_queue: AtomicU32::new(0),
            max_wait_nanos: AtomicU64::new(0),
            config: Mutex::new(config.clone()),
        };
        settings.mirror(&config);
        settings
    }

    pub(super) fn config(&self) -> BulkheadConfig {
        lock(&self.config).clone()
    }

    /// Changes some of the settings and returns what they were. `apply` is told the new ones before anybody else can
    /// change them again.
    pub(super) fn change(
        &self,
        change: impl FnOnce(&mut BulkheadConfig),
        apply: impl FnOnce(&BulkheadConfig) -> Result<(), InvalidConfig>,
    ) -> Result<BulkheadConfig, InvalidConfig> {
        let mut current = lock(&self.config);
        let mut config = current.clone();
        change(&mut config);
        config.validate()?;
        apply(&config)?;
        self.mirror(&config);
        Ok(mem::replace(&mut *current, config))
    }

    #[inline]
    pub(super) fn when_full(&self) -> WhenFull {
        if self.pauses.load(Ordering::Relaxed) == 0 { WhenFull::Reject } else { WhenFull::Pause }
    }

    pub(super) fn max_queue(&self) -> u32 {
        self.max_queue.load(Ordering::Relaxed)
    }

    pub(super) fn max_wait(&self) -> Duration {
        Duration::from_nanos(self.max_wait_nanos.load(Ordering::Relaxed))
    }

    /// Relaxed: each setting stands for itself, and a call that comes while they change may find either.
    fn mirror(&self, config: &BulkheadConfig) {
        self.pauses.store(u32::from(config.when_full == WhenFull::Pause), Ordering::Relaxed);
        self.max_queue.store(config.max_queue as u32, Ordering::Relaxed);
        self.max_wait_nanos.store(config.max_wait.as_nanos() as u64, Ordering::Relaxed);
    }
}
