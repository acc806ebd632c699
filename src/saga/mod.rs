//! Sagas: transactions over several services, each step of which can be undone.
#![allow(dead_code, unused_imports)]

#[cfg(feature = "saga-admin")]
mod admin;
mod call;
mod clock;
mod config;
mod coordinator;
mod course;
mod definition;
mod error;
mod event;
mod handle;
mod hub;
pub mod journal;
mod keeper;
mod machine;
mod operator;
mod registry;
mod view;

pub use self::{
    call::Call,
    config::CoordinatorConfig,
    coordinator::{Coordinator, CoordinatorBuilder, Drained, StartError},
    definition::{BeforePivot, SagaDefinition, ServeSaga},
    error::{Kind, SagaError},
    handle::{Saga, Step},
    operator::OperatorError,
    view::{SagaDetail, SagaSummary, Shown, ShownRecord},
};
