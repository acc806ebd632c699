//! The five policies a call to another service needs, in the right order, with sane defaults.
//!
//! ```text
//!             ┌ timeout ───────────────────────────── the whole exchange, all attempts and waits: 5 s
//!             │  ┌ retry ──────────────────────────── 3 attempts, on a budget
//!             │  │  ┌ circuit breaker ─────────────── sees every attempt, refuses while the service is down
//!             │  │  │  ┌ bulkhead ─────────────────── 25 at once; what the breaker refused takes no permit
//!             │  │  │  │  ┌ attempt timeout ───────── each attempt: 2 s, and never more than is left in all
//!   request ─▶│─▶│─▶│─▶│─▶│─▶ service
//! ```
//!
//! Every place but this is worse: a retry below the breaker hides failures from it; a bulkhead above the retry keeps
//! its permit while the retry sleeps; with no timeout outside the retry, three attempts take three timeouts.
//!
//! ```
//! use std::time::Duration;
//!
//! use tower::ServiceBuilder;
//!
//! let layer = buttress::standard::http("payments")
//!     .timeout(|timeout| timeout.within(Duration::from_secs(3)))
//!     .retry(|retry| retry.max_attempts(2))
//!     .circuit_breaker(|breaker| breaker.failure_rate(0.3))
//!     .bulkhead(|bulkhead| bulkhead.max_concurrent(50))
//!     .attempt_timeout(|timeout| timeout.within(Duration::from_secs(1)));
//!
//! let handles = layer.handles();
//! let stack = ServiceBuilder::new().layer(layer);
//! println!("{}", handles.circuit_breaker.state());
//! ```
//!
//! All settings together are a [`StandardConfig`], which can be read from a file (feature `serde`) and be applied to a
//! stack that runs: [`Handles::reconfigure`].
//!
//! It is one [`Layer`], and like each of its parts it *is* its policies: everything made from it or from a clone of it
//! shares them.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tower_layer::Layer;
use tracing::info;

use crate::{
    BulkheadLayer, CircuitBreakerLayer, InvalidConfig, RetryLayer, TimeoutLayer,
    bulkhead::{Bulkhead, BulkheadConfig, BulkheadService},
    circuit_breaker::{CircuitBreaker, CircuitBreakerConfig, CircuitBreakerService},
    config::{check_duration, or_panic},
    name::Name,
    protocol::{Grpc, Http, Plain},
    retry::{Retry, RetryConfig, RetryService, Stock},
    timeout::{Timeout, TimeoutConfig, TimeoutService},
};

/// The five policies around any service. What is retried is yours to say, see [`RetryLayer::new`].
///
/// # Panics
///
/// If the name is empty.
pub fn new(name: impl Into<Name>) -> StandardLayer {
    or_panic(StandardLayer::from_config(name, StandardConfig::default(), Plain::default()))
}

/// The five policies around an HTTP client.
///
/// # Panics
///
/// If the name is empty.
pub fn http(name: impl Into<Name>) -> StandardLayer<Http> {
    or_panic(StandardLayer::from_config(name, StandardConfig::default(), Http::default()))
}

/// The five policies around a gRPC channel.
///
/// # Panics
///
/// If the name is empty.
pub fn grpc(name: impl Into<Name>) -> StandardLayer<Grpc> {
    or_panic(StandardLayer::from_config(name, StandardConfig::default(), Grpc::default()))
}

/// The settings of a whole stack.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct StandardConfig {
    /// The whole exchange, all attempts and the waits between them. Default: 5 s.
    pub timeout: TimeoutConfig,
    /// Default: 3 attempts.
    pub retry: RetryConfig,
    /// Default: opens at half of the last 100 calls.
    pub circuit_breaker: CircuitBreakerConfig,
    /// Default: 25 at once.
    pub bulkhead: BulkheadConfig,
    /// Each attempt. Less than the whole. Default: 2 s.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "read_attempt_timeout"))]
    pub attempt_timeout: TimeoutConfig,
}

/// How long an attempt may take by default: two of them, and a wait, are less than the whole.
const ATTEMPT: Duration = Duration::from_secs(2);

/// What is absent of an attempt's timeout isn't what is absent of the whole's.
#[cfg(feature = "serde")]
fn read_attempt_timeout<'de, D: serde::Deserializer<'de>>(from: D) -> Result<TimeoutConfig, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Attempt {
        #[serde(with = "crate::config::text::time")]
        within: Duration,
    }

    impl Default for Attempt {
        fn default() -> Self {
            Self { within: ATTEMPT }
        }
    }

    let Attempt { within } = serde::Deserialize::deserialize(from)?;
    Ok(TimeoutConfig { within })
}

impl Default for StandardConfig {
    fn default() -> Self {
        Self {
            timeout: TimeoutConfig::default(),
            retry: RetryConfig::default(),
            circuit_breaker: CircuitBreakerConfig::default(),
            bulkhead: BulkheadConfig::default(),
            attempt_timeout: TimeoutConfig { within: ATTEMPT },
        }
    }
}

impl StandardConfig {
    /// Refuses settings that make no sense, each for itself or all together.
    ///
    /// # Errors
    ///
    /// The first setting that is out of its range, or that can't work beside the others.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        self.timeout.validate()?;
        self.retry.validate()?;
        self.circuit_breaker.validate()?;
        self.bulkhead.validate()?;
        check_duration("attempt_timeout.within", self.attempt_timeout.within)?;
        self.validate_together()
    }

    fn validate_together(&self) -> Result<(), InvalidConfig> {
        let (attempt, whole) = (self.attempt_timeout.within, self.timeout.within);
        if attempt >= whole {
            let problem = format!("an attempt may take {attempt:?}, which is not less than the whole's {whole:?}");
            return Err(InvalidConfig::new("attempt_timeout.within", problem));
        }
        if self.bulkhead.max_wait >= whole {
            let problem =
                format!("a call may queue {:?}, which is not less than the whole's {whole:?}", self.bulkhead.max_wait);
            return Err(InvalidConfig::new("bulkhead.max_wait", problem));
        }
        let wait = self.retry.backoff.base;
        if self.retry.max_attempts > 1 && wait >= whole {
            let problem = format!("the second attempt may wait {wait:?}, which is not less than the whole's {whole:?}");
            return Err(InvalidConfig::new("retry.backoff.base", problem));
        }
        // What the breaker sees of an attempt begins before the bulkhead's queue.
        let longest = attempt + self.bulkhead.max_wait;
        if let Some(slow) = self.circuit_breaker.slow_calls
            && slow.longer_than >= longest
        {
            let longer_than = slow.longer_than;
            let problem = format!("no call takes longer than {longer_than:?}, as an attempt is cut off at {longest:?}");
            return Err(InvalidConfig::new("circuit_breaker.slow_calls.longer_than", problem));
        }
        Ok(())
    }
}

/// The five policies as one layer. Made by [`new()`], [`http()`] or [`grpc()`].
#[derive(Debug, Clone)]
pub struct StandardLayer<P = Plain, R = Stock> {
    together: Together,
    timeout: TimeoutLayer<P>,
    retry: RetryLayer<P, R>,
    circuit_breaker: CircuitBreakerLayer<P>,
    bulkhead: BulkheadLayer<P>,
    attempt_timeout: TimeoutLayer<P>,
}

/// The service that a [`StandardLayer`] makes of `S`.
pub type StandardService<S, P = Plain, R = Stock> =
    TimeoutService<RetryService<CircuitBreakerService<BulkheadService<TimeoutService<S, P>, P>, P>, P, R>, P>;

/// Held while the policies are set, or looked at, all together. Says whether they are known to fit.
///
/// Only what was set since then is looked at again: who changes one policy by its own handle answers for it, and a layer
/// that is applied to each new connection must not panic for it.
#[derive(Debug, Clone)]
struct Together(Arc<Mutex<bool>>);

impl Together {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The policies of a stack, to watch and to steer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Handles {
    /// The whole exchange.
    pub timeout: Timeout,
    /// All attempts.
    pub retry: Retry,
    /// Each attempt.
    pub circuit_breaker: CircuitBreaker,
    /// Each attempt that the breaker let through.
    pub bulkhead: Bulkhead,
    /// Each attempt that got a permit.
    pub attempt_timeout: Timeout,
    together: Together,
}

impl Handles {
    /// The settings in force.
    pub fn config(&self) -> StandardConfig {
        let _whole = self.together.lock();
        self.read()
    }

    /// Applies other settings to the whole stack while it runs: all of them, or none.
    ///
    /// They are in force from the next attempt on; exchanges under way keep the time they were given. Nothing is lost:
    /// calls keep their permits and their places in the queue, the breaker its state and what it counted, the retry its
    /// budget. Only another [`window`](CircuitBreakerConfig::window) and another [`budget`](RetryConfig::budget) begin
    /// anew. Of two who do this at once, the one's settings hold and then the other's, never a mixture.
    ///
    /// # Errors
    ///
    /// A setting that makes no sense, by itself or beside the others, or what a policy can't do live: a breaker can have
    /// 16 different windows in its life, a bulkhead 255 partitions that have calls. Then nothing has changed.
    pub fn reconfigure(&self, config: StandardConfig) -> Result<(), InvalidConfig> {
        config.validate()?;
        let mut fits = self.together.lock();
        let before = self.read();
        if before == config {
            return Ok(());
        }
        let after = config.clone();
        // These two can still say no, and the first has changed nothing when the second does.
        self.circuit_breaker.reserve(&config.circuit_breaker)?;
        if before.bulkhead != config.bulkhead {
            self.bulkhead.reconfigure(config.bulkhead)?;
        }
        if before.circuit_breaker != config.circuit_breaker {
            self.circuit_breaker.reconfigure(config.circuit_breaker)?;
        }
        self.retry.reconfigure(config.retry)?;
        self.timeout.reconfigure(config.timeout)?;
        self.attempt_timeout.reconfigure(config.attempt_timeout)?;
        *fits = true;
        info!(policy = "standard", name = self.timeout.name().as_str(), ?before, ?after, "settings changed");
        Ok(())
    }

    /// Only with the lock held.
    fn read(&self) -> StandardConfig {
        StandardConfig {
            timeout: self.timeout.config(),
            retry: self.retry.config(),
            circuit_breaker: self.circuit_breaker.config(),
            bulkhead: self.bulkhead.config(),
            attempt_timeout: self.attempt_timeout.config(),
        }
    }
}

impl<P: Clone> StandardLayer<P> {
    /// A stack with these settings, in this protocol.
    ///
    /// The attempt timeout's name is the stack's with `-attempt` behind it, so that one sees which of the two it was.
    ///
    /// # Errors
    ///
    /// If a setting makes no sense, by itself or beside the others.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    pub fn from_config(name: impl Into<Name>, config: StandardConfig, protocol: P) -> Result<Self, InvalidConfig> {
        config.validate()?;
        let name = name.into();
        let attempt = format!("{name}-attempt");
        Ok(Self {
            together: Together(Arc::new(Mutex::new(true))),
            timeout: TimeoutLayer::from_policy(Timeout::with_config(name.clone(), config.timeout)?, protocol.clone()),
            retry: RetryLayer::from_policy(Retry::with_config(name.clone(), config.retry)?, protocol.clone()),
            circuit_breaker: CircuitBreakerLayer::from_policy(
                CircuitBreaker::with_config(name.clone(), config.circuit_breaker)?,
                protocol.clone(),
            ),
            bulkhead: BulkheadLayer::from_policy(Bulkhead::with_config(name, config.bulkhead)?, protocol.clone()),
            attempt_timeout: TimeoutLayer::from_policy(
                Timeout::with_config(attempt, config.attempt_timeout)?,
                protocol,
            ),
        })
    }
}

impl<P, R> StandardLayer<P, R> {
    /// Sets the timeout of the whole exchange.
    #[must_use]
    pub fn timeout(mut self, set: impl FnOnce(TimeoutLayer<P>) -> TimeoutLayer<P>) -> Self {
        *self.together.lock() = false;
        self.timeout = set(self.timeout);
        self
    }

    /// Sets the retry, and what it takes for safe.
    #[must_use]
    pub fn retry<Q>(self, set: impl FnOnce(RetryLayer<P, R>) -> RetryLayer<P, Q>) -> StandardLayer<P, Q> {
        let Self { together, timeout, retry, circuit_breaker, bulkhead, attempt_timeout } = self;
        *together.lock() = false;
        StandardLayer { together, timeout, retry: set(retry), circuit_breaker, bulkhead, attempt_timeout }
    }

    /// Sets the circuit breaker.
    #[must_use]
    pub fn circuit_breaker(mut self, set: impl FnOnce(CircuitBreakerLayer<P>) -> CircuitBreakerLayer<P>) -> Self {
        *self.together.lock() = false;
        self.circuit_breaker = set(self.circuit_breaker);
        self
    }

    /// Sets the bulkhead.
    #[must_use]
    pub fn bulkhead(mut self, set: impl FnOnce(BulkheadLayer<P>) -> BulkheadLayer<P>) -> Self {
        *self.together.lock() = false;
        self.bulkhead = set(self.bulkhead);
        self
    }

    /// Sets the timeout of each attempt.
    #[must_use]
    pub fn attempt_timeout(mut self, set: impl FnOnce(TimeoutLayer<P>) -> TimeoutLayer<P>) -> Self {
        *self.together.lock() = false;
        self.attempt_timeout = set(self.attempt_timeout);
        self
    }

    /// The policies, to watch and to steer.
    pub fn handles(&self) -> Handles {
        Handles {
            timeout: self.timeout.handle(),
            retry: self.retry.handle(),
            circuit_breaker: self.circuit_breaker.handle(),
            bulkhead: self.bulkhead.handle(),
            attempt_timeout: self.attempt_timeout.handle(),
            together: self.together.clone(),
        }
    }

    /// Whether the policies can work together, as they were set.
    fn fits(&self) -> Result<(), InvalidConfig> {
        let mut fits = self.together.lock();
        if !*fits {
            self.handles().read().validate()?;
            *fits = true;
        }
        Ok(())
    }

    /// The settings in force.
    pub fn config(&self) -> StandardConfig {
        self.handles().config()
    }
}

impl<S: Clone, P: Clone, R: Clone> Layer<S> for StandardLayer<P, R> {
    type Service = StandardService<S, P, R>;

    /// # Panics
    ///
    /// If the policies can't work together: an attempt may take as long as the whole, for example. Each setter sees
    /// only its own policy, so it is here that they are first seen together.
    #[track_caller]
    fn layer(&self, inner: S) -> Self::Service {
        or_panic(self.fits());
        let inner = self.bulkhead.layer(self.attempt_timeout.layer(inner));
        self.timeout.layer(self.retry.layer(self.circuit_breaker.layer(inner)))
    }
}
