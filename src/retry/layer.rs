//! The layer.

use std::sync::Arc;

use http::{HeaderMap, StatusCode, request};
use tower_layer::Layer;

use super::{config::RetryConfig, handle::Retry, service::RetryService};
use crate::{
    BoxError,
    backoff::Backoff,
    budget::Budget,
    config::{InvalidConfig, or_panic},
    name::Name,
    protocol::{Grpc, Http, Plain, grpc::Code},
    repeat::rules::{Idempotent, OnCodes, OnMethods, RetryIf, SafeWhen, Stock},
};

/// Puts services under a retry policy. See the [module](super).
///
/// Every service it is applied to shares the one policy, its budget included, and so do its clones.
#[derive(Debug, Clone)]
pub struct RetryLayer<P = Plain, R = Stock> {
    retry: Retry,
    protocol: P,
    rules: R,
}

impl RetryLayer {
    /// For any service whose requests are `Clone`. Nothing is retried until it is said what is safe:
    /// [`idempotent`](Self::idempotent), [`safe_when`](Self::safe_when).
    ///
    /// # Panics
    ///
    /// If the name is empty.
    pub fn new(name: impl Into<Name>) -> Self {
        Self::from_policy(Retry::new(name), Plain::default())
    }
}

impl RetryLayer<Http> {
    /// For HTTP services.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    pub fn http(name: impl Into<Name>) -> Self {
        Self::from_policy(Retry::new(name), Http::default())
    }
}

impl RetryLayer<Grpc> {
    /// For gRPC services.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    pub fn grpc(name: impl Into<Name>) -> Self {
        Self::from_policy(Retry::new(name), Grpc::default())
    }
}

impl<P> RetryLayer<P> {
    /// For services under a policy that exists already.
    pub fn from_policy(retry: Retry, protocol: P) -> Self {
        Self { retry, protocol, rules: Stock }
    }
}

impl<P, R> RetryLayer<P, R> {
    /// The policy, to watch it and to set it anew.
    pub fn handle(&self) -> Retry {
        self.retry.clone()
    }

    /// What was said of which requests are safe, and when another attempt would help.
    pub(crate) fn told(&self) -> &R {
        &self.rules
    }

    /// How often a call may be attempted, the first time included; 3 by default.
    ///
    /// # Panics
    ///
    /// If it is not between 1 and 100.
    #[must_use]
    #[track_caller]
    pub fn max_attempts(self, max_attempts: u32) -> Self {
        self.set(|config| config.max_attempts = max_attempts)
    }

    /// How long to wait before each further attempt; from 50 ms, doubling, up to 5 s, with full jitter by default.
    ///
    /// # Panics
    ///
    /// If the backoff makes no sense: see [`Backoff::validate`].
    #[must_use]
    #[track_caller]
    pub fn backoff(self, backoff: Backoff) -> Self {
        self.set(|config| config.backoff = backoff)
    }

    /// How many bytes of a request's body are kept to be sent again; 64 KiB by default. A request with a larger one is
    /// sent once.
    ///
    /// # Panics
    ///
    /// If it is more than 1 GiB.
    #[must_use]
    #[track_caller]
    pub fn replay_at_most(self, bytes: usize) -> Self {
        self.set(|config| config.replay_at_most = bytes)
    }

    /// Takes retries from `budget`, which may be shared with other layers.
    #[must_use]
    pub fn budget(self, budget: Budget) -> Self {
        self.retry.share_budget(budget);
        self
    }

    /// Every request may be carried out twice.
    #[must_use]
    pub fn idempotent(self) -> RetryLayer<P, Idempotent<R>> {
        self.rules(|rules| Idempotent { rules })
    }

    #[track_caller]
    fn set(self, change: impl FnOnce(&mut RetryConfig)) -> Self {
        or_panic(self.retry.alter(change));
        self
    }

    fn rules<T>(self, change: impl FnOnce(R) -> T) -> RetryLayer<P, T> {
        RetryLayer { retry: self.retry, protocol: self.protocol, rules: change(self.rules) }
    }
}

impl<C, R> RetryLayer<Plain<C>, R> {
    /// A request may be carried out twice where `safe` says so. The type of the request has to be spelled out:
    /// `|request: &Lookup| request.is_read()`.
    #[must_use]
    pub fn safe_when<F, Req>(self, safe: F) -> RetryLayer<Plain<C>, SafeWhen<F, R>>
    where
        F: Fn(&Req) -> bool,
    {
        self.rules(|rules| SafeWhen { safe, rules })
    }

    /// Another attempt would help where `helps` says so; after every error by default. The type of the response has to
    /// be spelled out.
    #[must_use]
    pub fn retry_if<F, Res>(self, helps: F) -> RetryLayer<Plain<C>, RetryIf<F, R>>
    where
        F: Fn(Result<&Res, &BoxError>) -> bool,
    {
        self.rules(|rules| RetryIf { helps, rules })
    }
}

impl<C, R> RetryLayer<Http<C>, R> {
    /// A request may be carried out twice where `safe` says so, and nowhere else; where
    /// [`is_idempotent`](super::is_idempotent) says so by default.
    #[must_use]
    pub fn safe_when<F>(self, safe: F) -> RetryLayer<Http<C>, SafeWhen<F, R>>
    where
        F: Fn(&request::Parts) -> bool,
    {
        self.rules(|rules| SafeWhen { safe, rules })
    }

    /// Another attempt would help where `helps` says so, and nowhere else; where
    /// [`is_transient`](super::is_transient) says so by default.
    #[must_use]
    pub fn retry_if<F>(self, helps: F) -> RetryLayer<Http<C>, RetryIf<F, R>>
    where
        F: Fn(StatusCode, &HeaderMap) -> bool,
    {
        self.rules(|rules| RetryIf { helps, rules })
    }
}

impl<C, R> RetryLayer<Grpc<C>, R> {
    /// A call may be carried out twice where `safe` says so; everywhere by default.
    #[must_use]
    pub fn safe_when<F>(self, safe: F) -> RetryLayer<Grpc<C>, SafeWhen<F, R>>
    where
        F: Fn(&request::Parts) -> bool,
    {
        self.rules(|rules| SafeWhen { safe, rules })
    }

    /// Another attempt would help where `helps` says so, of the code and the trailers; after `UNAVAILABLE` by default.
    #[must_use]
    pub fn retry_if<F>(self, helps: F) -> RetryLayer<Grpc<C>, RetryIf<F, R>>
    where
        F: Fn(Code, &HeaderMap) -> bool,
    {
        self.rules(|rules| RetryIf { helps, rules })
    }

    /// Another attempt would help after these codes; after `UNAVAILABLE` by default. Name only codes after which every
    /// method that is retried may be called again: see [`methods`](Self::methods).
    ///
    /// # Panics
    ///
    /// If there is none, or `OK` among them.
    #[must_use]
    #[track_caller]
    pub fn codes(self, codes: impl IntoIterator<Item = Code>) -> RetryLayer<Grpc<C>, OnCodes<R>> {
        let codes = codes.into_iter().fold(0, |codes, code| codes | 1 << code as u32);
        if codes & 1 << Code::Ok as u32 != 0 {
            or_panic::<()>(Err(InvalidConfig::new("retry.codes", "OK is not a failure")));
        }
        if codes == 0 {
            or_panic::<()>(Err(InvalidConfig::new("retry.codes", "none is not one or more")));
        }
        self.rules(|rules| OnCodes { codes, rules })
    }

    /// These methods may be called twice, and no others: `inventory.v1.Inventory/Check`. All may by default.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[must_use]
    #[track_caller]
    pub fn methods<M>(self, methods: impl IntoIterator<Item = M>) -> RetryLayer<Grpc<C>, OnMethods<R>>
    where
        M: AsRef<str>,
    {
        let methods = methods.into_iter().map(|method| method.as_ref().trim_start_matches('/').to_owned());
        let methods: Arc<[String]> = methods.collect();
        if methods.is_empty() {
            or_panic::<()>(Err(InvalidConfig::new("retry.methods", "none is not one or more")));
        }
        self.rules(|rules| OnMethods { methods, rules })
    }
}

impl<S, P, R> Layer<S> for RetryLayer<P, R>
where
    S: Clone,
    P: Clone,
    R: Clone,
{
    type Service = RetryService<S, P, R>;

    fn layer(&self, inner: S) -> Self::Service {
        RetryService::new(inner, self.retry.clone(), self.protocol.clone(), self.rules.clone())
    }
}
