//! Everything that can be told of happens, once, to things called `everything`; how often each, the scrape is held to.

mod barrier;
mod journal;
mod policies;
mod sagas;
mod streams;

use std::{any::Any, sync::OnceLock, thread};

use crate::{
    caught::{Caught, Said},
    scrape::prometheus,
};

/// What keeps those alive to whom it happened, and with them their gauges.
type Kept = Vec<Box<dyn Any>>;

/// What could be seen of it.
#[derive(Debug)]
pub(crate) struct Everything {
    /// All that was told on the way.
    pub(crate) events: Vec<Said>,
    /// The page, at the end of it.
    pub(crate) page: String,
}

/// On a thread of its own, for who listens to the events does so to a thread's.
pub(crate) fn happened() -> &'static Everything {
    static HAPPENED: OnceLock<Everything> = OnceLock::new();
    HAPPENED.get_or_init(|| thread::spawn(happen).join().expect("it happens"))
}

fn happen() -> Everything {
    let prometheus = prometheus();
    let caught = Caught::from_here_on();
    let mut kept = Kept::new();
    in_time(async {
        policies::happen(&mut kept).await;
        streams::happen(&mut kept).await;
    });
    sagas::happen(&mut kept);
    barrier::happens();
    buttress::metrics::observe();
    Everything { events: caught.events(), page: prometheus.render() }
}

/// A process of its own, as far as tasks go. Its time passes when there is nothing else to do.
fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(work)
}
