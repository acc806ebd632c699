//! The layer.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode, request};
use tower_layer::Layer;

use super::{
    config::{After, HedgeConfig},
    handle::Hedge,
    rules::Careful,
    service::HedgeService,
};
use crate::{
    BoxError,
    budget::Budget,
    config::{InvalidConfig, or_panic},
    name::Name,
    protocol::{Grpc, Http, Plain, grpc::Code},
    repeat::rules::{Idempotent, OnCodes, OnMethods, RetryIf, SafeWhen},
};

/// Puts services under a hedge. See the [module](super).
///
/// Every service it is applied to shares the one policy, its budget and what it has observed included, and so do its
/// clones.
#[derive(Debug, Clone)]
pub struct HedgeLayer<P = Plain, R = Careful> {
    hedge: Hedge,
    protocol: P,
    rules: R,
}

impl HedgeLayer {
    /// For any service whose requests are `Clone`. Nothing is hedged until it is said what may be carried out twice:
    /// [`idempotent`](Self::idempotent), [`safe_when`](Self::safe_when).
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn new(name: impl Into<Name>) -> Self {
        Self::from_policy(Hedge::new(name), Plain::default())
    }
}

impl HedgeLayer<Http> {
    /// For HTTP services. What is idempotent is hedged: see [`is_idempotent`](super::is_idempotent).
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn http(name: impl Into<Name>) -> Self {
        Self::from_policy(Hedge::new(name), Http::default())
    }
}

impl HedgeLayer<Grpc> {
    /// For gRPC services. Nothing is hedged until it is said what may be carried out twice: [`methods`](Self::methods),
    /// [`idempotent`](Self::idempotent), [`safe_when`](Self::safe_when).
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn grpc(name: impl Into<Name>) -> Self {
        Self::from_policy(Hedge::new(name), Grpc::default())
    }
}

impl<P> HedgeLayer<P> {
    /// For services under a policy that exists already.
    pub fn from_policy(hedge: Hedge, protocol: P) -> Self {
        Self { hedge, protocol, rules: Careful }
    }
}

impl<P, R> HedgeLayer<P, R> {
    /// The policy, to watch it and to set it anew.
    pub fn handle(&self) -> Hedge {
        self.hedge.clone()
    }

    /// Sends the request again when there is no answer after `delay`, instead of after a quantile.
    ///
    /// # Panics
    ///
    /// If it is zero or more than a year.
    #[must_use]
    #[track_caller]
    pub fn after(self, delay: Duration) -> Self {
        self.set(|config| config.after = After::Delay(delay))
    }

    /// Sends the request again when there is no answer by the time that this share of the calls had one, as was observed
    /// in the last [`OBSERVED_FOR`](super::OBSERVED_FOR); 0.95 by default.
    ///
    /// # Panics
    ///
    /// If it is not between 0.5 and 0.9999.
    #[must_use]
    #[track_caller]
    pub fn after_quantile(self, quantile: f64) -> Self {
        self.set(|config| config.after = After::Quantile(quantile))
    }

    /// How often the request may be sent besides the first time; once by default.
    ///
    /// # Panics
    ///
    /// If it is more than 4.
    #[must_use]
    #[track_caller]
    pub fn max_hedges(self, hedges: u32) -> Self {
        self.set(|config| config.max_hedges = hedges)
    }

    /// How many answers must have been observed before their quantile means something; 100 by default.
    ///
    /// # Panics
    ///
    /// If it is not between 1 and 1,000,000.
    #[must_use]
    #[track_caller]
    pub fn minimum_calls(self, calls: u32) -> Self {
        self.set(|config| config.minimum_calls = calls)
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

    /// Takes hedges from `budget`, which this policy tells of its calls; from a tenth of the calls, and ten a second, by
    /// default.
    #[must_use]
    pub fn budget(self, budget: Budget) -> Self {
        self.hedge.own_budget(budget);
        self
    }

    /// Takes hedges from the budget of a [retry](crate::retry) further out, which tells it of the calls: retries and
    /// hedges together are then no more than it allows. See [`Hedge::share_budget`].
    #[must_use]
    pub fn share_budget(self, budget: Budget) -> Self {
        self.hedge.share_budget(budget);
        self
    }

    /// Every request may be carried out twice.
    #[must_use]
    pub fn idempotent(self) -> HedgeLayer<P, Idempotent<R>> {
        self.rules(|rules| Idempotent { rules })
    }

    #[track_caller]
    fn set(self, change: impl FnOnce(&mut HedgeConfig)) -> Self {
        or_panic(self.hedge.alter(change));
        self
    }

    pub(crate) fn rules<T>(self, change: impl FnOnce(R) -> T) -> HedgeLayer<P, T> {
        HedgeLayer { hedge: self.hedge, protocol: self.protocol, rules: change(self.rules) }
    }
}

impl<C, R> HedgeLayer<Plain<C>, R> {
    /// A request may be carried out twice where `safe` says so. The type of the request has to be spelled out:
    /// `|request: &Lookup| request.is_read()`.
    #[must_use]
    pub fn safe_when<F, Req>(self, safe: F) -> HedgeLayer<Plain<C>, SafeWhen<F, R>>
    where
        F: Fn(&Req) -> bool,
    {
        self.rules(|rules| SafeWhen { safe, rules })
    }

    /// A result is a failure, and another attempt may do better, where `non_fatal` says so; every error is by default.
    /// Any other result ends the race. The type of the response has to be spelled out.
    #[must_use]
    pub fn non_fatal_if<F, Res>(self, non_fatal: F) -> HedgeLayer<Plain<C>, RetryIf<F, R>>
    where
        F: Fn(Result<&Res, &BoxError>) -> bool,
    {
        self.rules(|rules| RetryIf { helps: non_fatal, rules })
    }
}

impl<C, R> HedgeLayer<Http<C>, R> {
    /// A request may be carried out twice where `safe` says so, and nowhere else; where
    /// [`is_idempotent`](super::is_idempotent) says so by default.
    #[must_use]
    pub fn safe_when<F>(self, safe: F) -> HedgeLayer<Http<C>, SafeWhen<F, R>>
    where
        F: Fn(&request::Parts) -> bool,
    {
        self.rules(|rules| SafeWhen { safe, rules })
    }

    /// An answer is a failure, and another attempt may do better, where `non_fatal` says so; where
    /// [`is_transient`](super::is_transient) says so by default. Any other answer ends the race.
    #[must_use]
    pub fn non_fatal_if<F>(self, non_fatal: F) -> HedgeLayer<Http<C>, RetryIf<F, R>>
    where
        F: Fn(StatusCode, &HeaderMap) -> bool,
    {
        self.rules(|rules| RetryIf { helps: non_fatal, rules })
    }
}

impl<C, R> HedgeLayer<Grpc<C>, R> {
    /// A call may be carried out twice where `safe` says so; nowhere by default.
    #[must_use]
    pub fn safe_when<F>(self, safe: F) -> HedgeLayer<Grpc<C>, SafeWhen<F, R>>
    where
        F: Fn(&request::Parts) -> bool,
    {
        self.rules(|rules| SafeWhen { safe, rules })
    }

    /// These methods may be carried out twice, and no others: `inventory.v1.Inventory/Check`.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[must_use]
    #[track_caller]
    pub fn methods<M>(self, methods: impl IntoIterator<Item = M>) -> HedgeLayer<Grpc<C>, OnMethods<R>>
    where
        M: AsRef<str>,
    {
        let methods = methods.into_iter().map(|method| method.as_ref().trim_start_matches('/').to_owned());
        let methods: Arc<[String]> = methods.collect();
        if methods.is_empty() {
            or_panic::<()>(Err(InvalidConfig::new("hedge.methods", "none is not one or more")));
        }
        self.rules(|rules| OnMethods { methods, rules })
    }

    /// The codes of failures that another attempt may mend; `UNAVAILABLE` by default. Any other ends the race (gRPC
    /// proposal A6).
    ///
    /// # Panics
    ///
    /// If `OK` is among them.
    #[must_use]
    #[track_caller]
    pub fn non_fatal_codes(self, codes: impl IntoIterator<Item = Code>) -> HedgeLayer<Grpc<C>, OnCodes<R>> {
        let codes = codes.into_iter().fold(0, |codes, code| codes | 1 << code as u32);
        if codes & 1 << Code::Ok as u32 != 0 {
            or_panic::<()>(Err(InvalidConfig::new("hedge.non_fatal_codes", "OK is not a failure")));
        }
        self.rules(|rules| OnCodes { codes, rules })
    }
}

impl<S, P, R> Layer<S> for HedgeLayer<P, R>
where
    P: Clone,
    R: Clone,
{
    type Service = HedgeService<S, P, R>;

    fn layer(&self, inner: S) -> Self::Service {
        HedgeService::new(inner, &self.hedge, self.protocol.clone(), self.rules.clone())
    }
}
