//! What a call is to a bulkhead: how much it matters, and whose it is.

use std::fmt;

use crate::{
    bulkhead::{handle::Bulkhead, state::Standing},
    priority::{CarryPriority, Priority},
};

/// What a call without tower is to a bulkhead: [`Bulkhead::acquire_as`].
///
/// ```
/// use buttress::{Priority, bulkhead::Caller};
///
/// let nightly = Caller::new().priority(Priority::Sheddable).partition("reports");
/// # drop(nightly);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Caller<'a> {
    priority: Option<Priority>,
    partition: Option<&'a str>,
}

impl<'a> Caller<'a> {
    /// A call of the task's [priority](Priority::current) and of the default partition.
    pub const fn new() -> Self {
        Self { priority: None, partition: None }
    }

    /// Sets how much it matters.
    #[must_use]
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Sets whose it is. A name that the bulkhead doesn't know is the default partition's.
    #[must_use]
    pub const fn partition(mut self, name: &'a str) -> Self {
        self.partition = Some(name);
        self
    }

    pub(super) fn standing(&self, bulkhead: &Bulkhead) -> Standing {
        let priority = self.priority.or_else(Priority::current).unwrap_or_default();
        Standing { priority, slot: self.partition.map_or(0, |name| bulkhead.gate().slot(name)) }
    }
}

/// How a layer tells calls apart. Implemented by [`Alike`], [`ByPriority`] and [`ByPartition`].
pub trait Sort<P, Req>: sealed::Sealed {
    /// What the call's future runs in.
    type Scope: Scope;

    /// How much this call matters, and what its future runs in for that reason. The request carries it on from here.
    #[doc(hidden)]
    fn priority(&self, protocol: &P, request: &mut Req) -> (Priority, Self::Scope);

    /// The slot of this call's partition. Each bulkhead has slots of its own.
    #[doc(hidden)]
    fn slot(&self, request: &Req, bulkhead: &Bulkhead) -> u8;
}

/// What a call's future runs in: nothing, or its priority.
pub trait Scope: sealed::Sealed {
    #[doc(hidden)]
    fn run<R>(&self, f: impl FnOnce() -> R) -> R;
}

/// All calls are alike: what a layer begins with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alike;

/// Tells calls apart by priority: [`BulkheadLayer::priority`](crate::BulkheadLayer::priority).
#[derive(Clone, Copy)]
pub struct ByPriority<F, K = Alike> {
    pub(super) priority: F,
    pub(super) rest: K,
}

/// Leaves it to what the request carries: [`BulkheadLayer::inherit_priority`](crate::BulkheadLayer::inherit_priority).
pub type Inherited<Req> = fn(&Req) -> Option<Priority>;

/// Tells calls apart by partition: [`BulkheadLayer::partition_by`](crate::BulkheadLayer::partition_by).
#[derive(Clone, Copy)]
pub struct ByPartition<F, K = Alike> {
    pub(super) name: F,
    pub(super) rest: K,
}

impl<P, Req> Sort<P, Req> for Alike {
    type Scope = ();

    #[inline(always)]
    fn priority(&self, _protocol: &P, _request: &mut Req) -> (Priority, ()) {
        (Priority::default(), ())
    }

    #[inline(always)]
    fn slot(&self, _request: &Req, _bulkhead: &Bulkhead) -> u8 {
        0
    }
}

impl<P, Req, F, R, K> Sort<P, Req> for ByPriority<F, K>
where
    P: CarryPriority<Req>,
    F: Fn(&Req) -> R,
    R: Into<Option<Priority>>,
    K: Sort<P, Req>,
{
    type Scope = Priority;

    fn priority(&self, protocol: &P, request: &mut Req) -> (Priority, Priority) {
        let inherited = || protocol.inherited(request).or_else(Priority::current);
        let priority = (self.priority)(request).into().or_else(inherited).unwrap_or_default();
        protocol.carry(request, priority);
        (priority, priority)
    }

    fn slot(&self, request: &Req, bulkhead: &Bulkhead) -> u8 {
        self.rest.slot(request, bulkhead)
    }
}

impl<P, Req, F, K> Sort<P, Req> for ByPartition<F, K>
where
    F: for<'a> Fn(&'a Req) -> &'a str,
    K: Sort<P, Req>,
{
    type Scope = K::Scope;

    fn priority(&self, protocol: &P, request: &mut Req) -> (Priority, K::Scope) {
        self.rest.priority(protocol, request)
    }

    fn slot(&self, request: &Req, bulkhead: &Bulkhead) -> u8 {
        bulkhead.gate().slot((self.name)(request))
    }
}

impl Scope for () {
    #[inline(always)]
    fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        f()
    }
}

impl Scope for Priority {
    fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        self.sync_scope(f)
    }
}

impl<F, K: fmt::Debug> fmt::Debug for ByPriority<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ByPriority").field(&self.rest).finish()
    }
}

impl<F, K: fmt::Debug> fmt::Debug for ByPartition<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ByPartition").field(&self.rest).finish()
    }
}

mod sealed {
    use super::{Alike, ByPartition, ByPriority, Priority};

    pub trait Sealed {}
    impl Sealed for () {}
    impl Sealed for Alike {}
    impl Sealed for Priority {}
    impl<F, K> Sealed for ByPriority<F, K> {}
    impl<F, K> Sealed for ByPartition<F, K> {}
}
