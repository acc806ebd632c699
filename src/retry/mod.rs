//! Calls again what has failed in passing: with growing waits, where it is safe, and within a budget.

mod attempt;
mod config;
mod course;
mod event;
mod future;
mod handle;
mod layer;
mod peek;
pub mod protocol;
pub mod replay;
mod rules;
mod run;
mod scope;
mod service;

pub use self::{
    attempt::{Attempt, GRPC_PREVIOUS_ATTEMPTS, HTTP_PREVIOUS_ATTEMPTS},
    config::RetryConfig,
    future::{FIRST_FRAME_WITHIN, ResponseFuture},
    handle::{Retry, RetrySnapshot},
    layer::RetryLayer,
    peek::PeekedBody,
    replay::ReplayBody,
    rules::{
        IDEMPOTENCY_KEY, Idempotent, OnCodes, OnMethods, RetryHead, RetryIf, RetryResult, RetryStatus, SafeWhen, Stock,
        is_idempotent, is_transient,
    },
    service::RetryService,
};
