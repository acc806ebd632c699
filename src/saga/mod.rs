//! Sagas: transactions over several services, each step of which can be undone.
//!
//! A request that changes something in three services can fail in the third. What was done in the first two must then be
//! undone; and that must happen also if the process dies in between, if the answer of the second was lost, or if nobody
//! knows whether it happened at all. A saga writes down, before each step, what would undo it; so whoever comes after it can
//! undo it, from what is written alone. (The idea is Garcia-Molina and Salem's, *Sagas*, 1987.)
//!
//! | | |
//! |---|---|
//! | [`Coordinator`] | begins sagas, keeps their journal, undoes and finishes what was left behind |
//! | [`SagaLayer`] | makes each request of a route, or each call of a service, a saga |
//! | [`Saga`] | the saga, in a handler: [`step`](Saga::step), [`then`](Saga::then) |
//! | [`SagaDefinition`] | a saga that is data, and can go on where it was |
//! | [`Call`] | the name of what undoes a step, or was promised |
//! | [`journal`] | where all that is written: SQLite, memory, or your own |
//!
//! It is the coordinator's half. The other is the participants': [`barrier`](crate::barrier).
//!
//! # Why not a message queue, or a workflow engine?
//!
//! A queue delivers; it doesn't know what to undo. A workflow engine replays your code, which must then be written for it,
//! and runs beside your service. This is a library in it: a handler stays a handler, and the journal is a file.
//!
//! # Why is the undo not a closure?
//!
//! Because a closure does not survive a restart. Its arguments do, as data, with the name of who is to get them.
//!
#![doc = include_str!("../../docs/sagas.md")]

mod call;
mod coordinator;
mod definition;
mod error;
mod event;
mod handle;
pub mod journal;
mod layer;
mod machine;
mod meter;
mod operator;

#[cfg(feature = "axum")]
pub use self::layer::NoSaga;
pub use self::{
    call::Call,
    coordinator::{Coordinator, CoordinatorBuilder, CoordinatorConfig, Drained, StartError},
    definition::{BeforePivot, SagaDefinition, ServeSaga},
    error::{Kind, SagaError},
    handle::{Saga, Step},
    layer::{
        CommitHead, CommitResult, CommitStatus, IDEMPOTENCY_REPLAYED, Idempotency, OnConflict, OnDisconnect, Rebuild,
        SagaLayer, SagaService, Success, future, idempotency, protocol,
    },
    operator::{OperatorError, SagaDetail, SagaSummary, Shown, ShownRecord},
};
