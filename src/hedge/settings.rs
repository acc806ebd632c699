//! The settings of one version, as calls have them at hand.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    config::{After, HedgeConfig},
    handle::Core,
    latency::Asked,
};
use crate::{budget::Budget, repeat::replay::Limit};

/// What hedges are paid from.
#[derive(Debug, Clone)]
pub(super) struct Funds {
    pub(super) budget: Budget,
    /// Somebody else tells the budget of the calls and of what they were handed on.
    pub(super) is_filled_elsewhere: bool,
}

/// The settings of one version. Not changed once they are made.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) config: HedgeConfig,
    pub(super) funds: Funds,
    pub(super) limit: Limit,
    pub(super) core: Arc<Core>,
    asked: Asked,
    version: u32,
}

impl Funds {
    pub(super) fn own(budget: Budget) -> Self {
        Self { budget, is_filled_elsewhere: false }
    }
}

// ===== impl Settings =====

/// When a call is hedged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Schedule {
    pub(super) after: Duration,
    /// How long half of the calls took, if that is known.
    pub(super) usual: Duration,
}

impl Settings {
    pub(super) fn new(config: HedgeConfig, funds: Funds, limit: Limit, core: Arc<Core>, version: u32) -> Self {
        Self { config, funds, limit, core, asked: Asked::new(), version }
    }

    /// Makes them the current ones, if they aren't.
    #[inline]
    pub(super) fn refresh(self: &mut Arc<Self>) {
        // Relaxed: the settings themselves are behind the lock. A change seen a call later is a change in time.
        if self.version != self.core.version.load(Ordering::Relaxed) {
            *self = self.core.settings();
        }
    }

    /// When a call that begins now is hedged; `None` if too little was observed to know.
    pub(super) fn schedule(&self, now: Instant) -> Option<Schedule> {
        let at = now.saturating_duration_since(self.core.epoch);
        let ask = |quantile| self.asked.of(&self.core.latencies, quantile, self.config.minimum_calls.into(), at);
        match self.config.after {
            After::Delay(after) => {
                Some(Schedule { after, usual: ask(0.5).map_or(Duration::ZERO, |(_, median)| median) })
            }
            After::Quantile(quantile) => ask(quantile).map(|(after, usual)| Schedule { after, usual }),
        }
    }

    /// A first attempt took this long, or longer.
    pub(super) fn observe(&self, latency: Duration, now: Instant) {
        self.core.latencies.record(latency, now.saturating_duration_since(self.core.epoch));
    }
}
