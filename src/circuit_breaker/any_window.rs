//! The window of a breaker, whichever kind it is.

use std::time::Duration;

use super::config::Window;
use crate::window::{CountWindow, Record, Tally, TimeWindow};

/// A window of either kind.
#[derive(Debug)]
pub(super) enum AnyWindow {
    Count(CountWindow),
    Time(Box<TimeWindow>),
}

impl AnyWindow {
    pub(super) fn new(window: Window) -> Self {
        match window {
            Window::Count(calls) => Self::Count(CountWindow::new(calls)),
            Window::Time(span) => Self::Time(Box::new(TimeWindow::new(span))),
        }
    }

    pub(super) fn is(&self, window: Window) -> bool {
        match (self, window) {
            (Self::Count(counted), Window::Count(calls)) => counted.size() == calls,
            (Self::Time(timed), Window::Time(span)) => timed.span() == span,
            _ => false,
        }
    }

    pub(super) fn record(&self, generation: u32, record: Record, elapsed: impl FnOnce() -> Duration) -> Option<Tally> {
        match self {
            Self::Count(window) => window.record(generation, record),
            Self::Time(window) => window.record(generation, record, elapsed()),
        }
    }

    /// Whether to record a success would change nothing.
    #[inline]
    pub(super) fn ignores_success(&self, generation: u32) -> bool {
        matches!(self, Self::Count(window) if window.is_full_and_faultless(generation))
    }

    pub(super) fn tally(&self, generation: u32, elapsed: Duration) -> Tally {
        match self {
            Self::Count(window) => window.tally(generation),
            Self::Time(window) => window.tally(generation, elapsed),
        }
    }

    pub(super) fn size(&self) -> Option<u32> {
        match self {
            Self::Count(window) => Some(window.size()),
            Self::Time(_) => None,
        }
    }
}
