//! A plain service has no headers; the step still learns what became of the call.

use std::{future::pending, io};

use buttress::{BoxError, BulkheadLayer, CircuitBreakerLayer, StepLayer};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use super::charge;

async fn look_up(key: u32) -> Result<u32, BoxError> {
    match key {
        0 => Err("not there".into()),
        1 => Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()),
        2 => pending().await,
        key => Ok(key),
    }
}

#[tokio::test]
async fn only_our_own_refusal_says_that_nothing_was_sent() {
    for (key, refused) in [(7, false), (0, false), (1, false)] {
        let step = charge();
        let call = StepLayer::new().layer(service_fn(look_up)).oneshot(key);
        let answer = step.clone().scope(call).await;
        assert_eq!((answer.is_ok(), step.was_refused()), (key == 7, refused), "{key}");
    }
    let breaker = CircuitBreakerLayer::new("lookup");
    breaker.handle().force_open();
    let step = charge();
    let refused = ServiceBuilder::new().layer(StepLayer::new()).layer(breaker).service_fn(look_up);
    step.clone().scope(refused.oneshot(7)).await.unwrap_err();
    assert!(step.was_refused());
}

#[tokio::test]
async fn a_call_that_is_dropped_or_not_over_may_have_happened() {
    let step = charge();
    let bulkhead = BulkheadLayer::new("lookup").max_concurrent(1);
    let service = ServiceBuilder::new().layer(StepLayer::new()).layer(bulkhead).service_fn(look_up);
    let mut hanging = tokio_test::task::spawn(step.clone().scope(service.clone().oneshot(2)));
    assert!(hanging.poll().is_pending());
    step.clone().scope(service.clone().oneshot(7)).await.unwrap_err();
    assert!(!step.was_refused(), "the other call is still under way");
    drop(hanging);
    assert!(!step.was_refused(), "and now nobody knows");
}
