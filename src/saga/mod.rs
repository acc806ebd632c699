//! Sagas: transactions over several services, each step of which can be undone.
#![allow(dead_code, unused_imports)]

#[cfg(feature = "saga-admin")]
mod admin;
mod answer;
#[cfg(feature = "axum")]
mod axum;
mod call;
mod clock;
mod config;
mod coordinator;
mod course;
mod current;
mod definition;
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
mod operator;
pub mod protocol;
mod registry;
mod service;
mod settings;
#[cfg(feature = "tonic")]
mod tonic;
mod turns;
mod view;
mod work;

#[cfg(feature = "axum")]
pub use self::axum::NoSaga;
pub use self::{
    call::Call,
    config::CoordinatorConfig,
    coordinator::{Coordinator, CoordinatorBuilder, Drained, StartError},
    definition::{BeforePivot, SagaDefinition, ServeSaga},
    error::{Kind, SagaError},
    handle::{Saga, Step},
    idempotency::{IDEMPOTENCY_REPLAYED, Idempotency, Rebuild},
    layer::SagaLayer,
    operator::OperatorError,
    protocol::{CommitHead, CommitResult, CommitStatus, Success},
    service::SagaService,
    settings::{OnConflict, OnDisconnect},
    view::{SagaDetail, SagaSummary, Shown, ShownRecord},
};
