//! The three that a stack has when it is told so: a fallback, a hedge, a rate limit.

use std::{
    convert::Infallible,
    future::{pending, ready},
    mem::size_of_val,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use buttress::{
    BoxError, Rejection,
    budget::Budget,
    bulkhead::BulkheadService,
    circuit_breaker::CircuitBreakerService,
    fallback::{FallbackService, FellBack, Value},
    hedge::{Careful, HedgeService},
    protocol::{Grpc, Http, Plain, grpc::Code},
    rate_limit::RateLimitService,
    retry::{Idempotent, RetryService, Stock},
    standard,
    timeout::TimeoutService,
};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tonic::Status;
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneService};

use super::{counted, get, status};
use crate::support::grpc::{Answer, EchoClient, Scripted};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Each type is spelled out, so that it is the compiler who says so.
#[test]
fn a_stack_without_them_is_of_the_type_it_was() {
    type Service = fn(()) -> std::future::Ready<Result<(), BoxError>>;
    type Five<S, P = Plain> =
        TimeoutService<RetryService<CircuitBreakerService<BulkheadService<TimeoutService<S, P>, P>, P>, P>, P>;
    let answers: Service = |()| ready(Ok(()));
    let service: Five<_> = standard::new("five").layer(service_fn(answers));
    let by_name: standard::StandardService<_> = standard::new("five").layer(service_fn(answers));
    assert_eq!(size_of_val(&service), size_of_val(&by_name));

    let _: Five<(), Http> = standard::http("five").layer(());
    let _: Five<(), Grpc> = standard::grpc("five").layer(());
}

#[tokio::test]
async fn each_of_them_is_in_its_place() {
    type Judged<S> = CircuitBreakerService<RateLimitService<BulkheadService<TimeoutService<S>, Plain>, Plain>, Plain>;
    type Retried<S> = RetryService<HedgeService<Judged<S>, Plain, Idempotent<Careful>>, Plain, Idempotent<Stock>>;
    type Places<S> = TimeoutService<FallbackService<Retried<S>, Plain, Value<u32>>>;
    // In whatever order they are asked for.
    let layer = standard::new("eight")
        .rate_limit(|limit| limit)
        .hedge(|hedge| hedge)
        .fallback(|fallback| fallback.value(7))
        .retry(|retry| retry.idempotent());
    let service: Places<_> = layer.layer(service_fn(|()| ready(Ok::<u32, BoxError>(1))));
    assert_eq!(service.oneshot(()).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn over_http_all_of_them_work_together() {
    let layer = standard::http("ratings")
        .fallback(|fallback| fallback.value(Response::new(Full::from("[]"))))
        .hedge(|hedge| hedge.after(100 * MS))
        .rate_limit(|limit| limit.limit(1000, SECOND));
    let handles = layer.handles();
    let calls = Arc::new(AtomicU32::new(0));
    let count = calls.clone();
    // The first hangs and its hedge says 503; the second attempt's first hangs, and its hedge answers.
    let service = layer.layer(service_fn(move |_: Request<Empty<Bytes>>| {
        let call = count.fetch_add(1, SeqCst);
        async move {
            match call {
                0 | 2 => pending().await,
                1 => status(503),
                _ => status(if call == 3 { 200 } else { 500 }),
            }
        }
    }));
    let began = Instant::now();
    let response = timeout(10 * SECOND, service.clone().oneshot(get())).await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(began.elapsed() < 3 * SECOND, "{:?}", began.elapsed());
    let (hedge, limit) = (handles.hedge.as_ref().unwrap(), handles.rate_limit.as_ref().unwrap());
    assert_eq!((calls.load(SeqCst), limit.snapshot().allowed), (4, 4), "the limit counts every attempt");
    assert_eq!((hedge.snapshot().hedges, handles.retry.snapshot().retries), (2, 1));
    drop(response);

    let response = service.oneshot(get()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.extensions().get::<FellBack>().is_some());
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "[]");
    assert_eq!(handles.fallback.as_ref().unwrap().snapshot().fell_back, 1);
    assert_eq!(handles.bulkhead.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn over_grpc_all_of_them_work_together() {
    let stood_in = Response::builder().header("grpc-status", "5").body(tonic::body::Body::empty());
    let stood_in = stood_in.unwrap().map(|_| Empty::<Bytes>::new());
    let layer = standard::grpc("inventory")
        .retry(|retry| retry.methods(["test.Echo/Echo"]))
        .hedge(|hedge| hedge.after(100 * MS))
        .rate_limit(|limit| limit.limit(1000, SECOND))
        .fallback(|fallback| fallback.value(stood_in));
    let handles = layer.handles();
    let unavailable = || Answer::Fail(Status::unavailable("stocktaking"));
    let scripted = Scripted::new([unavailable(), unavailable(), Answer::Hang, Answer::Echo]);
    let mut client = EchoClient::new(layer.layer(scripted));
    // The first attempt fails, and the hedge that goes at once; then there is a retry, which hangs, and its hedge.
    assert_eq!(client.echo("hello").await.unwrap().into_inner().text, "hello");
    assert_eq!(handles.hedge.as_ref().unwrap().snapshot().hedges, 2);
    assert_eq!(handles.rate_limit.as_ref().unwrap().snapshot().allowed, 4);

    let scripted = Scripted::new(std::iter::repeat_with(unavailable).take(20));
    let mut client = EchoClient::new(layer.layer(scripted));
    assert_eq!(client.echo("hello").await.unwrap_err().code(), tonic::Code::NotFound, "what stands in");
    assert_eq!(handles.fallback.as_ref().unwrap().snapshot().fell_back, 1);
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_has_only_the_time_of_the_whole() {
    let layer = standard::new("lookup")
        .timeout(|timeout| timeout.within(3 * SECOND))
        .fallback(|fallback| fallback.with(async |(): (), _| pending::<Result<(), BoxError>>().await));
    let fails = service_fn(|()| ready(Err::<(), BoxError>("no".into())));
    let began = Instant::now();
    layer.layer(fails).oneshot(()).await.unwrap_err();
    assert_eq!(began.elapsed(), 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn what_the_breaker_refuses_uses_nothing_of_the_rate() {
    let layer = standard::new("lookup").rate_limit(|limit| limit.limit(5, SECOND));
    let handles = layer.handles();
    handles.circuit_breaker.force_open();
    let service = layer.layer(service_fn(|()| ready(Ok::<_, Infallible>(()))));
    for _ in 0..20 {
        let error = service.clone().oneshot(()).await.unwrap_err();
        assert_eq!(Rejection::find(&error).unwrap().policy(), "circuit_breaker");
    }
    assert_eq!(handles.rate_limit.unwrap().snapshot().available, 5);
}

// ===== one budget =====

/// Answers nothing in time, and then that it failed.
async fn slow_failure() -> Result<(), BoxError> {
    sleep(300 * MS).await;
    Err("overloaded".into())
}

#[tokio::test(start_paused = true)]
async fn in_a_storm_retries_and_hedges_together_are_no_more_than_the_one_budget() {
    let sent = Arc::new(AtomicU32::new(0));
    let layer = standard::new("storm")
        .hedge(|hedge| hedge.after(100 * MS))
        .retry(|retry| retry.idempotent().max_attempts(5).budget(Budget::share(0.2, 1)))
        .circuit_breaker(|breaker| breaker.minimum_calls(1_000_000))
        .bulkhead(|bulkhead| bulkhead.max_concurrent(10_000));
    let (handles, count) = (layer.handles(), sent.clone());
    let service = layer.layer(service_fn(move |()| {
        count.fetch_add(1, SeqCst);
        slow_failure()
    }));
    let mut calls: JoinSet<_> = (0..500).map(|_| service.clone().oneshot(())).collect();
    while calls.join_next().await.is_some() {}
    let (retries, hedges) = (handles.retry.snapshot().retries, handles.hedge.unwrap().snapshot().hedges);
    let extra = sent.load(SeqCst) - 500;
    assert_eq!(u64::from(extra), retries + hedges);
    // A fifth of the calls, and one for each of ten seconds; the storm is over before the first second is.
    assert!(extra <= 110, "{extra}");
    assert!(extra >= 100 && hedges > 0, "the budget was there: {retries} retries, {hedges} hedges");
}

#[test]
fn a_hedge_follows_its_retry_to_another_budget() {
    let shares = |layer: &standard::Handles| {
        let (retry, hedge) = (layer.retry.budget(), layer.hedge.as_ref().unwrap().budget());
        let before = hedge.available();
        retry.withdraw(buttress::budget::Cost::Transient).unwrap().spend();
        hedge.available() == before - 1
    };
    let layer = standard::new("lookup").hedge(|hedge| hedge);
    assert!(shares(&layer.handles()));
    let layer = layer.retry(|retry| retry.budget(Budget::share(0.5, 3)));
    assert!(shares(&layer.handles()), "set after the hedge");
    let mut config = layer.config();
    config.retry.budget = Budget::tokens(100, 0.1).config();
    layer.handles().reconfigure(config.clone()).unwrap();
    assert_eq!(layer.handles().hedge.unwrap().budget().config(), config.retry.budget, "from a file");
    config.retry.budget = Budget::share(0.3, 2).config();
    layer.handles().reconfigure(config).unwrap();
    assert!(shares(&layer.handles()));

    let own = Budget::share(0.01, 1);
    let layer = standard::new("lookup").hedge(|hedge| hedge.budget(own.clone()));
    let layer = layer.retry(|retry| retry.budget(Budget::share(0.5, 3)));
    let mut config = layer.config();
    config.hedge.as_mut().unwrap().max_hedges = 2;
    layer.handles().reconfigure(config).unwrap();
    assert!(!shares(&layer.handles()), "one of its own stays its own");
    assert_eq!(layer.handles().hedge.unwrap().budget().config(), own.config());
}

// ===== what may be hedged =====

/// How often the request was sent, of one that is answered late.
async fn sent<Req, Res, E, L>(
    layer: L,
    request: Req,
    answer: impl Fn() -> Result<Res, E> + Clone + Send + 'static,
) -> u32
where
    Req: Send + 'static,
    Res: Send + 'static,
    E: Send + 'static,
    L: Layer<BoxCloneService<Req, Res, E>, Service: Service<Req>>,
{
    let sent = Arc::new(AtomicU32::new(0));
    let count = sent.clone();
    let late = service_fn(move |_: Req| {
        count.fetch_add(1, SeqCst);
        let answer = answer.clone();
        async move {
            sleep(500 * MS).await;
            answer()
        }
    });
    assert!(layer.layer(late.boxed_clone()).oneshot(request).await.is_ok());
    sent.load(SeqCst)
}

#[tokio::test(start_paused = true)]
async fn a_plain_request_is_hedged_where_the_retry_was_told_that_it_is_safe() {
    let stack = || standard::new("lookup").hedge(|hedge| hedge.after(100 * MS));
    let answer = || Ok::<_, BoxError>(());
    assert_eq!(sent(stack(), 7, answer).await, 1, "nothing was said");
    assert_eq!(sent(stack().retry(|retry| retry.idempotent()), 7, answer).await, 2);
    let before = standard::new("lookup").retry(|retry| retry.idempotent()).hedge(|hedge| hedge.after(100 * MS));
    assert_eq!(sent(before, 7, answer).await, 2, "said before");
    let even = || stack().retry(|retry| retry.safe_when(|request: &u32| request.is_multiple_of(2)));
    assert_eq!((sent(even(), 7, answer).await, sent(even(), 8, answer).await), (1, 2));
    // The hedge is told otherwise.
    let never = standard::new("lookup")
        .retry(|retry| retry.idempotent())
        .hedge(|hedge| hedge.after(100 * MS).safe_when(|_: &u32| false));
    assert_eq!(sent(never, 7, answer).await, 1);
    let only = standard::new("lookup").hedge(|hedge| hedge.after(100 * MS).idempotent());
    assert_eq!(sent(only, 7, answer).await, 2);
}

#[tokio::test(start_paused = true)]
async fn an_http_request_is_hedged_where_the_retry_was_told_that_it_is_safe() {
    let stack = || standard::http("lookup").hedge(|hedge| hedge.after(100 * MS));
    let request = |method: Method| Request::builder().method(method).uri("/").body(Empty::<Bytes>::new()).unwrap();
    let answer = || status(200);
    assert_eq!(
        (sent(stack(), request(Method::GET), answer).await, sent(stack(), request(Method::POST), answer).await),
        (2, 1)
    );
    let posts = || stack().retry(|retry| retry.safe_when(|head| head.method == Method::POST));
    assert_eq!(
        (sent(posts(), request(Method::GET), answer).await, sent(posts(), request(Method::POST), answer).await),
        (1, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn a_grpc_method_is_hedged_where_it_was_named() {
    let stack = || standard::grpc("lookup").hedge(|hedge| hedge.after(100 * MS));
    let call = || Request::builder().uri("/test.Echo/Echo").body(Empty::<Bytes>::new()).unwrap();
    let answer =
        || Ok::<_, Infallible>(Response::builder().header("grpc-status", "0").body(Empty::<Bytes>::new()).unwrap());
    assert_eq!(sent(stack(), call(), answer).await, 1, "that a retry takes any method isn't followed");
    assert_eq!(sent(stack().retry(|retry| retry.codes([Code::Aborted])), call(), answer).await, 1, "codes name none");
    assert_eq!(sent(stack().retry(|retry| retry.methods(["test.Echo/Echo"])), call(), answer).await, 2);
    assert_eq!(sent(stack().retry(|retry| retry.methods(["test.Echo/Other"])), call(), answer).await, 1);
    let own = || standard::grpc("lookup").hedge(|hedge| hedge.after(100 * MS).methods(["test.Echo/Echo"]));
    assert_eq!(sent(own(), call(), answer).await, 2);
    assert_eq!(
        sent(own().retry(|retry| retry.methods(["test.Echo/Other"])), call(), answer).await,
        2,
        "its own comes first"
    );
}

/// What may mend a failure is said once too: of a failure that no retry would mend, the race is over.
#[tokio::test(start_paused = true)]
async fn a_failure_that_the_retry_would_not_try_again_ends_the_race() {
    for (mends, expected) in [(true, 2), (false, 1)] {
        let layer = standard::new("lookup")
            .retry(|retry| retry.idempotent().max_attempts(1).retry_if(move |_: Result<&(), &BoxError>| mends))
            .hedge(|hedge| hedge.after(100 * MS));
        let (service, calls) = counted(|call| if call == 0 { Err::<(), BoxError>("no".into()) } else { Ok(()) });
        let _ = layer.layer(service).oneshot(()).await;
        assert_eq!(calls.load(SeqCst), expected);
    }
}

// ===== nonsense =====

#[test]
fn what_cannot_work_beside_a_hedge_or_a_rate_limit_is_refused_with_its_path() {
    let panics = |layer: Box<dyn Fn() + std::panic::UnwindSafe + std::panic::RefUnwindSafe>| {
        let panic = std::panic::catch_unwind(layer).unwrap_err();
        panic.downcast_ref::<String>().unwrap().strip_prefix("invalid setting ").unwrap().to_owned()
    };
    let layer = |after| drop(standard::new("x").hedge(|hedge| hedge.after(after)).layer(()));
    layer(1999 * MS);
    assert_eq!(
        panics(Box::new(move || layer(2 * SECOND))),
        "hedge.after.delay: nothing is waited for as long as 2s, as an attempt is cut off at 2s"
    );
    let alone =
        || drop(standard::new("x").hedge(|hedge| hedge).bulkhead(|bulkhead| bulkhead.max_concurrent(1)).layer(()));
    assert_eq!(
        panics(Box::new(alone)),
        "bulkhead.max_concurrent: with 1 at once, a hedge can't run beside the attempt it is for; at least 2"
    );
    // A hedge that is off needs no room.
    let off = standard::new("x").hedge(|hedge| hedge.max_hedges(0).after(9 * SECOND));
    drop(off.bulkhead(|bulkhead| bulkhead.max_concurrent(1)).layer(()));

    let waits = |turn: u32, permit: u32| {
        let stack = standard::new("x").rate_limit(|limit| limit.max_wait(turn * SECOND));
        drop(stack.bulkhead(|bulkhead| bulkhead.max_wait(permit * SECOND)).layer(()));
    };
    waits(2, 2);
    assert_eq!(
        panics(Box::new(move || waits(5, 0))),
        "rate_limit.max_wait: a call may wait 5s for its turn, which is not less than the whole's 5s"
    );
    assert_eq!(
        panics(Box::new(move || waits(2, 3))),
        "rate_limit.max_wait: a call may wait 2s for its turn, and then 3s for a permit, which is not less than the \
         whole's 5s"
    );
    // What waits for its turn is seen by the breaker, and may be hedged.
    let patient = standard::new("x").rate_limit(|limit| limit.max_wait(SECOND)).hedge(|hedge| hedge.after(2 * SECOND));
    drop(patient.circuit_breaker(|breaker| breaker.slow_calls(2 * SECOND, 0.5)).layer(()));
}
