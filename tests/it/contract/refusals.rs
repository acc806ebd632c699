//! L5 and L6: a refusal keeps the service's error type, says who refused and why, and means "not sent".

use std::{
    convert::Infallible,
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use buttress::{
    BulkheadLayer, CircuitBreakerLayer, Deadline, RateLimitLayer, Reason, Rejection, SagaLayer, TimeoutLayer,
    saga::Coordinator,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};

/// Runs a check over every policy that refuses, brought to where it does; with the reason, and what it is over the wire.
macro_rules! every_refusal {
    ($protocol:ident, $check:ident) => {{
        let open = CircuitBreakerLayer::$protocol("law");
        open.handle().force_open();
        $check!(open, "circuit_breaker", Reason::CircuitOpen, 503, "14");

        let keyed = CircuitBreakerLayer::$protocol("law").keyed(|_: &_| "key");
        drop(keyed.handle().try_acquire(&"key"));
        keyed.handle().get(&"key").unwrap().force_open();
        $check!(keyed, "circuit_breaker", Reason::CircuitOpen, 503, "14");

        let full = BulkheadLayer::$protocol("law").max_concurrent(1);
        let _permit = full.handle().try_acquire().unwrap();
        $check!(full.clone(), "bulkhead", Reason::BulkheadFull, 503, "8");
        let waiting = full.max_wait(Duration::from_millis(10));
        $check!(waiting, "bulkhead", Reason::WaitExpired, 503, "8");

        let keyed = BulkheadLayer::$protocol("law").max_concurrent(1).keyed(|_: &_| "key").max_keys(1);
        let inside = keyed.handle().try_acquire(&"key").unwrap();
        $check!(keyed.clone(), "bulkhead", Reason::BulkheadFull, 503, "8");
        drop(inside);
        let _other = keyed.handle().try_acquire(&"other").unwrap();
        $check!(keyed, "bulkhead", Reason::BulkheadFull, 503, "8");

        let used_up = RateLimitLayer::$protocol("law").limit(1, Duration::from_secs(1));
        used_up.handle().try_acquire().unwrap();
        $check!(used_up, "rate_limit", Reason::RateLimited, 429, "8");

        let coordinator = Coordinator::in_memory().start().await.unwrap();
        let saga = SagaLayer::$protocol(&coordinator, "law");
        let late_saga = saga.clone();
        coordinator.drain(Duration::from_secs(1)).await.unwrap();
        $check!(saga, "saga", Reason::ShuttingDown, 503, "14");

        let late = Deadline::after(Duration::from_millis(1));
        advance(Duration::from_millis(1)).await;
        late.scope(async {
            $check!(TimeoutLayer::$protocol("law"), "timeout", Reason::DeadlinePassed, 504, "4");
            $check!(late_saga, "saga", Reason::DeadlinePassed, 504, "4");
        })
        .await;
    }};
}

/// How often the inner service was called.
type Calls = Arc<AtomicUsize>;

macro_rules! check_plain {
    ($layer:expr, $policy:expr, $reason:expr, $status:expr, $code:expr) => {{
        let calls = Calls::default();
        let count = calls.clone();
        let inner = service_fn(move |()| ready(Ok::<_, Infallible>(count.fetch_add(1, SeqCst))));
        let error = $layer.layer(inner).oneshot(()).await.unwrap_err();
        let rejection = Rejection::find(&error).expect("a rejection");
        assert_eq!((rejection.policy(), rejection.name().as_str(), rejection.reason()), ($policy, "law", $reason));
        assert_eq!(calls.load(SeqCst), 0, "{rejection}");
    }};
}

macro_rules! response {
    ($layer:expr, $policy:expr, $reason:expr) => {{
        let calls = Calls::default();
        let count = calls.clone();
        let inner = service_fn(move |_: Request<Full<Bytes>>| {
            count.fetch_add(1, SeqCst);
            ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
        });
        let response = $layer.layer(inner).oneshot(Request::new(Full::default())).await;
        let Ok(response): Result<_, Infallible> = response;
        let rejection = response.extensions().get::<Rejection>().expect("a rejection").clone();
        assert_eq!((rejection.policy(), rejection.name().as_str(), rejection.reason()), ($policy, "law", $reason));
        assert_eq!(calls.load(SeqCst), 0, "{rejection}");
        response
    }};
}

macro_rules! check_http {
    ($layer:expr, $policy:expr, $reason:expr, $status:expr, $code:expr) => {{
        let response = response!($layer, $policy, $reason);
        assert_eq!(response.status(), $status);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let retry_after = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        let body = response.into_body().collect().await.ok().expect("the body of a refusal breaks off");
        let problem: serde_json::Value = serde_json::from_slice(&body.to_bytes()).unwrap();
        assert_eq!(problem["status"], $status);
        assert_eq!(problem["policy"], $policy);
        assert_eq!(problem["reason"], $reason.as_str());
        assert_eq!(retry_after.as_deref(), ($reason != Reason::DeadlinePassed).then_some("1"));
    }};
}

macro_rules! check_grpc {
    ($layer:expr, $policy:expr, $reason:expr, $status:expr, $code:expr) => {{
        let response = response!($layer, $policy, $reason);
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/grpc");
        assert_eq!(response.headers()["grpc-status"], $code);
        assert!(http_body::Body::is_end_stream(response.body()), "trailers-only");
    }};
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_who_refused_and_why_and_nothing_was_sent() {
    every_refusal!(new, check_plain);
    every_refusal!(http, check_http);
    every_refusal!(grpc, check_grpc);
}
