//! A bulkhead for each key: a host, a tenant, a caller.

mod any;
mod config;
mod layer;
mod policy;
mod service;
mod snapshot;

pub use self::{
    any::AnyKeyedBulkhead, config::KeyedBulkheadConfig, layer::KeyedBulkheadLayer, policy::KeyedBulkhead,
    service::KeyedBulkheadService, snapshot::KeyedBulkheadSnapshot,
};
