//! Everything that rate limits, hedges, fallbacks and faults tell of, and who is cancelled of all.

use std::{convert::Infallible, future::pending, io, time::Duration};

use axum::body::Body;
use buttress::{
    BoxError, Deadline, FallbackLayer, FaultLayer, HedgeLayer, RateLimitLayer, Reason, Rejection, RetryLayer,
    TimeoutLayer,
    budget::Budget,
    fallback::{Fallback, FallbackConfig},
    fault::Fault,
    hedge::{Hedge, HedgeConfig},
    rate_limit::RateLimit,
    retry::Retry,
};
use http::{Method, Request, Response};
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use super::Kept;

const SECOND: Duration = Duration::from_secs(1);

pub(super) async fn happen(kept: &mut Kept) {
    rate_limit(kept).await;
    hedge(kept).await;
    fallback(kept).await;
    fault(kept).await;
    cancelled(kept).await;
}

/// Gives up on it after a second.
async fn dropped<T>(work: impl Future<Output = T>) {
    assert!(timeout(SECOND, work).await.is_err());
}

async fn rate_limit(kept: &mut Kept) {
    let limit = RateLimitLayer::new("everything").limit(1, 10 * SECOND).burst(2).max_wait(30 * SECOND).max_queue(2);
    let limit: RateLimit = limit.handle();
    limit.try_acquire_many(2).unwrap();
    assert!(limit.try_acquire_many(3).is_err(), "too heavy");
    (0..2).for_each(|_| assert!(limit.try_acquire().is_err(), "too soon"));
    assert!(Deadline::at(Instant::now() + SECOND).scope(limit.acquire()).await.is_err(), "too late");
    let waits = [(); 2].map(|()| {
        let limit = limit.clone();
        tokio::spawn(async move { limit.acquire().await })
    });
    tokio::task::yield_now().await;
    (0..4).for_each(|_| assert!(futures_util::FutureExt::now_or_never(limit.acquire()).unwrap().is_err(), "full"));
    for wait in waits {
        wait.await.unwrap().unwrap();
    }
    dropped(limit.acquire()).await;
    let mut config = limit.config();
    config.max_queue += 1;
    limit.reconfigure(config).unwrap();

    let keyed = RateLimitLayer::new("everything keyed").limit(1, SECOND).keyed(|key: &u32| *key).max_keys(2).handle();
    (0..3).for_each(|key| keyed.of(&key).try_acquire().unwrap());
    assert!(keyed.of(&2).try_acquire().is_err());
    kept.extend([Box::new(limit) as Box<dyn std::any::Any>, Box::new(keyed)]);
}

async fn hedge(kept: &mut Kept) {
    let layer = HedgeLayer::new("everything").idempotent().after(SECOND);
    let hedge: Hedge = layer.handle();
    // How long the first attempt takes, and the second.
    let race = async |first: u32, second: u32| {
        let times = std::sync::Mutex::new(vec![second, first]);
        let times = std::sync::Arc::new(times);
        let inner = service_fn(move |()| {
            let time = times.lock().unwrap().pop().unwrap();
            async move {
                sleep(time * SECOND).await;
                Ok::<_, BoxError>(())
            }
        });
        layer.layer(inner).oneshot(()).await.unwrap();
    };
    race(10, 1).await;
    for _ in 0..2 {
        race(3, 10).await;
    }
    let slow = || {
        service_fn(async |()| {
            sleep(2 * SECOND).await;
            Ok::<_, BoxError>(())
        })
    };
    Deadline::after(SECOND).scope(layer.layer(slow()).oneshot(())).await.unwrap();
    dropped(layer.layer(slow()).oneshot(())).await;
    let refuses = async |()| {
        sleep(SECOND / 2).await;
        Err::<(), BoxError>(Rejection::new("bulkhead", "below", Reason::BulkheadFull).into())
    };
    for _ in 0..3 {
        layer.layer(service_fn(refuses)).oneshot(()).await.unwrap_err();
    }
    let mut config: HedgeConfig = hedge.config();
    config.max_hedges += 1;
    hedge.reconfigure(config).unwrap();

    let poor = HedgeLayer::new("everything poor").idempotent().after(SECOND).budget(Budget::tokens(2, 0.1));
    poor.handle().budget().failed();
    for _ in 0..3 {
        poor.layer(slow()).oneshot(()).await.unwrap();
    }

    let unsaid = HedgeLayer::new("everything unsaid").after(SECOND);
    unsaid.layer(slow()).oneshot(()).await.unwrap();

    let large = HedgeLayer::http("everything large").after(SECOND).replay_at_most(1);
    let reads = service_fn(async |request: Request<Body>| {
        let read = axum::body::to_bytes(Body::new(request.into_body()), 100).await.unwrap();
        sleep(2 * SECOND).await;
        Ok::<_, Infallible>(Response::new(Body::from(read)))
    });
    let streamed = Body::from_stream(futures_util::stream::iter(["hel", "lo"].map(Ok::<_, Infallible>)));
    let request = Request::builder().method(Method::PUT).body(streamed).unwrap();
    ServiceBuilder::new().layer(&large).service(reads).oneshot(request).await.unwrap();
    kept.extend([Box::new(hedge) as Box<dyn std::any::Any>, Box::new(poor), Box::new(unsaid), Box::new(large)]);
}

async fn fallback(kept: &mut Kept) {
    let layer = FallbackLayer::new("everything").max_concurrent(1).with(async |how: &'static str, _| match how {
        "hangs" => pending().await,
        "fails" => Err::<(), BoxError>("so does this".into()),
        _ => Ok(()),
    });
    let fallback: Fallback = layer.handle();
    let failing = |error: fn() -> BoxError| {
        layer.layer(service_fn(move |_: &'static str| async move { Err::<(), BoxError>(error()) }))
    };
    let broken = || failing(|| io::Error::from(io::ErrorKind::ConnectionReset).into());
    let rejected = || failing(|| Rejection::new("bulkhead", "below", Reason::BulkheadFull).into());
    let late = TimeoutLayer::new("everything below").within(SECOND);
    let late = layer.layer(late.layer(service_fn(async |_: &'static str| pending::<Result<(), BoxError>>().await)));
    for _ in 0..2 {
        broken().oneshot("answers").await.unwrap();
    }
    for _ in 0..3 {
        rejected().oneshot("answers").await.unwrap();
    }
    for _ in 0..4 {
        late.clone().oneshot("answers").await.unwrap();
    }
    broken().oneshot("fails").await.unwrap_err();
    let hangs = tokio::spawn(broken().oneshot("hangs"));
    tokio::task::yield_now().await;
    for _ in 0..5 {
        rejected().oneshot("answers").await.unwrap_err();
    }
    hangs.abort();
    hangs.await.unwrap_err();
    let mut config: FallbackConfig = fallback.config();
    config.max_concurrent += 1;
    fallback.reconfigure(config).unwrap();

    let large = FallbackLayer::http("everything large").replay_at_most(1);
    let other = service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::empty())));
    let large = large.service(other);
    let broken = service_fn(async |request: Request<Body>| {
        axum::body::to_bytes(Body::new(request.into_body()), 100).await.unwrap();
        let answer = Response::builder().status(500).body(Body::empty()).unwrap();
        Ok::<_, Infallible>(answer)
    });
    let streamed = Body::from_stream(futures_util::stream::iter(["hel", "lo"].map(Ok::<_, Infallible>)));
    let request = Request::builder().method(Method::PUT).body(streamed).unwrap();
    ServiceBuilder::new().layer(&large).service(broken).oneshot(request).await.unwrap();
    kept.extend([Box::new(fallback) as Box<dyn std::any::Any>, Box::new(large.handle())]);
}

async fn fault(kept: &mut Kept) {
    let kinds = [
        Fault::Fail,
        Fault::FailAfter,
        Fault::FailAfter,
        Fault::Hang,
        Fault::DropReply,
        Fault::DropReply,
        Fault::BreakBody,
        Fault::Delay(SECOND),
        Fault::Delay(SECOND),
        Fault::Delay(SECOND),
    ];
    let layer = FaultLayer::new("everything").script(kinds.map(Some).into_iter().chain([None; 5]));
    for _ in 0..kinds.len() + 5 {
        let echo = service_fn(async |()| Ok::<_, BoxError>(()));
        let _ = timeout(2 * SECOND, layer.layer(echo).oneshot(())).await;
    }
    let mut config = layer.handle().config();
    config.enabled = false;
    layer.handle().reconfigure(config).unwrap();
    kept.push(Box::new(layer));
}

/// Each a different number of times.
async fn cancelled(kept: &mut Kept) {
    let hangs = || service_fn(async |()| pending::<Result<(), BoxError>>().await);
    let retry = RetryLayer::new("everything dropped").idempotent();
    let run: Retry = retry.handle();
    dropped(run.run(async |_| pending::<Result<(), io::Error>>().await, |_| true)).await;
    dropped(retry.layer(hangs()).oneshot(())).await;
    let timeout = TimeoutLayer::new("everything dropped").within(10 * SECOND);
    dropped(timeout.handle().run(pending::<()>())).await;
    for _ in 0..2 {
        dropped(timeout.layer(hangs()).oneshot(())).await;
    }
    let hedge = HedgeLayer::new("everything dropped").idempotent().after(SECOND / 2);
    for _ in 0..4 {
        dropped(hedge.layer(hangs()).oneshot(())).await;
    }
    let fallback = FallbackLayer::new("everything dropped").value(());
    for _ in 0..5 {
        dropped(fallback.layer(hangs()).oneshot(())).await;
    }
    kept.extend([
        Box::new(retry) as Box<dyn std::any::Any>,
        Box::new(timeout),
        Box::new(hedge),
        Box::new(fallback.handle()),
    ]);
}
