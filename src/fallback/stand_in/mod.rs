//! What stands in for an answer: a value, a function, another service; or nothing.

mod future;
mod http;
mod plain;

use std::future::Future;

pub use self::future::{Called, Converted, Fine};
use super::{
    failure::{Failure, FellBack},
    handle::{Fallback, Permit},
};
use crate::repeat::replay::Lost;

/// What stands in for an answer, in each of the three protocols. `E` is the layer's error.
///
/// Sealed: [`Nothing`], [`Value`], [`With`] and [`ByService`] are what there is.
pub trait StandIn<P, Req, Res, E>: sealed::Sealed {
    /// What it needs of the request.
    type Kept;
    /// What it answers.
    type Given;
    /// The response of the layer.
    type Response;
    /// Its answer to come.
    type Future: Future<Output = Result<Self::Given, E>>;
    /// Whether there is one at all.
    const EXISTS: bool = true;

    /// The request, and what is needed of it; `None` if that is clear not to be had.
    #[doc(hidden)]
    fn keep(&self, request: Req, fallback: &Fallback) -> (Req, Option<Self::Kept>);

    /// Begins to answer.
    #[doc(hidden)]
    fn begin(&self, kept: Self::Kept, failure: &Failure) -> Result<Self::Future, Lost>;

    /// The inner service's answer.
    #[doc(hidden)]
    fn inner(response: Res) -> Self::Response;

    /// The fallback's answer.
    #[doc(hidden)]
    fn instead(given: Self::Given, mark: FellBack, permit: Permit) -> Self::Response;
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for super::Nothing {}
    impl<V> Sealed for super::Value<V> {}
    impl<F> Sealed for super::With<F> {}
    impl<S> Sealed for super::ByService<S> {}
}

/// Nothing has been said yet: every failure is handed on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

/// Always the same answer.
#[derive(Debug, Clone)]
pub struct Value<V>(pub(in crate::fallback) V);

/// A function of the request and the failure.
#[derive(Clone)]
pub struct With<F>(pub(super) F);

/// Another service. Each call makes a clone of it ready.
#[derive(Debug, Clone)]
pub struct ByService<S>(pub(super) S);

impl<F> std::fmt::Debug for With<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("With").finish_non_exhaustive()
    }
}
