//! A hedge's rules that follow a retry's.

use crate::{
    hedge::Careful,
    repeat::rules::{Idempotent, OnCodes, OnMethods, RetryIf, SafeWhen, Stock},
};

/// Rules of a retry or a hedge that can be put on another base than the defaults they were said on.
///
/// What was said stays; what wasn't is then as the other rules have it. So a hedge follows what the retry above it was told,
/// without the retry's defaults, and what it was told itself comes first.
///
/// Sealed: implemented for the rules that [`RetryLayer`](crate::RetryLayer) and [`HedgeLayer`](crate::HedgeLayer) make.
pub trait Rebase<B>: sealed::Sealed {
    /// The rules on that base.
    type Rules;

    /// The same rules on another base.
    #[doc(hidden)]
    fn rebase(self, base: B) -> Self::Rules;
}

mod sealed {
    pub trait Sealed {}
}

impl sealed::Sealed for Stock {}
impl<B> Rebase<B> for Stock {
    type Rules = B;

    fn rebase(self, base: B) -> B {
        base
    }
}

impl sealed::Sealed for Careful {}
impl<B> Rebase<B> for Careful {
    type Rules = B;

    fn rebase(self, base: B) -> B {
        base
    }
}

macro_rules! rebase {
    ($($rules:ident [$($own:ident)?] $($field:ident)?;)*) => {$(
        impl<$($own,)? R> sealed::Sealed for $rules<$($own,)? R> {}
        impl<$($own,)? R: Rebase<B>, B> Rebase<B> for $rules<$($own,)? R> {
            type Rules = $rules<$($own,)? R::Rules>;

            fn rebase(self, base: B) -> Self::Rules {
                $rules { $($field: self.$field,)? rules: self.rules.rebase(base) }
            }
        }
    )*};
}

// What stands beside the rules within.
rebase! {
    Idempotent [];
    SafeWhen [F] safe;
    RetryIf [F] helps;
    OnCodes [] codes;
    OnMethods [] methods;
}
