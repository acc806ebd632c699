//! A timeout of a second that doesn't pass.

use std::time::Duration;

use buttress::TimeoutLayer;
use seatbelt::timeout::Timeout;
use tower::Layer;
use tower_resilience_timelimiter::TimeLimiterLayer;

use super::breaker::context;
use crate::{
    call::{Failed, Layered, Noop, PerCall},
    harness::Bench,
};

const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn rows(bench: &mut Bench) {
    bench.group("timeout");
    bench.reference("buttress", PerCall(TimeoutLayer::new("bench").within(SECOND).layer(Noop)));
    bench.candidate("tower 0.5 Timeout", PerCall(tower::timeout::TimeoutLayer::new(SECOND).layer(Noop)));
    bench.candidate(
        "tower-resilience 0.14",
        PerCall(TimeLimiterLayer::builder().timeout_duration(SECOND).cancel_running_future(true).build().layer(Noop)),
    );
    let layer = Timeout::layer("bench", &context()).timeout_error(|_| Failed.into()).timeout(SECOND);
    let service = layer.layer(Noop);
    bench.candidate("seatbelt 0.11", PerCall(service.clone()));
    bench.candidate("seatbelt 0.11, layered", Layered(service.into()));
}
