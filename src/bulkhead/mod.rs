//! TBD

/// TBD
#[derive(Debug)]
pub struct BulkheadLayer;
