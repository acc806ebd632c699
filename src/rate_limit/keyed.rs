//! A rate limit for each key: a caller, a tenant, an address.

mod layer;
mod policy;

pub use self::{
    layer::{KeyedRateLimitLayer, KeyedRateLimitService},
    policy::{KeyedRateLimit, KeyedRateLimitConfig, KeyedRateLimitSnapshot},
};
