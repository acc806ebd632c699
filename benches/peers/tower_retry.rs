//! tower has no retry policy of its own, but for the parts of one.

use std::{
    future::{Ready, ready},
    sync::Arc,
};

use tower::retry::{
    Policy,
    budget::{Budget, TpsBudget},
};

/// What tower's own documentation retries by: errors, within a budget.
#[derive(Clone, Default)]
pub(crate) struct TowerPolicy(Arc<TpsBudget>);

impl<Res, E> Policy<u64, Res, E> for TowerPolicy {
    type Future = Ready<()>;

    fn retry(&mut self, _request: &mut u64, result: &mut Result<Res, E>) -> Option<Ready<()>> {
        match result {
            Ok(_) => {
                self.0.deposit();
                None
            }
            Err(_) => self.0.withdraw().then(|| ready(())),
        }
    }

    fn clone_request(&mut self, request: &u64) -> Option<u64> {
        Some(*request)
    }
}
