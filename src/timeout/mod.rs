//! TBD

/// TBD
#[derive(Debug)]
pub struct TimeoutLayer;
