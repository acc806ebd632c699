#![doc = include_str!("../../docs/metrics.md")]

mod gauges;
mod watched;

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use metrics::{KeyName, gauge};
use tokio::time::{MissedTickBehavior, interval};

use self::gauges::Series;
pub(crate) use self::{
    gauges::Gauges,
    watched::{Watched, watch},
};
use crate::registry;

/// What has been shown before: who is gone has to be shown as gone, and not as it was last.
///
/// As many as the recorder itself keeps, for it forgets none either.
static SHOWN: Mutex<BTreeSet<Series>> = Mutex::new(BTreeSet::new());

/// Sets the gauges of all policies of the process: states, windows, permits, limits, budgets. To be called before each
/// scrape; everything else counts by itself.
///
/// Policies of one kind and name are added up, but for ratios, of which the lowest is shown. When the last of a name is
/// gone, its gauges go to zero.
///
/// Takes the lock and a reference of the [registry] for each policy, and of a keyed circuit breaker looks at each key:
/// something for once in a few seconds, and not for each call.
pub fn observe() {
    // Before anything is looked at, or of two at once the older look might be what is shown in the end.
    let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut gauges = Gauges::default();
    registry::policies().iter().for_each(|policy| policy.observe(&mut gauges));
    watched::all().iter().for_each(|watched| watched.observe(&mut gauges));
    for gone in shown.iter().filter(|series| !gauges.has(series)) {
        set(gone, 0.0);
    }
    for (series, value) in gauges {
        set(&series, value);
        shown.insert(series);
    }
}

/// Calls [`observe`] this often, at once for the first time, for as long as it is polled: for recorders that push, or
/// are scraped by an endpoint of their own. It belongs into a task.
///
/// ```
/// use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let task = tokio::spawn(buttress::metrics::observe_every(Duration::from_secs(5)));
/// # task.abort();
/// # }
/// ```
///
/// # Panics
///
/// If `period` is zero; and, as it is polled, outside of a tokio runtime with a timer.
///
/// # Cancel safety
///
/// Dropped, it stops; the gauges stay as they are.
#[track_caller]
pub fn observe_every(period: Duration) -> impl Future<Output = ()> + Send + 'static {
    assert!(!period.is_zero(), "the period must be longer than zero");
    async move {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            observe();
        }
    }
}

fn set(series: &Series, value: f64) {
    let Series { metric, policy, name, label } = series;
    metrics::with_recorder(|recorder| {
        recorder.describe_gauge(KeyName::from_const_str(metric.name), None, metric.help.into());
    });
    let mut labels = vec![("policy", (*policy).to_owned()), ("name", name.to_string())];
    labels.extend(label.iter().map(|(name, value)| (*name, value.to_string())));
    gauge!(metric.name, &labels).set(value);
}
