//! A breaker for each key: a host, an endpoint, a tenant.

mod any;
mod config;
mod layer;
mod policy;
mod service;

pub use self::{
    any::AnyKeyedCircuitBreaker,
    config::KeyedCircuitBreakerConfig,
    layer::KeyedCircuitBreakerLayer,
    policy::{KeyedCircuitBreaker, KeyedCircuitBreakerSnapshot},
    service::KeyedCircuitBreakerService,
};
