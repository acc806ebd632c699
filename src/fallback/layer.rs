//! The layer.

use std::{fmt, future::Future};

use http::{Response, request};
use http_body::Body;
use tower_layer::Layer;

use super::{
    config::FallbackConfig,
    failure::Failure,
    handle::Fallback,
    service::FallbackService,
    stand_in::{ByService, Nothing, Value, With},
};
use crate::{
    config::or_panic,
    name::Name,
    protocol::{Grpc, Http, Plain},
};

/// Puts something in the place of what fails. See the [module](super).
///
/// Until it is told what, with `value`, `with` or [`service`](Self::service), it hands every failure on. Every service it
/// is applied to shares the one policy, and so do its clones.
#[derive(Clone)]
pub struct FallbackLayer<P = Plain, F = Nothing> {
    fallback: Fallback,
    protocol: P,
    stand_in: F,
}

impl FallbackLayer {
    /// For any service.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn new(name: impl Into<Name>) -> Self {
        Self::from_policy(Fallback::new(name), Plain::default())
    }
}

impl FallbackLayer<Http> {
    /// For HTTP services.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn http(name: impl Into<Name>) -> Self {
        Self::from_policy(Fallback::new(name), Http::default())
    }
}

impl FallbackLayer<Grpc> {
    /// For gRPC services.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn grpc(name: impl Into<Name>) -> Self {
        Self::from_policy(Fallback::new(name), Grpc::default())
    }
}

impl<P> FallbackLayer<P> {
    /// For services under a policy that exists already.
    pub fn from_policy(fallback: Fallback, protocol: P) -> Self {
        Self { fallback, protocol, stand_in: Nothing }
    }
}

impl<P, F> FallbackLayer<P, F> {
    /// The policy, to watch it and to set it anew.
    pub fn handle(&self) -> Fallback {
        self.fallback.clone()
    }

    /// How many fallbacks there may be at once, each to the end of its response body; 10 by default. Beyond that the
    /// failure is handed on.
    ///
    /// # Panics
    ///
    /// If it is not between 1 and 1,000,000.
    #[must_use]
    #[track_caller]
    pub fn max_concurrent(self, fallbacks: usize) -> Self {
        self.set(|config| config.max_concurrent = fallbacks)
    }

    /// Whether there is a fallback when the service failed; there is by default.
    ///
    /// # Panics
    ///
    /// If there would be no fallback at all.
    #[must_use]
    #[track_caller]
    pub fn on_failures(self, on: bool) -> Self {
        self.set(|config| config.on_failures = on)
    }

    /// Whether there is a fallback when another policy of ours refused the call; there is by default.
    ///
    /// # Panics
    ///
    /// If there would be no fallback at all.
    #[must_use]
    #[track_caller]
    pub fn on_rejections(self, on: bool) -> Self {
        self.set(|config| config.on_rejections = on)
    }

    /// Whether there is a fallback when the time of an attempt ran out; there is by default.
    ///
    /// # Panics
    ///
    /// If there would be no fallback at all.
    #[must_use]
    #[track_caller]
    pub fn on_elapsed(self, on: bool) -> Self {
        self.set(|config| config.on_elapsed = on)
    }

    /// How many bytes of a request's body are kept for a fallback service; 64 KiB by default.
    ///
    /// # Panics
    ///
    /// If it is more than 1 GiB.
    #[must_use]
    #[track_caller]
    pub fn replay_at_most(self, bytes: usize) -> Self {
        self.set(|config| config.replay_at_most = bytes)
    }

    /// Another service answers, called with the same request. It is cloned for each call, and the clone made ready.
    ///
    /// A plain request is cloned; of an HTTP or gRPC request the head is cloned and the body kept as a retry keeps it,
    /// so the request can be sent a second time. In HTTP and gRPC its errors have to be the inner service's, or
    /// convert into them.
    #[must_use]
    pub fn service<S>(self, service: S) -> FallbackLayer<P, ByService<S>> {
        self.stand_in(ByService(service))
    }

    #[track_caller]
    fn set(self, change: impl FnOnce(&mut FallbackConfig)) -> Self {
        or_panic(self.fallback.alter(change));
        self
    }

    fn stand_in<G>(self, stand_in: G) -> FallbackLayer<P, G> {
        FallbackLayer { fallback: self.fallback, protocol: self.protocol, stand_in }
    }

    fn protocol<Q>(self, protocol: Q) -> FallbackLayer<Q, F> {
        FallbackLayer { fallback: self.fallback, protocol, stand_in: self.stand_in }
    }
}

impl<C, F> FallbackLayer<Plain<C>, F> {
    /// This answers, always.
    #[must_use]
    pub fn value<V: Clone>(self, value: V) -> FallbackLayer<Plain<C>, Value<V>> {
        self.stand_in(Value(value))
    }

    /// `answer` answers, given the request, which is cloned for that, and the failure. The type of the request has to be
    /// spelled out: `async |request: Lookup, failure| ...`.
    #[must_use]
    pub fn with<G, Fut, Req, Res, E>(self, answer: G) -> FallbackLayer<Plain<C>, With<G>>
    where
        G: Fn(Req, Failure) -> Fut,
        Fut: Future<Output = Result<Res, E>>,
    {
        self.stand_in(With(answer))
    }

    /// Judges what a failure is by `classify`; every `Err` by default. See
    /// [`ClassifyResult`](crate::protocol::ClassifyResult).
    #[must_use]
    pub fn classify<D>(self, classify: D) -> FallbackLayer<Plain<D>, F> {
        self.protocol(Plain::new(classify))
    }
}

macro_rules! over_http {
    ($protocol:ident, $judge:literal) => {
        impl<C, F> FallbackLayer<$protocol<C>, F> {
            /// This answers, always.
            #[must_use]
            pub fn value<B: Body + Clone>(
                self,
                response: Response<B>,
            ) -> FallbackLayer<$protocol<C>, Value<Response<B>>> {
                self.stand_in(Value(response))
            }

            /// `answer` answers, given the request's head (method, URI, headers, extensions), which is cloned for that, and
            /// the failure. What it answers is judged as the service's answer is, so it may fail too.
            #[must_use]
            pub fn with<G, Fut, B>(self, answer: G) -> FallbackLayer<$protocol<C>, With<G>>
            where
                G: Fn(request::Parts, Failure) -> Fut,
                Fut: Future<Output = Response<B>>,
            {
                self.stand_in(With(answer))
            }

            #[doc = concat!("Judges what a failure is by `classify`; by default as [`", $judge, "`](crate::protocol::", $judge, ") does.")]
            #[must_use]
            pub fn classify<D>(self, classify: D) -> FallbackLayer<$protocol<D>, F> {
                self.protocol($protocol::new(classify))
            }
        }
    };
}

over_http!(Http, "ServerErrors");
over_http!(Grpc, "ServerFaults");

impl<S, P: Clone, F: Clone> Layer<S> for FallbackLayer<P, F> {
    type Service = FallbackService<S, P, F>;

    fn layer(&self, inner: S) -> Self::Service {
        FallbackService::new(inner, self.fallback.clone(), self.protocol.clone(), self.stand_in.clone())
    }
}

impl<P, F> fmt::Debug for FallbackLayer<P, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FallbackLayer").field(&self.fallback).finish()
    }
}
