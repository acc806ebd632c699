//! The rate limit itself, without tower.

use std::{
    fmt, mem,
    sync::{Arc, Mutex},
    task::Waker,
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    clock::{self, Clock, Epoch, Real},
    config::{InvalidConfig, LONGEST, or_panic},
    deadline::Deadline,
    meter,
    name::Name,
    rate_limit::{
        config::RateLimitConfig,
        event,
        fields::Fields,
        meter::{Handles, Why, whose},
        queue::{Entry, Queue, Ticket, Turn},
        snapshot::{Count, RateLimitSnapshot},
        state::{Meter, Pace},
        wait::Wait,
    },
    registered::{Listed, Registered},
    rejection::{Reason, Rejection},
    striped::Striped,
    sync::{AtomicU32, AtomicU64, Ordering},
};

/// A rate limit: what [`RateLimitLayer::handle`](crate::RateLimitLayer::handle) gives, and usable without tower.
///
/// Clones are handles of one and the same limit.
///
/// ```
/// use buttress::rate_limit::RateLimit;
///
/// let mails = RateLimit::new("mails");
/// if mails.try_acquire().is_ok() {
///     // ... send one
/// }
/// assert_eq!(mails.snapshot().allowed, 1);
/// ```
#[derive(Clone)]
pub struct RateLimit {
    shared: Arc<Shared>,
}

/// What all handles and services of one limit share.
struct Shared {
    meter: Meter,
    queue: Queue,
    counts: Box<Striped<3>>,
    watch: meter::Meter<Handles>,
    max_wait_nanos: AtomicU64,
    max_queue: AtomicU32,
    announces: AtomicU32,
    /// What the meter's times count from.
    epoch: Epoch,
    config: Mutex<RateLimitConfig>,
    name: Name,
}

static ALL: Registered<Shared> = Registered::new();

impl Listed for RateLimit {
    const KIND: &'static str = "rate_limit";

    fn listed() -> Vec<Self> {
        ALL.alive().into_iter().map(|shared| Self { shared }).collect()
    }

    fn name(&self) -> &Name {
        self.name()
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RateLimitConfig { limit, per, .. } = self.config();
        let RateLimitSnapshot { allowed, refused, waiting, available, .. } = self.snapshot();
        write!(f, "{limit} in {per:?}, {available} left, {allowed} let through, {refused} refused, {waiting} waiting")
    }

    #[cfg(feature = "metrics")]
    fn observe(&self, gauges: &mut crate::metrics::Gauges) {
        let RateLimitSnapshot { waiting, available, .. } = self.snapshot();
        super::meter::gauges::of_one(self.name(), waiting.into(), available.into(), gauges);
    }
}

impl RateLimit {
    /// A rate limit with the default settings: 100 calls a second.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn new(name: impl Into<Name>) -> Self {
        or_panic(Self::with_config(name, RateLimitConfig::default()))
    }

    /// A rate limit with these settings.
    ///
    /// # Errors
    ///
    /// If the settings make no sense.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn with_config(name: impl Into<Name>, config: RateLimitConfig) -> Result<Self, InvalidConfig> {
        let limit = Self::unlisted(name.into().required(), config, meter::Meter::new())?;
        ALL.add(&limit.shared);
        Ok(limit)
    }

    /// One that isn't in the registry: a key's, which counts by all keys' `watch`.
    pub(super) fn unlisted(
        name: Name,
        config: RateLimitConfig,
        watch: meter::Meter<Handles>,
    ) -> Result<Self, InvalidConfig> {
        config.validate()?;
        let shared = Shared {
            meter: Meter::new(pace(&config)),
            queue: Queue::default(),
            counts: Box::new(Striped::new()),
            watch,
            max_wait_nanos: AtomicU64::new(0),
            max_queue: AtomicU32::new(0),
            announces: AtomicU32::new(0),
            epoch: Epoch::new(clock::now()),
            config: Mutex::new(config.clone()),
            name,
        };
        shared.mirror(&config);
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The limit's name.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// The settings in force.
    pub fn config(&self) -> RateLimitConfig {
        self.lock_config().clone()
    }

    /// Changes the settings. What was used stays used: of a burst of 100 with 60 used, a burst of 80 has 20 left.
    ///
    /// Whoever waits keeps its place and for how long it may wait; its turn comes by the new rate.
    ///
    /// # Errors
    ///
    /// If the settings make no sense; then nothing changes.
    pub fn reconfigure(&self, config: RateLimitConfig) -> Result<(), InvalidConfig> {
        let before = self.change(|current| *current = config.clone())?;
        event::reconfigured(self.name(), &before, &config);
        Ok(())
    }

    /// Changes some of the settings and returns what they were. For the layer's setters.
    pub(super) fn change(&self, change: impl FnOnce(&mut RateLimitConfig)) -> Result<RateLimitConfig, InvalidConfig> {
        let mut current = self.lock_config();
        let mut config = current.clone();
        change(&mut config);
        config.validate()?;
        self.shared.mirror(&config);
        self.shared.meter.change(pace(&config), self.now());
        let before = mem::replace(&mut *current, config);
        // Not before the settings are unlocked: it wakes a task, which may ask for them.
        drop(current);
        self.shared.queue.wake_first();
        Ok(before)
    }

    /// The limit at this moment.
    pub fn snapshot(&self) -> RateLimitSnapshot {
        let counts = &self.shared.counts;
        RateLimitSnapshot {
            allowed: counts.read(Count::Allowed as usize),
            refused: counts.read(Count::Refused as usize),
            waited: counts.read(Count::Waited as usize),
            waiting: self.waiting(),
            available: self.available(self.now()),
        }
    }

    /// Lets a call through if it may come now. Never waits, whatever the settings.
    ///
    /// # Errors
    ///
    /// With [`Reason::RateLimited`], and when its turn would be.
    pub fn try_acquire(&self) -> Result<(), Rejection> {
        self.try_acquire_many(1)
    }

    /// As [`try_acquire`](Self::try_acquire), for a call that counts as `weight` of them. One that counts for nothing
    /// is always let through.
    ///
    /// # Errors
    ///
    /// With [`Reason::RateLimited`], and when its turn would be; without, if it weighs more than the burst, for then
    /// its turn never comes.
    pub fn try_acquire_many(&self, weight: u32) -> Result<(), Rejection> {
        let now = self.now();
        if self.admit(weight, now) { Ok(()) } else { Err(self.refuse(Why::Rate, weight, now)) }
    }

    /// Lets a call through when its turn comes, if that is within `max_wait` and before the current
    /// [`Deadline`](crate::Deadline). Who came first is served first.
    ///
    /// # Errors
    ///
    /// With [`Reason::RateLimited`], at once: if its turn would come too late, or `max_queue` others wait.
    ///
    /// # Panics
    ///
    /// If it has to wait outside of a tokio runtime with a timer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the place in the queue up, with all that is due to it: whoever is behind moves up.
    pub async fn acquire(&self) -> Result<(), Rejection> {
        self.acquire_many(1).await
    }

    /// As [`acquire`](Self::acquire), for a call that counts as `weight` of them.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire); also if it weighs more than the burst.
    ///
    /// # Panics
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_many(&self, weight: u32) -> Result<(), Rejection> {
        let now = self.now();
        if self.admit(weight, now) {
            return Ok(());
        }
        match self.wait_or_refuse(weight, now)? {
            Some(wait) => wait.await,
            None => Ok(()),
        }
    }

    /// Now, as the meter counts.
    #[inline]
    pub(super) fn now(&self) -> u64 {
        Real.since(self.shared.epoch)
    }

    /// Whether a call is let through at once.
    #[inline]
    pub(super) fn admit(&self, weight: u32, now: u64) -> bool {
        let shared = &*self.shared;
        let admitted = (shared.queue.is_empty() && shared.meter.take(weight, now).is_ok()) || weight == 0;
        if admitted {
            self.allowed();
        }
        admitted
    }

    /// For a call that may not come now: how it waits, or nothing if it may come after all.
    #[cold]
    pub(super) fn wait_or_refuse(&self, weight: u32, now: u64) -> Result<Option<Wait>, Rejection> {
        let shared = &*self.shared;
        let max_wait = Duration::from_nanos(shared.max_wait_nanos.load(Ordering::Relaxed));
        if max_wait.is_zero() || shared.meter.is_too_much(weight) {
            return Err(self.refuse(Why::Rate, weight, now));
        }
        let at = shared.epoch.after(now);
        let in_time = |deadline: Deadline| deadline.remaining(at).saturating_sub(Duration::from_nanos(1));
        let longest = Deadline::current().map_or(max_wait, |deadline| in_time(deadline).min(max_wait));
        let max_queue = shared.max_queue.load(Ordering::Relaxed);
        match shared.queue.join(&shared.meter, weight, max_queue, longest.as_nanos() as u64, now) {
            Entry::Admitted => {
                self.allowed();
                Ok(None)
            }
            Entry::Queued(ticket) => {
                let in_time = longest == max_wait;
                let wait = Wait::new(self.clone(), weight, ticket, at, longest, in_time);
                shared.counts.count(Count::Waited as usize);
                event::queued(self, weight);
                Ok(Some(wait))
            }
            Entry::Refused { after, full } => {
                let wait = Duration::from_nanos(after);
                let why = match full {
                    true => Why::QueueFull,
                    false if wait <= max_wait => Why::Deadline,
                    false => Why::Rate,
                };
                Err(self.refused(why, weight, wait))
            }
        }
    }

    pub(super) fn poll_turn(&self, ticket: Ticket, at: Instant, waker: &Waker) -> Result<(), Turn> {
        self.shared.queue.poll(&self.shared.meter, ticket, self.shared.epoch.nanos(at), waker)?;
        self.allowed();
        Ok(())
    }

    pub(super) fn leave(&self, ticket: Ticket) {
        self.shared.queue.leave(ticket);
    }

    /// A refusal that says when the call's turn would be.
    #[cold]
    pub(super) fn refuse(&self, why: Why, weight: u32, now: u64) -> Rejection {
        let shared = &*self.shared;
        if shared.meter.is_too_much(weight) {
            shared.counts.count(Count::Refused as usize);
            self.watch().refused(Why::TooHeavy);
            event::too_heavy(self, weight);
            return self.rejection();
        }
        let tokens = shared.queue.tokens() + u64::from(weight);
        self.refused(why, weight, Duration::from_nanos(shared.meter.wait(tokens, now)))
    }

    pub(super) fn refuse_at(&self, why: Why, weight: u32, at: Instant) -> Rejection {
        self.refuse(why, weight, self.shared.epoch.nanos(at))
    }

    fn refused(&self, why: Why, weight: u32, wait: Duration) -> Rejection {
        self.shared.counts.count(Count::Refused as usize);
        self.watch().refused(why);
        event::refused(self, why, weight, wait);
        self.rejection().with_retry_after(wait)
    }

    #[inline]
    fn allowed(&self) {
        self.shared.counts.count(Count::Allowed as usize);
        self.watch().allowed.increment();
    }

    #[inline]
    pub(super) fn watch(&self) -> &Handles {
        self.shared.watch.get(whose(self.name()))
    }

    fn rejection(&self) -> Rejection {
        Rejection::new("rate_limit", self.name().clone(), Reason::RateLimited)
    }

    /// What there is to say over HTTP of what is left.
    pub(super) fn fields(&self) -> Fields {
        let now = self.now();
        let tokens = self.shared.queue.tokens();
        Fields::new(self.name(), &self.config(), self.available(now), self.wait_beyond(tokens, now))
    }

    /// How long it takes until one more is available than is now, if not all are.
    fn wait_beyond(&self, tokens: u64, now: u64) -> Option<Duration> {
        let available = u64::from(self.available(now));
        let nanos = self.shared.meter.wait(tokens + available + 1, now);
        (available < u64::from(self.config().burst_or_limit())).then(|| Duration::from_nanos(nanos))
    }

    #[inline]
    pub(super) fn announces(&self) -> bool {
        self.shared.announces.load(Ordering::Relaxed) != 0
    }

    pub(super) fn waiting(&self) -> u32 {
        self.shared.queue.waiting()
    }

    fn available(&self, now: u64) -> u32 {
        if !self.shared.queue.is_empty() {
            return 0;
        }
        u32::try_from(self.shared.meter.available(now)).unwrap_or(u32::MAX)
    }

    /// Whether a new one would do as well: nobody waits, and nothing is used.
    pub(super) fn is_unused(&self) -> bool {
        self.shared.queue.is_empty() && self.shared.meter.is_full(self.now())
    }

    /// Whether somebody else has this limit too: a handle, a service.
    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    fn lock_config(&self) -> std::sync::MutexGuard<'_, RateLimitConfig> {
        self.shared.config.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn pace(config: &RateLimitConfig) -> Pace {
    Pace::new(config.interval(), config.burst_or_limit())
}

impl Shared {
    /// Relaxed: each setting stands for itself, and a call that comes while they change may find either.
    fn mirror(&self, config: &RateLimitConfig) {
        debug_assert!(config.max_wait <= LONGEST);
        self.max_wait_nanos.store(config.max_wait.as_nanos() as u64, Ordering::Relaxed);
        self.max_queue.store(config.max_queue as u32, Ordering::Relaxed);
        self.announces.store(u32::from(config.announce), Ordering::Relaxed);
    }
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = self.config();
        f.debug_struct("RateLimit")
            .field("name", self.name())
            .field("limit", &config.limit)
            .field("per", &config.per)
            .field("snapshot", &self.snapshot())
            .finish_non_exhaustive()
    }
}
