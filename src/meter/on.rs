//! With the feature: handles of the recorder that is installed.

use std::{
    fmt,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use metrics::{Key, KeyName, Label, Level, Metadata, Unit};
use tokio::time::Instant;

use super::{Metric, Register, Whose};
use crate::name::Name;

/// A policy's handles, registered when they are first asked for, for the recorder may be installed after the policy was
/// made. From then on asking is one atomic load. A clone has the same ones.
pub(crate) struct Meter<M>(Arc<OnceLock<M>>);

impl<M: Register> Meter<M> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(OnceLock::new()))
    }

    #[inline]
    pub(crate) fn get(&self, whose: Whose<'_>) -> &M {
        match self.0.get() {
            Some(handles) => handles,
            None => self.register(whose),
        }
    }

    #[cold]
    fn register(&self, whose: Whose<'_>) -> &M {
        self.0.get_or_init(|| M::register(whose))
    }
}

impl<M> Clone for Meter<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M> fmt::Debug for Meter<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meter")
    }
}

/// Asserted: a handle is shared by reference with the recorder, of which a panic here leaves nothing half-way.
#[derive(Debug)]
pub(crate) struct Counter(AssertUnwindSafe<metrics::Counter>);

impl Counter {
    pub(crate) fn register(metric: Metric, whose: Whose<'_>, labels: &[(&'static str, &'static str)]) -> Self {
        let counter = metrics::with_recorder(|recorder| {
            recorder.describe_counter(KeyName::from_const_str(metric.name), None, metric.help.into());
            recorder.register_counter(&key(metric, whose, labels), &METADATA)
        });
        Self(AssertUnwindSafe(counter))
    }

    #[inline]
    pub(crate) fn increment(&self) {
        self.0.increment(1);
    }

    #[inline]
    pub(crate) fn add(&self, by: u32) {
        self.0.increment(by.into());
    }
}

#[derive(Debug)]
pub(crate) struct Histogram(AssertUnwindSafe<metrics::Histogram>);

impl Histogram {
    pub(crate) fn register(metric: Metric, whose: Whose<'_>) -> Self {
        let unit = metric.name.ends_with("_seconds").then_some(Unit::Seconds);
        let histogram = metrics::with_recorder(|recorder| {
            recorder.describe_histogram(KeyName::from_const_str(metric.name), unit, metric.help.into());
            recorder.register_histogram(&key(metric, whose, &[]), &METADATA)
        });
        Self(AssertUnwindSafe(histogram))
    }

    #[inline]
    pub(crate) fn record(&self, value: u32) {
        self.0.record(f64::from(value));
    }

    /// The time since then, in seconds.
    #[inline]
    pub(crate) fn since(&self, stopwatch: Stopwatch) {
        self.0.record(stopwatch.0.elapsed().as_secs_f64());
    }
}

/// When something began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[inline]
    pub(crate) fn started(now: Instant) -> Self {
        Self(now)
    }
}

/// Something that is to be counted as cancelled if it is dropped before it is settled.
#[derive(Debug)]
pub(crate) struct Unsettled(bool);

impl Unsettled {
    #[inline]
    pub(crate) fn new() -> Self {
        Self(true)
    }

    /// Something of which nothing is left to be counted.
    #[inline]
    pub(crate) fn settled() -> Self {
        Self(false)
    }

    /// Whether it wasn't.
    #[inline]
    pub(crate) fn settle(&mut self) -> bool {
        std::mem::replace(&mut self.0, false)
    }
}

/// How many there are of something, for a gauge. A clone counts the same.
#[derive(Debug, Clone)]
pub(crate) struct Tally(Arc<AtomicU64>);

impl Tally {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// One more, until what this gives is dropped. Relaxed, for it is read for people.
    #[inline]
    pub(crate) fn enter(&self) -> Tallied {
        self.0.fetch_add(1, Ordering::Relaxed);
        Tallied(self.clone())
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One of those that a [`Tally`] counts.
#[derive(Debug)]
pub(crate) struct Tallied(Tally);

impl Drop for Tallied {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One of each for each name, made when a name is first heard of. For what has so few names that none is forgotten.
#[derive(Debug)]
pub(crate) struct ByName<M>(Mutex<Vec<(Name, M)>>);

impl<M: Clone> ByName<M> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    pub(crate) fn get(&self, name: &Name, make: impl FnOnce() -> M) -> M {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = all.iter().find(|(known, _)| known == name) {
            return found.clone();
        }
        let made = make();
        all.push((name.clone(), made.clone()));
        made
    }

    pub(crate) fn all(&self) -> Vec<(Name, M)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

static METADATA: Metadata<'static> = Metadata::new("buttress", Level::INFO, Some("buttress"));

fn key(metric: Metric, whose: Whose<'_>, more: &[(&'static str, &'static str)]) -> Key {
    let mut labels =
        vec![Label::from_static_parts("policy", whose.policy), Label::new("name", whose.name.as_str().to_owned())];
    labels.extend(more.iter().map(|(name, value)| Label::from_static_parts(name, value)));
    Key::from_parts(metric.name, labels)
}
