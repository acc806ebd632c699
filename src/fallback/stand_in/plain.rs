//! Plain services: the request is cloned.

use std::{
    future::{Future, Ready, ready},
    marker::PhantomData,
};

use tower_service::Service;

use super::{ByService, Called, Converted, Nothing, StandIn, Value, With};
use crate::{
    fallback::{
        failure::{Failure, FellBack},
        handle::{Fallback, Permit},
    },
    protocol::Plain,
    repeat::replay::Lost,
};

impl<C, Req, Res, E> StandIn<Plain<C>, Req, Res, E> for Nothing {
    type Kept = ();
    type Given = Res;
    type Response = Res;
    type Future = Ready<Result<Res, E>>;
    const EXISTS: bool = false;

    fn keep(&self, request: Req, _: &Fallback) -> (Req, Option<()>) {
        (request, None)
    }

    fn begin(&self, (): (), _: &Failure) -> Result<Self::Future, Lost> {
        unreachable!("nothing is kept for nothing")
    }

    fn inner(response: Res) -> Res {
        response
    }

    fn instead(given: Res, _: FellBack, _: Permit) -> Res {
        given
    }
}

impl<C, Req, Res: Clone, E> StandIn<Plain<C>, Req, Res, E> for Value<Res> {
    type Kept = ();
    type Given = Res;
    type Response = Res;
    type Future = Ready<Result<Res, E>>;

    fn keep(&self, request: Req, _: &Fallback) -> (Req, Option<()>) {
        (request, Some(()))
    }

    fn begin(&self, (): (), _: &Failure) -> Result<Self::Future, Lost> {
        Ok(ready(Ok(self.0.clone())))
    }

    fn inner(response: Res) -> Res {
        response
    }

    fn instead(given: Res, _: FellBack, _: Permit) -> Res {
        given
    }
}

impl<C, F, Fut, Req, Res, E, Own> StandIn<Plain<C>, Req, Res, E> for With<F>
where
    F: Fn(Req, Failure) -> Fut,
    Fut: Future<Output = Result<Res, Own>>,
    Own: Into<E>,
    Req: Clone,
{
    type Kept = Req;
    type Given = Res;
    type Response = Res;
    type Future = Converted<Fut, E>;

    fn keep(&self, request: Req, _: &Fallback) -> (Req, Option<Req>) {
        (request.clone(), Some(request))
    }

    fn begin(&self, request: Req, failure: &Failure) -> Result<Self::Future, Lost> {
        Ok(Converted { future: (self.0)(request, failure.clone()), error: PhantomData })
    }

    fn inner(response: Res) -> Res {
        response
    }

    fn instead(given: Res, _: FellBack, _: Permit) -> Res {
        given
    }
}

impl<C, S, Req, Res, E> StandIn<Plain<C>, Req, Res, E> for ByService<S>
where
    S: Service<Req, Response = Res, Error: Into<E>> + Clone,
    Req: Clone,
{
    type Kept = Req;
    type Given = Res;
    type Response = Res;
    type Future = Called<S, S::Future, Req, E>;

    fn keep(&self, request: Req, _: &Fallback) -> (Req, Option<Req>) {
        (request.clone(), Some(request))
    }

    fn begin(&self, request: Req, _: &Failure) -> Result<Self::Future, Lost> {
        Ok(Called::new(self.0.clone(), request))
    }

    fn inner(response: Res) -> Res {
        response
    }

    fn instead(given: Res, _: FellBack, _: Permit) -> Res {
        given
    }
}
