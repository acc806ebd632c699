//! TBD

/// TBD
#[derive(Debug)]
pub struct CircuitBreakerLayer;
