//! What has gauges and is no policy of the registry: keyed limits, coordinators of sagas.

use std::sync::Arc;

use super::Gauges;
use crate::registered::Registered;

/// Something that says what its gauges are to be set to.
pub(crate) trait Watched: Send + Sync {
    fn observe(&self, gauges: &mut Gauges);
}

static ALL: Registered<dyn Watched> = Registered::new();

/// Has it observed for as long as it lives.
pub(crate) fn watch(made: &Arc<impl Watched + 'static>) {
    let made: Arc<dyn Watched> = made.clone();
    ALL.add(&made);
}

pub(super) fn all() -> Vec<Arc<dyn Watched>> {
    ALL.alive()
}
