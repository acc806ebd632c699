//! The places of a stack that may be empty.

use tower_layer::{Identity, Layer};

use super::rules::Rebase;
use crate::{
    FallbackLayer, HedgeLayer, RateLimitLayer,
    fallback::Fallback,
    hedge::{Careful, Hedge, HedgeService},
    rate_limit::RateLimit,
};

/// A place in a stack for a policy of this kind: the policy's layer, or [`Identity`] if it is empty.
///
/// Sealed: a fallback, a hedge and a rate limit are what there are places for.
pub trait Place<H>: sealed::Sealed {
    /// The policy, if there is one.
    #[doc(hidden)]
    fn policy(&self) -> Option<H>;
}

/// What is in the hedge's place, under a retry with the rules `R`.
///
/// Sealed, as [`Place`] is.
pub trait UnderRetry<S, R>: sealed::Sealed {
    /// The service that it makes of `S`.
    type Service;

    #[doc(hidden)]
    fn under(&self, retry: &R, inner: S) -> Self::Service;
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for super::Identity {}
    impl<P, F> Sealed for super::FallbackLayer<P, F> {}
    impl<P, R> Sealed for super::HedgeLayer<P, R> {}
    impl<P, W> Sealed for super::RateLimitLayer<P, W> {}
}

impl<H> Place<H> for Identity {
    fn policy(&self) -> Option<H> {
        None
    }
}

impl<P, F> Place<Fallback> for FallbackLayer<P, F> {
    fn policy(&self) -> Option<Fallback> {
        Some(self.handle())
    }
}

impl<P, R> Place<Hedge> for HedgeLayer<P, R> {
    fn policy(&self) -> Option<Hedge> {
        Some(self.handle())
    }
}

impl<P, W> Place<RateLimit> for RateLimitLayer<P, W> {
    fn policy(&self) -> Option<RateLimit> {
        Some(self.handle())
    }
}

impl<S, R> UnderRetry<S, R> for Identity {
    type Service = S;

    fn under(&self, _retry: &R, inner: S) -> S {
        inner
    }
}

impl<S, P, T, R> UnderRetry<S, R> for HedgeLayer<P, T>
where
    P: Clone,
    R: Rebase<Careful> + Clone,
    T: Rebase<R::Rules, Rules: Clone> + Clone,
{
    type Service = HedgeService<S, P, T::Rules>;

    fn under(&self, retry: &R, inner: S) -> Self::Service {
        self.clone().rules(|own| own.rebase(retry.clone().rebase(Careful))).layer(inner)
    }
}
