//! HTTP and gRPC: of the request its head, or all of it, is kept; the answer is marked.

use std::{
    future::{Future, Ready, ready},
    marker::PhantomData,
};

use http::{Request, Response, request};
use http_body::Body;
use tower_service::Service;

use super::{ByService, Called, Fine, Nothing, StandIn, Value, With};
use crate::{
    fallback::{
        body::FallbackBody,
        failure::{Failure, FellBack},
        handle::{Fallback, Permit},
    },
    protocol::{Grpc, Http},
    repeat::{
        protocol::KeptRequest,
        replay::{Lost, ReplayBody},
    },
};

/// What both do alike with an answer.
macro_rules! responses {
    ($body:ident, $instead:ident) => {
        type Given = Response<$instead>;
        type Response = Response<FallbackBody<$body, $instead>>;

        fn inner(response: Response<$body>) -> Self::Response {
            response.map(|body| FallbackBody::Inner { body })
        }

        fn instead(mut given: Self::Given, mark: FellBack, permit: Permit) -> Self::Response {
            given.extensions_mut().insert(mark);
            given.map(|body| FallbackBody::instead(body, permit))
        }
    };
}

macro_rules! over_http {
    ($protocol:ident) => {
        impl<C, ReqBody, B: Body, E> StandIn<$protocol<C>, Request<ReqBody>, Response<B>, E> for Nothing {
            type Kept = ();
            type Future = Ready<Result<Self::Given, E>>;
            const EXISTS: bool = false;
            responses!(B, B);

            fn keep(&self, request: Request<ReqBody>, _: &Fallback) -> (Request<ReqBody>, Option<()>) {
                (request, None)
            }

            fn begin(&self, (): (), _: &Failure) -> Result<Self::Future, Lost> {
                unreachable!("nothing is kept for nothing")
            }
        }

        impl<C, ReqBody, B, F, E> StandIn<$protocol<C>, Request<ReqBody>, Response<B>, E> for Value<Response<F>>
        where
            B: Body,
            F: Body<Data = B::Data> + Clone,
        {
            type Kept = ();
            type Future = Ready<Result<Self::Given, E>>;
            responses!(B, F);

            fn keep(&self, request: Request<ReqBody>, _: &Fallback) -> (Request<ReqBody>, Option<()>) {
                (request, Some(()))
            }

            fn begin(&self, (): (), _: &Failure) -> Result<Self::Future, Lost> {
                Ok(ready(Ok(self.0.clone())))
            }
        }

        impl<C, G, Fut, ReqBody, B, F, E> StandIn<$protocol<C>, Request<ReqBody>, Response<B>, E> for With<G>
        where
            G: Fn(request::Parts, Failure) -> Fut,
            Fut: Future<Output = Response<F>>,
            B: Body,
            F: Body<Data = B::Data>,
        {
            type Kept = request::Parts;
            type Future = Fine<Fut, E>;
            responses!(B, F);

            fn keep(&self, request: Request<ReqBody>, _: &Fallback) -> (Request<ReqBody>, Option<Self::Kept>) {
                let (head, body) = request.into_parts();
                let kept = head.clone();
                (Request::from_parts(head, body), Some(kept))
            }

            fn begin(&self, head: Self::Kept, failure: &Failure) -> Result<Self::Future, Lost> {
                Ok(Fine { future: (self.0)(head, failure.clone()), error: PhantomData })
            }
        }

        impl<C, S, ReqBody, B, F, E> StandIn<$protocol<C>, Request<ReqBody>, Response<B>, E> for ByService<S>
        where
            S: Service<Request<ReqBody>, Response = Response<F>, Error: Into<E>> + Clone,
            ReqBody: ReplayBody,
            B: Body,
            F: Body<Data = B::Data>,
        {
            type Kept = KeptRequest<ReqBody>;
            type Future = Called<S, S::Future, Request<ReqBody>, E>;
            responses!(B, F);

            fn keep(&self, request: Request<ReqBody>, fallback: &Fallback) -> (Request<ReqBody>, Option<Self::Kept>) {
                KeptRequest::keep(request, &fallback.limit())
            }

            fn begin(&self, mut kept: Self::Kept, _: &Failure) -> Result<Self::Future, Lost> {
                Ok(Called::new(self.0.clone(), kept.as_it_came()?))
            }
        }
    };
}

over_http!(Http);
over_http!(Grpc);
