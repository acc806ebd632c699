//! Sagas: transactions over several services, each step of which can be undone.
#![allow(dead_code, unused_imports)]

mod answer;
#[cfg(feature = "axum")]
mod axum;
mod call;
mod clock;
mod config;
mod coordinator;
mod course;
mod current;
mod error;
mod event;
pub mod future;
mod handle;
mod hub;
pub mod idempotency;
pub mod journal;
mod keeper;
mod layer;
mod machine;
pub mod protocol;
mod registry;
mod service;
mod settings;
#[cfg(feature = "tonic")]
mod tonic;
mod turns;
mod work;

#[cfg(feature = "axum")]
pub use self::axum::NoSaga;
pub use self::{
    call::Call,
    config::CoordinatorConfig,
    coordinator::{Coordinator, CoordinatorBuilder, Drained, StartError},
    error::{Kind, SagaError},
    handle::{Saga, Step},
    idempotency::{IDEMPOTENCY_REPLAYED, Idempotency, Rebuild},
    layer::SagaLayer,
    protocol::{CommitHead, CommitResult, CommitStatus, Success},
    service::SagaService,
    settings::{OnConflict, OnDisconnect},
};
