//! How much a request matters, and how it is known further down.

mod carry;
mod scope;

use std::fmt;

pub use self::{
    carry::{CarryPriority, REQUEST_PRIORITY},
    scope::Prioritized,
};

/// How much a request matters: which is refused first when there is too much to do.
///
/// The four classes of Google's *Site Reliability Engineering* ("Handling Overload"). They are few on purpose: with four,
/// everybody knows which is meant, and a request keeps its class through all services that it passes. Ordered by
/// importance, [`Sheddable`](Self::Sheddable) the least.
///
/// It rides in a request's extensions and over the wire ([`REQUEST_PRIORITY`]), and in the task while a handler runs, so
/// that the clients called there send it along without being handed it. By itself it does nothing: it is carried here,
/// and goes by in a bulkhead with [`priority`](crate::BulkheadLayer::priority).
///
/// ```
/// use buttress::Priority;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// Priority::Sheddable
///     .scope(async {
///         assert_eq!(Priority::current(), Some(Priority::Sheddable));
///         // A task of its own knows it only if it is carried along.
///         tokio::spawn(Priority::carry(async { assert!(Priority::current().is_some()) })).await.unwrap();
///     })
///     .await;
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// May fail often, and be tried again much later: batches that nobody waits for.
    Sheddable,
    /// May fail now and then: batches, prefetching, what is tried again within minutes or hours.
    SheddablePlus,
    /// Somebody waits for it. What requests are that nobody says anything of.
    #[default]
    Critical,
    /// Its failure is a serious one, seen by users.
    CriticalPlus,
}

impl Priority {
    /// The most important first.
    pub const ALL: [Self; 4] = [Self::CriticalPlus, Self::Critical, Self::SheddablePlus, Self::Sheddable];

    /// As it is written in a header, a label or a field: `critical-plus`, `critical`, `sheddable-plus`, `sheddable`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CriticalPlus => "critical-plus",
            Self::Critical => "critical",
            Self::SheddablePlus => "sheddable-plus",
            Self::Sheddable => "sheddable",
        }
    }

    /// The class that is written so, in letters of any case.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.as_str().as_bytes().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
