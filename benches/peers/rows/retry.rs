//! A retry whose first attempt succeeds.

use std::time::Duration;

use buttress::{BoxError, RetryLayer};
use seatbelt::{RecoveryInfo, ResilienceContext, retry::Retry};
use tower::Layer;
use tower_resilience_retry::{RetryBudgetBuilder, RetryConfigBuilder};

use super::breaker::context;
use crate::{
    call::{Layered, Noop, PerCall},
    harness::Bench,
    tower_retry::TowerPolicy,
};

pub(crate) fn rows(bench: &mut Bench) {
    bench.group("retry, first attempt");
    // Three attempts, and a budget.
    bench.reference("buttress", PerCall(RetryLayer::new("bench").idempotent().layer(Noop)));
    bench.candidate(
        "tower 0.5 Retry with TpsBudget",
        PerCall(tower::retry::RetryLayer::new(TowerPolicy::default()).layer(Noop)),
    );
    let budget = RetryBudgetBuilder::new().token_bucket().build().expect("these are sensible settings");
    bench
        .candidate("tower-resilience 0.14", PerCall(tower_resilience::<BoxError>().budget(budget).build().layer(Noop)));
    bench.candidate("tower-resilience 0.14, no budget", PerCall(tower_resilience::<BoxError>().build().layer(Noop)));
    // It has no budget.
    bench.candidate("seatbelt 0.11 (no budget)", PerCall(seatbelt(&context()).layer(Noop)));
    bench.candidate("seatbelt 0.11, layered (no budget)", Layered(seatbelt(&context()).layer(Noop).into()));
}

pub(crate) fn tower_resilience<E>() -> RetryConfigBuilder<u64, u64, E> {
    let builder = tower_resilience_retry::RetryLayer::<u64, u64, E>::builder();
    builder.max_attempts(3).exponential_backoff(Duration::from_millis(50))
}

pub(crate) fn seatbelt(
    context: &ResilienceContext<u64, Result<u64, BoxError>>,
) -> seatbelt::retry::RetryLayer<u64, Result<u64, BoxError>> {
    Retry::layer("bench", context)
        .clone_input()
        .recovery_with(|result, _| if result.is_ok() { RecoveryInfo::never() } else { RecoveryInfo::retry() })
        .max_retry_attempts(2)
}
