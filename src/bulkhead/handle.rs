//! The bulkhead itself, without tower.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    bulkhead::{
        adaptive::Limiter,
        config::{BulkheadConfig, WhenFull},
        event,
        meter::Handles,
        permit::Permit,
        settings::Settings,
        snapshot::{BulkheadSnapshot, PartitionSnapshot, RejectionCounters},
        sort::Caller,
        stamp::Stamp,
        state::{Entry, Gate, Standing},
        wait::{Patience, Wait, Waiter},
    },
    config::{InvalidConfig, or_panic},
    deadline::Deadline,
    meter::{Meter, Stopwatch, Whose},
    name::Name,
    outcome::Outcome,
    registered::{Listed, Registered},
    rejection::{Reason, Rejection},
};

/// All bulkheads of the process.
static ALL: Registered<Shared> = Registered::new();

/// A bulkhead: what [`BulkheadLayer::handle`](crate::BulkheadLayer::handle) gives, and usable without tower.
///
/// Clones are handles of one and the same bulkhead.
///
/// ```
/// use buttress::bulkhead::Bulkhead;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let reports = Bulkhead::new("reports");
/// let permit = reports.acquire().await?;
/// // ... the work, for as long as the permit lives
/// assert_eq!(reports.snapshot().in_flight, 1);
/// drop(permit);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Bulkhead {
    shared: Arc<Shared>,
}

/// What all handles, services and permits of one bulkhead share.
struct Shared {
    gate: Gate,
    settings: Settings,
    limiter: Limiter,
    /// What calls are stamped by.
    made: Instant,
    rejected: RejectionCounters,
    meter: Meter<Handles>,
    name: Name,
}

impl Bulkhead {
    /// A bulkhead with the default settings.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn new(name: impl Into<Name>) -> Self {
        or_panic(Self::with_config(name, BulkheadConfig::default()))
    }

    /// A bulkhead with these settings.
    ///
    /// # Errors
    ///
    /// If the settings make no sense.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn with_config(name: impl Into<Name>, config: BulkheadConfig) -> Result<Self, InvalidConfig> {
        config.validate()?;
        let bulkhead = Self {
            shared: Arc::new(Shared {
                gate: Gate::new(0),
                settings: Settings::new(config.clone()),
                limiter: Limiter::default(),
                made: Instant::now(),
                rejected: RejectionCounters::default(),
                meter: Meter::new(),
                name: name.into().required(),
            }),
        };
        bulkhead.apply(&config)?;
        ALL.add(&bulkhead.shared);
        Ok(bulkhead)
    }

    /// The bulkhead's name.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// The settings in force.
    pub fn config(&self) -> BulkheadConfig {
        self.shared.settings.config()
    }

    /// Changes the settings. Permits that are out stay out, and whoever waits keeps its place.
    ///
    /// A higher limit lets in at once who waits. A lower one puts nobody out: calls come in again when enough have
    /// ended. A call that queues already keeps the `max_wait` it came with, and a service that is paused already stays
    /// so until it has a permit.
    ///
    /// # Errors
    ///
    /// If the settings make no sense; then nothing changes.
    pub fn reconfigure(&self, config: BulkheadConfig) -> Result<(), InvalidConfig> {
        let before = self.change(|current| *current = config.clone())?;
        event::reconfigured(self.name(), &before, &config);
        Ok(())
    }

    /// Changes some of the settings and returns what they were. For the layer's setters.
    pub(super) fn change(&self, change: impl FnOnce(&mut BulkheadConfig)) -> Result<BulkheadConfig, InvalidConfig> {
        let before = self.shared.settings.change(change, |config| self.apply(config))?;
        // Not before the settings are unlocked: it wakes tasks, which may ask for them.
        self.gate().hand_over(Instant::now);
        Ok(before)
    }

    fn apply(&self, config: &BulkheadConfig) -> Result<(), InvalidConfig> {
        let gate = self.gate();
        gate.set_rules(config).map_err(|()| {
            let problem = "too many at once: more than 255, with those that are gone and still have calls";
            InvalidConfig::new("bulkhead.partitions", problem)
        })?;
        let adaptive = config.adaptive.as_ref();
        self.shared.limiter.set(adaptive, config.max_concurrent, self.age(), |limit| gate.set_limit(limit));
        gate.set_measured(adaptive.is_some());
        Ok(())
    }

    /// The bulkhead at this moment.
    pub fn snapshot(&self) -> BulkheadSnapshot {
        BulkheadSnapshot::of(self.gate().counts(), self.shared.rejected.read())
    }

    /// The partitions at this moment, the default one first. What came in before there were any is in none of them.
    pub fn partitions(&self) -> Vec<PartitionSnapshot> {
        self.gate().partitions()
    }

    /// A permit, if one is free and nobody waits for it. Never waits, whatever the settings.
    ///
    /// # Errors
    ///
    /// With [`Reason::BulkheadFull`].
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit, Rejection> {
        self.enter(Standing::default()).ok_or_else(|| self.refuse(Reason::BulkheadFull))
    }

    /// As [`try_acquire`](Self::try_acquire), for a call of this priority and partition.
    ///
    /// # Errors
    ///
    /// With [`Reason::BulkheadFull`], also where there is room, but not for such a call.
    pub fn try_acquire_as(&self, caller: Caller<'_>) -> Result<Permit, Rejection> {
        self.enter(caller.standing(self)).ok_or_else(|| self.refuse(Reason::BulkheadFull))
    }

    /// A permit, waiting for one as the settings say: not at all, for `max_wait`, or with [`WhenFull::Pause`] for as
    /// long as it takes. Who came first is served first.
    ///
    /// # Errors
    ///
    /// With [`Reason::BulkheadFull`] where calls do not queue, [`Reason::QueueFull`] if `max_queue` others wait,
    /// [`Reason::WaitExpired`] after `max_wait`, and [`Reason::DeadlinePassed`] once the task's
    /// [deadline](Deadline::current) has passed while it waited or before it would have had to.
    ///
    /// # Panics
    ///
    /// If it has to wait for at most `max_wait` outside of a tokio runtime with a timer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the queue at once, and gives back a permit that had just been handed to it. Its place
    /// in the queue is lost.
    pub async fn acquire(&self) -> Result<Permit, Rejection> {
        self.acquire_with(Standing::default()).await
    }

    /// As [`acquire`](Self::acquire), for a call of this priority and partition.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire), and with [`Reason::QueueFull`] also if a call that matters more has taken its place.
    ///
    /// # Panics
    ///
    /// If it has to wait for at most `max_wait` outside of a tokio runtime with a timer.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_as(&self, caller: Caller<'_>) -> Result<Permit, Rejection> {
        self.acquire_with(caller.standing(self)).await
    }

    async fn acquire_with(&self, standing: Standing) -> Result<Permit, Rejection> {
        if let Some(permit) = self.enter(standing) {
            return Ok(permit);
        }
        let longest = match self.when_full() {
            WhenFull::Reject => Some(self.shared.settings.max_wait()),
            WhenFull::Pause => None,
        };
        match self.wait_within(longest, standing)? {
            Admission::Admitted(permit) => Ok(permit),
            Admission::Queued(wait) => wait.await,
        }
    }

    #[inline]
    pub(super) fn when_full(&self) -> WhenFull {
        self.shared.settings.when_full()
    }

    #[inline]
    pub(super) fn gate(&self) -> &Gate {
        &self.shared.gate
    }

    /// Whether somebody else has this bulkhead too: a handle, a service, a permit.
    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    #[inline]
    pub(super) fn enter(&self, standing: Standing) -> Option<Permit> {
        if self.gate().try_enter() {
            return Some(Permit::of(self.clone(), Stamp::PLAIN));
        }
        if self.gate().is_marked() { self.enter_marked(standing) } else { None }
    }

    /// For a gate that has more to it than a limit.
    #[cold]
    #[inline(never)]
    fn enter_marked(&self, standing: Standing) -> Option<Permit> {
        let gate = self.gate();
        if gate.is_sorted() {
            gate.try_enter_sorted(standing, Instant::now()).then(|| self.counted_permit(standing.slot))
        } else if gate.is_measured() {
            gate.try_enter_measured().then(|| Permit::of(self.clone(), self.begun(Stamp::PLAIN)))
        } else {
            None
        }
    }

    /// A permit for somebody whom the gate has let in by way of its lock.
    pub(super) fn counted_permit(&self, slot: u8) -> Permit {
        Permit::of(self.clone(), self.begun(Stamp::PLAIN.counted_in(slot)))
    }

    /// As of a call that begins now.
    pub(super) fn begun(&self, stamp: Stamp) -> Stamp {
        if self.gate().is_measured() { stamp.begun(self.age()) } else { stamp }
    }

    /// A call has ended; its permit has not been given back yet.
    #[cold]
    #[inline(never)]
    pub(super) fn learn(&self, stamp: Stamp, outcome: Outcome) {
        let (now, gate) = (self.age(), self.gate());
        let set_limit = |limit| gate.set_limit(limit);
        let change = self.shared.limiter.record(outcome, stamp.took(now), gate.counts().inside, now, set_limit);
        if let Some(change) = change {
            gate.hand_over(Instant::now);
            let Handles { raised, lowered, .. } = self.meter();
            if change.after > change.before { raised } else { lowered }.increment();
            event::limit_moved(self, change);
        }
    }

    #[inline]
    pub(super) fn meter(&self) -> &Handles {
        self.shared.meter.get(self.whose())
    }

    fn whose(&self) -> Whose<'_> {
        Whose { policy: "bulkhead", name: self.name() }
    }

    /// How long ago the bulkhead was made.
    fn age(&self) -> Duration {
        self.shared.made.elapsed()
    }

    /// Comes in, or into the queue. `None` if that is full too.
    pub(super) fn enter_or_wait(&self, standing: Standing, now: Instant) -> Option<Admission<Waiter>> {
        match self.gate().enter_or_wait(self.shared.settings.max_queue(), standing, now) {
            Entry::Admitted => Some(Admission::Admitted(self.counted_permit(standing.slot))),
            Entry::Queued(ticket) => {
                let waiter = Waiter::new(self.clone(), ticket, Stopwatch::started(now));
                event::queued(self);
                Some(Admission::Queued(waiter))
            }
            Entry::QueueFull => None,
        }
    }

    /// For a call that has found no permit, and can't be paused any more.
    pub(super) fn queue_or_refuse(&self, standing: Standing) -> Result<Admission<Wait>, Rejection> {
        match self.when_full() {
            WhenFull::Reject => self.wait_within(Some(self.shared.settings.max_wait()), standing),
            // Its service was ready only because there was no place among the paused.
            WhenFull::Pause => Err(self.refuse(Reason::QueueFull)),
        }
    }

    fn wait_within(&self, longest: Option<Duration>, standing: Standing) -> Result<Admission<Wait>, Rejection> {
        if longest == Some(Duration::ZERO) {
            return Err(self.refuse(Reason::BulkheadFull));
        }
        let (now, deadline) = (Instant::now(), Deadline::current());
        if deadline.is_some_and(|deadline| deadline.has_passed(now)) {
            return Err(self.refuse(Reason::DeadlinePassed));
        }
        match self.enter_or_wait(standing, now) {
            Some(Admission::Admitted(permit)) => Ok(Admission::Admitted(permit)),
            Some(Admission::Queued(waiter)) => {
                let patience = Patience::new(longest, deadline, self.gate().is_sorted(), now);
                Ok(Admission::Queued(Wait::new(waiter, patience, now)))
            }
            None => Err(self.refuse(Reason::QueueFull)),
        }
    }

    #[cold]
    pub(super) fn refuse(&self, reason: Reason) -> Rejection {
        self.shared.rejected.count(reason);
        self.meter().refused(reason);
        event::refused(self, reason);
        Rejection::new("bulkhead", self.name().clone(), reason)
    }
}

/// How the bulkhead took a call that it did not refuse.
#[derive(Debug)]
pub(super) enum Admission<W> {
    Admitted(Permit),
    Queued(W),
}

impl Listed for Bulkhead {
    const KIND: &'static str = "bulkhead";

    fn listed() -> Vec<Self> {
        ALL.alive().into_iter().map(|shared| Self { shared }).collect()
    }

    fn name(&self) -> &Name {
        self.name()
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BulkheadSnapshot { limit, in_flight, waiting, rejected } = self.snapshot();
        write!(f, "{in_flight} of {limit} inside, {waiting} waiting, {} refused", rejected.total())
    }

    #[cfg(feature = "metrics")]
    fn observe(&self, gauges: &mut crate::metrics::Gauges) {
        super::meter::gauges::of(self.whose(), &self.snapshot(), &self.partitions(), gauges);
    }
}

impl fmt::Debug for Bulkhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = self.snapshot();
        f.debug_struct("Bulkhead")
            .field("name", self.name())
            .field("limit", &snapshot.limit)
            .field("in_flight", &snapshot.in_flight)
            .field("waiting", &snapshot.waiting)
            .finish_non_exhaustive()
    }
}
