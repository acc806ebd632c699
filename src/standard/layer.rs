//! The layer.

use tower_layer::{Identity, Layer};

use super::{
    config::StandardConfig,
    handles::{Handles, OneBudget, Together, not_there},
    place::{Place, UnderRetry},
};
use crate::{
    BulkheadLayer, CircuitBreakerLayer, FallbackLayer, HedgeLayer, InvalidConfig, RateLimitLayer, RetryLayer,
    TimeoutLayer,
    bulkhead::{Bulkhead, BulkheadService},
    circuit_breaker::{CircuitBreaker, CircuitBreakerService},
    config::or_panic,
    fallback::Fallback,
    hedge::Hedge,
    name::Name,
    protocol::Plain,
    rate_limit::RateLimit,
    retry::{Retry, RetryService, Stock},
    timeout::{Timeout, TimeoutService},
};

/// The policies as one layer. Made by [`new()`](super::new), [`http()`](super::http) or [`grpc()`](super::grpc).
///
/// `P` is the protocol and `R` what the retry was told is safe. `F`, `H` and `L` are the places of a fallback, a hedge and
/// a rate limit: empty, until [`fallback`](Self::fallback), [`hedge`](Self::hedge) or [`rate_limit`](Self::rate_limit) is
/// called. An empty place is nothing in the services, neither in their types nor in what they cost.
#[derive(Debug, Clone)]
pub struct StandardLayer<P = Plain, R = Stock, F = Identity, H = Identity, L = Identity> {
    frame: Frame<P>,
    fallback: F,
    retry: RetryLayer<P, R>,
    hedge: H,
    rate_limit: L,
}

/// What is of the same type in every stack of a protocol.
#[derive(Debug, Clone)]
struct Frame<P> {
    together: Together,
    protocol: P,
    timeout: TimeoutLayer<P>,
    circuit_breaker: CircuitBreakerLayer<P>,
    bulkhead: BulkheadLayer<P>,
    attempt_timeout: TimeoutLayer<P>,
}

/// The service that a [`StandardLayer`] makes of `S`.
pub type StandardService<S, P = Plain, R = Stock, F = Identity, H = Identity, L = Identity> =
    <StandardLayer<P, R, F, H, L> as Layer<S>>::Service;

/// From the bulkhead inwards.
type Inside<S, P> = BulkheadService<TimeoutService<S, P>, P>;
/// From the circuit breaker inwards.
type Judged<S, P, L> = CircuitBreakerService<<L as Layer<Inside<S, P>>>::Service, P>;
/// From the retry inwards.
type Retried<S, P, R, H, L> = RetryService<<H as UnderRetry<Judged<S, P, L>, R>>::Service, P, R>;

impl<P: Clone> StandardLayer<P> {
    /// A stack with these settings, in this protocol.
    ///
    /// The attempt timeout's name is the stack's with `-attempt` behind it, so that one sees which of the two it was.
    ///
    /// # Errors
    ///
    /// If a setting makes no sense, by itself or beside the others; or if there are settings of a fallback, a hedge or a
    /// rate limit, which this stack hasn't: add those and then apply the settings, by [`configured`](Self::configured).
    ///
    /// # Panics
    ///
    /// If the name is empty.
    pub fn from_config(name: impl Into<Name>, config: StandardConfig, protocol: P) -> Result<Self, InvalidConfig> {
        config.validate()?;
        let StandardConfig { timeout, fallback, retry, hedge, circuit_breaker, rate_limit, bulkhead, attempt_timeout } =
            config;
        let optional =
            [("fallback", fallback.is_some()), ("hedge", hedge.is_some()), ("rate_limit", rate_limit.is_some())];
        if let Some((setting, _)) = optional.into_iter().find(|(_, is_set)| *is_set) {
            return Err(not_there(setting));
        }
        let name = name.into();
        let attempt = format!("{name}-attempt");
        let (timeout, attempt_timeout) =
            (Timeout::with_config(name.clone(), timeout)?, Timeout::with_config(attempt, attempt_timeout)?);
        let breaker = CircuitBreaker::with_config(name.clone(), circuit_breaker)?;
        let (retry, bulkhead) = (Retry::with_config(name.clone(), retry)?, Bulkhead::with_config(name, bulkhead)?);
        Ok(Self {
            frame: Frame {
                together: Together::fitting(),
                timeout: TimeoutLayer::from_policy(timeout, protocol.clone()),
                circuit_breaker: CircuitBreakerLayer::from_policy(breaker, protocol.clone()),
                bulkhead: BulkheadLayer::from_policy(bulkhead, protocol.clone()),
                attempt_timeout: TimeoutLayer::from_policy(attempt_timeout, protocol.clone()),
                protocol: protocol.clone(),
            },
            fallback: Identity::new(),
            retry: RetryLayer::from_policy(retry, protocol),
            hedge: Identity::new(),
            rate_limit: Identity::new(),
        })
    }
}

impl<P: Clone, R, H, L> StandardLayer<P, R, Identity, H, L> {
    /// Adds a fallback, above the retry and below the timeout of the whole, and sets it: what stands in for an answer when
    /// nothing below has one. See [`fallback`](crate::fallback).
    ///
    /// Once: a stack that has a fallback hasn't this method.
    #[must_use]
    pub fn fallback<Q, G>(
        self,
        set: impl FnOnce(FallbackLayer<P>) -> FallbackLayer<Q, G>,
    ) -> StandardLayer<P, R, FallbackLayer<Q, G>, H, L> {
        let Self { frame, fallback: _, retry, hedge, rate_limit } = self;
        let fallback = set(FallbackLayer::from_policy(Fallback::new(frame.name()), frame.protocol.clone()));
        frame.changes();
        StandardLayer { frame, fallback, retry, hedge, rate_limit }
    }
}

impl<P: Clone, R, F, L> StandardLayer<P, R, F, Identity, L> {
    /// Adds a hedge, below the retry and above the circuit breaker, and sets it: a request is sent again, beside the first,
    /// when its answer takes long. See [`hedge`](crate::hedge).
    ///
    /// It is paid from the retry's budget, unless it is given [one of its own](HedgeLayer::budget) here; and what may be
    /// hedged follows what the retry is told, before or after this, unless it is said here.
    ///
    /// Once: a stack that has a hedge hasn't this method.
    #[must_use]
    pub fn hedge<T>(
        self,
        set: impl FnOnce(HedgeLayer<P>) -> HedgeLayer<P, T>,
    ) -> StandardLayer<P, R, F, HedgeLayer<P, T>, L> {
        let Self { frame, fallback, retry, hedge: _, rate_limit } = self;
        let hedge = HedgeLayer::from_policy(Hedge::new(frame.name()), frame.protocol.clone());
        let hedge = set(hedge.share_budget(retry.handle().budget()));
        frame.changes();
        StandardLayer { frame, fallback, retry, hedge, rate_limit }
    }
}

impl<P: Clone, R, F, H> StandardLayer<P, R, F, H, Identity> {
    /// Adds a rate limit, below the circuit breaker and above the bulkhead, and sets it: how many attempts there are in a
    /// time, retries and hedges included. 100 a second until it is told otherwise. See [`rate_limit`](crate::rate_limit).
    ///
    /// Once: a stack that has a rate limit hasn't this method.
    #[must_use]
    pub fn rate_limit<W>(
        self,
        set: impl FnOnce(RateLimitLayer<P>) -> RateLimitLayer<P, W>,
    ) -> StandardLayer<P, R, F, H, RateLimitLayer<P, W>> {
        let Self { frame, fallback, retry, hedge, rate_limit: _ } = self;
        let rate_limit = set(RateLimitLayer::from_policy(RateLimit::new(frame.name()), frame.protocol.clone()));
        frame.changes();
        StandardLayer { frame, fallback, retry, hedge, rate_limit }
    }
}

impl<P, R, F, H, L> StandardLayer<P, R, F, H, L>
where
    F: Place<Fallback>,
    H: Place<Hedge>,
    L: Place<RateLimit>,
{
    /// Sets the timeout of the whole exchange.
    #[must_use]
    pub fn timeout(mut self, set: impl FnOnce(TimeoutLayer<P>) -> TimeoutLayer<P>) -> Self {
        self.frame.changes();
        self.frame.timeout = set(self.frame.timeout);
        self
    }

    /// Sets the retry, and what it takes for safe.
    #[must_use]
    pub fn retry<Q>(self, set: impl FnOnce(RetryLayer<P, R>) -> RetryLayer<P, Q>) -> StandardLayer<P, Q, F, H, L> {
        let Self { frame, fallback, retry, hedge, rate_limit } = self;
        frame.changes();
        let one_budget = OneBudget::of(hedge.policy(), &retry.handle());
        let retry = set(retry);
        one_budget.keep(&retry.handle());
        StandardLayer { frame, fallback, retry, hedge, rate_limit }
    }

    /// Sets the circuit breaker.
    #[must_use]
    pub fn circuit_breaker(mut self, set: impl FnOnce(CircuitBreakerLayer<P>) -> CircuitBreakerLayer<P>) -> Self {
        self.frame.changes();
        self.frame.circuit_breaker = set(self.frame.circuit_breaker);
        self
    }

    /// Sets the bulkhead.
    #[must_use]
    pub fn bulkhead(mut self, set: impl FnOnce(BulkheadLayer<P>) -> BulkheadLayer<P>) -> Self {
        self.frame.changes();
        self.frame.bulkhead = set(self.frame.bulkhead);
        self
    }

    /// Sets the timeout of each attempt.
    #[must_use]
    pub fn attempt_timeout(mut self, set: impl FnOnce(TimeoutLayer<P>) -> TimeoutLayer<P>) -> Self {
        self.frame.changes();
        self.frame.attempt_timeout = set(self.frame.attempt_timeout);
        self
    }

    /// The same stack with these settings, from a file perhaps, in the place of those that were set so far.
    ///
    /// ```
    /// use buttress::{settings, standard};
    ///
    /// let file: toml::Table = "
    ///     [payments]
    ///     timeout.within = '3s'
    ///     hedge.after.delay = '200ms'
    /// ".parse()?;
    /// let config = settings::read("payments", file["payments"].clone())?;
    /// let layer = standard::http("payments").hedge(|hedge| hedge).configured(config)?;
    /// # drop(layer);
    /// # Ok::<(), buttress::BoxError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Handles::reconfigure`].
    pub fn configured(self, config: StandardConfig) -> Result<Self, InvalidConfig> {
        self.handles().reconfigure(config)?;
        Ok(self)
    }

    /// The policies, to watch and to steer: those that the stack has so far, so ask when all are added.
    pub fn handles(&self) -> Handles {
        let Frame { together, protocol: _, timeout, circuit_breaker, bulkhead, attempt_timeout } = &self.frame;
        Handles {
            timeout: timeout.handle(),
            fallback: self.fallback.policy(),
            retry: self.retry.handle(),
            hedge: self.hedge.policy(),
            circuit_breaker: circuit_breaker.handle(),
            rate_limit: self.rate_limit.policy(),
            bulkhead: bulkhead.handle(),
            attempt_timeout: attempt_timeout.handle(),
            together: together.clone(),
        }
    }

    /// The settings in force.
    pub fn config(&self) -> StandardConfig {
        self.handles().config()
    }

    /// Whether the policies can work together, as they were set.
    fn fits(&self) -> Result<(), InvalidConfig> {
        let mut fits = self.frame.together.lock();
        if !*fits {
            self.handles().read().validate()?;
            *fits = true;
        }
        Ok(())
    }
}

impl<P> Frame<P> {
    fn name(&self) -> Name {
        self.timeout.handle().name().clone()
    }

    /// A policy is set, or added: whether they fit is to be looked at again.
    fn changes(&self) {
        *self.together.lock() = false;
    }
}

impl<S, P, R, F, H, L> Layer<S> for StandardLayer<P, R, F, H, L>
where
    P: Clone,
    R: Clone,
    F: Place<Fallback> + Layer<Retried<S, P, R, H, L>>,
    H: Place<Hedge> + UnderRetry<Judged<S, P, L>, R, Service: Clone>,
    L: Place<RateLimit> + Layer<Inside<S, P>>,
{
    type Service = TimeoutService<F::Service, P>;

    /// # Panics
    ///
    /// If the policies can't work together: an attempt may take as long as the whole, for example. Each setter sees
    /// only its own policy, so it is here that they are first seen together.
    #[track_caller]
    fn layer(&self, inner: S) -> Self::Service {
        or_panic(self.fits());
        let Frame { timeout, circuit_breaker, bulkhead, attempt_timeout, .. } = &self.frame;
        let inside = bulkhead.layer(attempt_timeout.layer(inner));
        let judged = circuit_breaker.layer(self.rate_limit.layer(inside));
        let attempted = self.hedge.under(self.retry.told(), judged);
        timeout.layer(self.fallback.layer(self.retry.layer(attempted)))
    }
}
