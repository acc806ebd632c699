//! When a hedge goes by what was observed.

use buttress::{
    BoxError, HedgeLayer,
    hedge::{Careful, OBSERVED_FOR},
    protocol::Plain,
    retry::Idempotent,
};
use tokio::time::{Instant, advance};
use tower::{Layer, Service, ServiceExt};

use super::{Course, MS};

fn layer() -> HedgeLayer<Plain, Idempotent<Careful>> {
    HedgeLayer::new("test").idempotent().after_quantile(0.9)
}

async fn call<S>(service: &mut S, calls: usize)
where
    S: Service<u32, Response = (), Error = BoxError>,
{
    for _ in 0..calls {
        service.ready().await.unwrap().call(7).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_hedged_until_enough_was_observed() {
    let inner = Course::new(|call| ((if call < 20 { 20 } else { 1000 }) * MS, Ok::<_, BoxError>(())));
    let layer = layer().minimum_calls(20);
    let mut service = layer.layer(inner.clone());
    call(&mut service, 19).await;
    assert_eq!(layer.handle().snapshot().after, None);
    call(&mut service, 1).await;
    advance(100 * MS).await;
    let after = layer.handle().snapshot().after.unwrap();
    // To within a sixteenth, and the clock's millisecond.
    assert!((20 * MS..24 * MS).contains(&after), "{after:?}");
    let began = Instant::now();
    call(&mut service, 1).await;
    assert_eq!(inner.calls(), 22);
    assert_eq!(inner.times(began)[21], after.as_millis() as u64 + 1);
    // And again when that is too long ago.
    advance(OBSERVED_FOR).await;
    assert_eq!(layer.handle().snapshot().after, None);
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_hedged_still_count_as_slow_ones() {
    // Of eight calls two are slow, and a hedge of one of those is not. Were they left out when a hedge cuts them short, the
    // quantile would sink below the slowest of the others, which would then be hedged too.
    const MILLIS: [u32; 10] = [10, 1000, 20, 30, 40, 50, 1000, 60, 70, 80];
    let inner = Course::new(|call| (MILLIS[call % 10] * MS, Ok::<_, BoxError>(())));
    let layer = layer().after_quantile(0.74).minimum_calls(50);
    let mut service = layer.layer(inner.clone());
    call(&mut service, 1000).await;
    let snapshot = layer.handle().snapshot();
    assert!((80 * MS..90 * MS).contains(&snapshot.after.unwrap()), "{snapshot:?}");
    assert!((200..=260).contains(&snapshot.hedged) && snapshot.won == snapshot.hedged, "{snapshot:?}");
}

#[tokio::test(start_paused = true)]
async fn failures_and_calls_that_were_dropped_are_no_measure() {
    let inner = Course::new(|call| match call {
        0..10 => (MS, Err(BoxError::from("refused at once"))),
        10..20 => (20 * MS, Ok(())),
        _ => (1000 * MS, Ok(())),
    });
    let layer = layer().minimum_calls(11);
    let mut service = layer.layer(inner.clone());
    for _ in 0..20 {
        let _ = service.ready().await.unwrap().call(7).await;
    }
    for _ in 0..20 {
        let call = service.ready().await.unwrap().call(7);
        assert!(tokio::time::timeout(MS, call).await.is_err());
    }
    advance(100 * MS).await;
    assert_eq!(layer.handle().snapshot().after, None, "there were ten answers only");
}
