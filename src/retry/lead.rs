//! What a call takes along: the policy, and the service that later attempts are made with.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use super::handle::Settings;

/// One reference for all that a first attempt doesn't need, and a later one does.
///
/// A service has a clone of what it is around put by from the start. So a call that succeeds at once, as most do, clones
/// no service: under a few layers that would be a reference counted, and counted back, for each of them.
pub(super) struct Lead<S> {
    pub(super) settings: Arc<Settings>,
    service: Mutex<S>,
    /// The lead that came first, which knows the newest. Itself, if it is gone.
    origin: Weak<Self>,
    /// The one to go by when the settings of this one are old. One at a time, however often they change.
    newer: Mutex<Option<Arc<Self>>>,
}

/// What leads to the settings of a call.
pub(super) trait Leads {
    fn settings(&self) -> &Arc<Settings>;
}

impl<S: Clone> Lead<S> {
    pub(super) fn new(service: S, settings: Arc<Settings>) -> Arc<Self> {
        Self::after(Weak::new(), service, settings)
    }

    fn after(origin: Weak<Self>, service: S, settings: Arc<Settings>) -> Arc<Self> {
        Arc::new(Self { settings, service: Mutex::new(service), origin, newer: Mutex::new(None) })
    }

    /// A service for another attempt. Has no readiness, and has to be made ready before it is called.
    pub(super) fn service(&self) -> S {
        lock(&self.service).clone()
    }

    /// Goes by the settings that are in force, if this doesn't.
    #[inline]
    pub(super) fn refresh(self: &mut Arc<Self>) {
        if !self.settings.are_current() {
            *self = self.newest();
        }
    }

    #[cold]
    fn newest(self: &Arc<Self>) -> Arc<Self> {
        let origin = self.origin.upgrade().unwrap_or_else(|| Arc::clone(self));
        let mut newer = lock(&origin.newer);
        let current = newer.as_ref().filter(|newer| newer.settings.are_current()).cloned();
        current.unwrap_or_else(|| {
            let made = Self::after(Arc::downgrade(&origin), self.service(), self.settings.renewed());
            // The old one is dropped without the lock, for a service may do anything then.
            let old = newer.replace(made.clone());
            drop(newer);
            drop(old);
            made
        })
    }
}

impl<S> Leads for Arc<Lead<S>> {
    #[inline]
    fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }
}

/// Without a service: of an operation that isn't one.
impl Leads for Arc<Settings> {
    fn settings(&self) -> &Arc<Settings> {
        self
    }
}

impl<S> fmt::Debug for Lead<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lead").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A panic in the clone of a service leaves nothing half-done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use super::*;
    use crate::retry::{Retry, RetryConfig};

    /// Counts how many of it there are.
    type Service = Arc<()>;

    fn with_attempts(retry: &Retry, max_attempts: u32) {
        retry.reconfigure(RetryConfig { max_attempts, ..retry.config() }).unwrap();
    }

    fn attempts(lead: &Lead<Service>) -> u32 {
        lead.settings.config.max_attempts
    }

    #[test]
    fn who_is_cloned_for_each_call_shares_the_newest() {
        let retry = Retry::new("lookup");
        let old = Lead::new(Service::default(), retry.settings());
        with_attempts(&retry, 7);
        let [first, second] = std::array::from_fn(|_| {
            let mut lead = old.clone();
            lead.refresh();
            lead
        });
        assert_eq!(attempts(&first), 7);
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn however_often_the_settings_change_there_is_one_old_and_one_new_service() {
        let retry = Retry::new("lookup");
        let service = Service::default();
        let old = Lead::new(service.clone(), retry.settings());
        let mut client = old.clone();
        for attempts_now in (2..50).rev() {
            with_attempts(&retry, attempts_now);
            client.refresh();
            assert_eq!(attempts(&client), attempts_now);
            assert_eq!(Arc::strong_count(&service), 1 + 2, "ours, the old one's and the new one's");
        }
        // The new one takes the old one's place.
        drop(old);
        for attempts_now in 2..50 {
            with_attempts(&retry, attempts_now);
            client.refresh();
            assert_eq!(attempts(&client), attempts_now);
            assert!(Arc::strong_count(&service) <= 1 + 2, "{}", Arc::strong_count(&service));
        }
        drop(client);
        assert_eq!(Arc::strong_count(&service), 1);
    }
}
