//! What a step of a saga tells the service it calls: who is asking, and how often it may happen.
//!
//! A call that is repeated, because its answer was lost, or because another node takes the saga over, must not happen
//! twice; and a call that was taken back must not happen at all, however late it arrives. The other side can see to that
//! only if it is told which step of which saga a call belongs to. [`StepKey`] says that.

mod context;
mod key;

pub(crate) use self::key::check_name;
pub use self::{
    context::{InStep, StepContext, StepOutcome},
    key::{InvalidStepKey, LONGEST_STEP_NAME, Op, SagaId, StepKey},
};
