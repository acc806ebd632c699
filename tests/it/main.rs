//! What the layers do, seen through the public API. One binary, because every further one is linked anew.

mod allocations;
mod barrier;
mod bulkhead;
mod circuit_breaker;
mod contract;
mod examples;
mod fault;
mod protocol;
mod rate_limit;
mod registry;
mod retry;
mod saga;
mod standard;
mod step;
mod support;
mod timeout;
