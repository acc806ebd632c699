//! The step layer: what is sent along, and what an answer says of the step.

mod grpc;
mod http;
mod plain;

use buttress::step::{Op, SagaId, StepContext, StepKey};

/// A step under way.
fn charge() -> StepContext {
    StepContext::new(StepKey::new(SagaId::from_bytes([7; 16]), "charge", 1, Op::Act).unwrap(), 3)
}
