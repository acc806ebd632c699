//! How a handler comes by its [`Barrier`].

use http::Extensions;

use super::{guard::Barrier, stop::Stop, store::Store};

impl<Db: Store> Barrier<Db> {
    /// The barrier of the call with these extensions: `Barrier::of(request.extensions())`, in tonic as well.
    ///
    /// # Errors
    ///
    /// There is no [`BarrierLayer`](super::BarrierLayer) for this database around the route; the call wasn't made in a step,
    /// and should have been, or doesn't say properly in which.
    pub fn of(extensions: &Extensions) -> Result<Self, Stop> {
        let barrier = extensions.get::<Self>().ok_or(Stop::NoLayer)?;
        barrier.checked().map(|()| barrier.clone())
    }

    /// As [`of`](Self::of), for a handler that does it itself where the call wasn't made in a step: then it is `None`.
    ///
    /// # Errors
    ///
    /// There is no layer; or the call was made in a step, and doesn't say properly in which.
    pub fn in_step(extensions: &Extensions) -> Result<Option<Self>, Stop> {
        let barrier = extensions.get::<Self>().ok_or(Stop::NoLayer)?;
        match barrier.check() {
            Ok(()) => Ok(barrier.key().is_some().then(|| barrier.clone())),
            Err(Stop::NoStep) => Ok(None),
            Err(stop) => {
                barrier.no_step(&stop);
                Err(stop)
            }
        }
    }
}

#[cfg(feature = "axum")]
impl<S: Sync, Db: Store> axum_core::extract::FromRequestParts<S> for Barrier<Db> {
    type Rejection = Stop;

    async fn from_request_parts(parts: &mut http::request::Parts, _state: &S) -> Result<Self, Stop> {
        Self::of(&parts.extensions)
    }
}

#[cfg(feature = "axum")]
impl<S: Sync, Db: Store> axum_core::extract::OptionalFromRequestParts<S> for Barrier<Db> {
    type Rejection = Stop;

    async fn from_request_parts(parts: &mut http::request::Parts, _state: &S) -> Result<Option<Self>, Stop> {
        Self::in_step(&parts.extensions)
    }
}
