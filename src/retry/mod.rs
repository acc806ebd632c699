//! TBD

/// TBD
#[derive(Debug)]
pub struct RetryLayer;
