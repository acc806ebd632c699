//! The bulkhead itself, without tower.

mod admission;

use std::{fmt, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use tokio::time::Instant;

pub(super) use self::admission::Admission;
use crate::{
    bulkhead::{
        POLICY,
        adaptive::Limiter,
        config::BulkheadConfig,
        event,
        meter::{self, Handles},
        permit::Permit,
        settings::Settings,
        snapshot::{BulkheadSnapshot, PartitionSnapshot, RejectionCounters},
        sort::Caller,
        stamp::Stamp,
        state::{Gate, Standing},
    },
    clock,
    config::{InvalidConfig, or_panic},
    meter::{Meter, Whose},
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
    /// Of a bulkhead that is one of a keyed one's.
    of: Option<Of>,
}

/// Which one of a keyed bulkhead's it is, and where what is refused of all keys is counted.
pub(super) struct Of {
    /// Is shown and nothing else, so no panic leaves it half-way.
    pub(super) key: AssertUnwindSafe<Box<dyn fmt::Debug + Send + Sync>>,
    pub(super) rejected: Arc<RejectionCounters>,
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
        let bulkhead = Self::unlisted(name.into().required(), config, None, Meter::new())?;
        ALL.add(&bulkhead.shared);
        Ok(bulkhead)
    }

    /// A bulkhead that the registry doesn't show: it is one of a keyed one's. Its settings have been validated.
    pub(super) fn unlisted(
        name: Name,
        config: BulkheadConfig,
        of: Option<Of>,
        meter: Meter<Handles>,
    ) -> Result<Self, InvalidConfig> {
        let bulkhead = Self {
            shared: Arc::new(Shared {
                gate: Gate::new(0),
                settings: Settings::new(config.clone()),
                limiter: Limiter::default(),
                made: clock::now(),
                rejected: RejectionCounters::default(),
                meter,
                name,
                of,
            }),
        };
        bulkhead.apply(&config)?;
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
        self.gate().hand_over(clock::now);
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

    /// A permit, waiting for one as the settings say: not at all, for `max_wait`, or with
    /// [`WhenFull::Pause`](crate::bulkhead::WhenFull::Pause) for as long as it takes. Who came first is served first.
    ///
    /// # Errors
    ///
    /// With [`Reason::BulkheadFull`] where calls do not queue, [`Reason::QueueFull`] if `max_queue` others wait,
    /// [`Reason::WaitExpired`] after `max_wait`, and [`Reason::DeadlinePassed`] once the task's
    /// [deadline](crate::Deadline::current) has passed while it waited or before it would have had to.
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

    /// Whose it is, of a keyed bulkhead's.
    pub(super) fn key(&self) -> Option<&dyn fmt::Debug> {
        Some(&**self.shared.of.as_ref()?.key)
    }

    #[inline]
    pub(super) fn gate(&self) -> &Gate {
        &self.shared.gate
    }

    /// Whether somebody else has this bulkhead too: a handle, a service, a permit.
    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    /// A call has ended; its permit has not been given back yet.
    #[cold]
    #[inline(never)]
    pub(super) fn learn(&self, stamp: Stamp, outcome: Outcome) {
        let (now, gate) = (self.age(), self.gate());
        let set_limit = |limit| gate.set_limit(limit);
        let change = self.shared.limiter.record(outcome, stamp.took(now), gate.counts().inside, now, set_limit);
        if let Some(change) = change {
            gate.hand_over(clock::now);
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
        meter::whose(self.name())
    }

    /// How long ago the bulkhead was made.
    fn age(&self) -> Duration {
        self.shared.made.elapsed()
    }
}

impl Listed for Bulkhead {
    const KIND: &'static str = POLICY;

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
