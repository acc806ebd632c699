//! The bodies we know.

use std::any::Any;

use bytes::{Buf, Bytes};
use http_body_util::{
    Empty, Full,
    combinators::{BoxBody, UnsyncBoxBody},
};

use super::{Kept, Limit, Lost, ReplayBody, Superseded, tee};
use crate::BoxError;

/// The clones share their bytes, or are at most as large as the caller made them.
macro_rules! replay_by_cloning {
    ($body:ty $(, $param:ident: $bound:path $(, $bounds:path)*)?) => {
        impl$(<$param: $bound $(+ $bounds)*>)? ReplayBody for $body {
            type Kept = Self;

            fn keep(self, _limit: &Limit) -> (Self, Option<Self>) {
                (self.clone(), Some(self))
            }

            fn replay(kept: &mut Self) -> Result<Self, Lost> {
                Ok(kept.clone())
            }
        }
    };
}

replay_by_cloning!(Full<D>, D: Buf, Clone);
replay_by_cloning!(Empty<D>, D: Buf);

/// Copied for each attempt, for a `String` doesn't share its bytes: so the limit holds here too.
impl ReplayBody for String {
    type Kept = Self;

    fn keep(self, limit: &Limit) -> (Self, Option<Self>) {
        if self.len() > limit.bytes() {
            limit.exceeded();
            return (self, None);
        }
        (self.clone(), Some(self))
    }

    fn replay(kept: &mut Self) -> Result<Self, Lost> {
        Ok(kept.clone())
    }
}

impl<E: Send + Sync + 'static> ReplayBody for BoxBody<Bytes, E> {
    type Kept = Kept<Self>;

    fn keep(self, limit: &Limit) -> (Self, Option<Kept<Self>>) {
        tee(self, limit, Self::new, superseded::<E>)
    }

    fn replay(kept: &mut Kept<Self>) -> Result<Self, Lost> {
        kept.replay()
    }
}

impl<E: Send + 'static> ReplayBody for UnsyncBoxBody<Bytes, E> {
    type Kept = Kept<Self>;

    fn keep(self, limit: &Limit) -> (Self, Option<Kept<Self>>) {
        tee(self, limit, Self::new, superseded::<E>)
    }

    fn replay(kept: &mut Kept<Self>) -> Result<Self, Lost> {
        kept.replay()
    }
}

#[cfg(feature = "axum")]
impl ReplayBody for axum_core::body::Body {
    type Kept = Kept<Self>;

    fn keep(self, limit: &Limit) -> (Self, Option<Kept<Self>>) {
        tee(self, limit, Self::new, || Some(axum_core::Error::new(Superseded)))
    }

    fn replay(kept: &mut Kept<Self>) -> Result<Self, Lost> {
        kept.replay()
    }
}

#[cfg(feature = "tonic")]
impl ReplayBody for tonic::body::Body {
    type Kept = Kept<Self>;

    fn keep(self, limit: &Limit) -> (Self, Option<Kept<Self>>) {
        tee(self, limit, Self::new, || Some(tonic::Status::cancelled(Superseded.to_string())))
    }

    fn replay(kept: &mut Kept<Self>) -> Result<Self, Lost> {
        kept.replay()
    }
}

/// The error of a boxed body may be of any type. Of those that are usual, these can be made.
fn superseded<E: 'static>() -> Option<E> {
    fn cast<T: 'static, E: 'static>(error: T) -> Option<E> {
        let mut error = Some(error);
        (&mut error as &mut dyn Any).downcast_mut::<Option<E>>()?.take()
    }

    cast::<BoxError, E>(Superseded.into())
        .or_else(|| cast::<std::io::Error, E>(std::io::Error::other(Superseded)))
        .or_else(|| {
            #[cfg(feature = "axum")]
            return cast::<axum_core::Error, E>(axum_core::Error::new(Superseded));
            #[cfg(not(feature = "axum"))]
            None
        })
        .or_else(|| {
            #[cfg(feature = "tonic")]
            return cast::<tonic::Status, E>(tonic::Status::cancelled(Superseded.to_string()));
            #[cfg(not(feature = "tonic"))]
            None
        })
}
