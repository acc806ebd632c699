//! Readiness, errors, sharing and cancellation.

use std::{
    convert::Infallible,
    fmt::Debug,
    future::{Future, Ready, ready},
    task::{Context, Poll},
};

use buttress::BoxError;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt};

use crate::support::{
    body::{ScriptedBody, data, scripted},
    script::Script,
};

type Answer<Req, Res, E> = fn(usize, &Req) -> Result<Res, E>;
type PlainService = Script<Answer<u32, u32, BoxError>, u32>;
type HttpService = Script<Answer<Request<Full<Bytes>>, Response<Full<Bytes>>, Infallible>, Request<Full<Bytes>>>;

fn echo(_: usize, request: &u32) -> Result<u32, BoxError> {
    Ok(*request)
}

fn found(_: usize, _: &Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::builder().header("grpc-status", "0").body(Full::from("found")).unwrap())
}

fn request() -> Request<Full<Bytes>> {
    Request::new(Full::from("find"))
}

// ===== L4: the instance that poll_ready made ready is the one that call uses =====

async fn calls_what_it_made_ready<L>(layer: &str, l: L)
where
    L: Layer<PlainService>,
    L::Service: Service<u32, Response = u32, Error = BoxError> + Clone,
{
    let inner: PlainService = Script::new(echo);
    let mut service = l.layer(inner.clone());
    for call in 0..20 {
        assert_eq!(service.ready().await.unwrap().call(call).await.unwrap(), call, "{layer}");
        let other = service.clone();
        // A clone of a service that is ready isn't, and asking twice does no harm.
        service.ready().await.unwrap();
        assert_eq!(other.oneshot(call).await.unwrap(), call, "{layer}");
    }
    assert_eq!(inner.calls(), 40, "{layer}");
}

/// And L5: `Infallible` stays `Infallible`, which the bound on `Error` says.
async fn calls_what_it_made_ready_over_http<L, B>(layer: &str, l: L)
where
    L: Layer<HttpService>,
    L::Service: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Data = Bytes, Error: Debug>,
{
    let inner: HttpService = Script::new(found);
    let mut service = l.layer(inner.clone());
    for _ in 0..20 {
        let response = service.ready().await.unwrap().call(request()).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "found", "{layer}");
        let response = service.clone().oneshot(request()).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "found", "{layer}");
    }
    assert_eq!(inner.calls(), 40, "{layer}");
}

#[tokio::test(start_paused = true)]
async fn the_instance_that_was_made_ready_is_the_one_that_is_called() {
    every_layer!(new, calls_what_it_made_ready);
    every_layer!(http, calls_what_it_made_ready_over_http);
    every_layer!(grpc, calls_what_it_made_ready_over_http);
}

// ===== L1: applying a layer makes no state, and all it makes and all its clones share the one it has =====

async fn is_a_value<L>(layer: &str, l: L)
where
    L: Layer<PlainService> + Clone + Send + Sync + Debug + 'static,
    L::Service: Service<u32, Error = BoxError> + Clone + Send + Sync + Debug,
    <L::Service as Service<u32>>::Future: Send,
{
    // A step has a name of its own, so the layer that sends it along needs none.
    assert!(layer == "step" || format!("{l:?}").contains("law"), "{layer}: the name is shown");
}

#[tokio::test(start_paused = true)]
async fn layers_and_services_go_where_values_go() {
    every_layer!(new, is_a_value);
}

// ===== L9: a call that is dropped leaves nothing behind =====

fn never(_: u32) -> Never {
    Never
}

/// Pending for ever.
#[derive(Debug, Clone, Copy)]
struct Never;

#[derive(Debug, Clone)]
struct Hangs;

impl Service<u32> for Hangs {
    type Response = u32;
    type Error = BoxError;
    type Future = Never;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Never {
        never(request)
    }
}

impl Future for Never {
    type Output = Result<u32, BoxError>;

    fn poll(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Pending
    }
}

/// More than any limit there is by default, so that one that isn't given back is missed.
const MANY: u32 = 500;

async fn a_dropped_call_leaves_nothing_behind<L>(layer: &str, l: L)
where
    L: Layer<Hangs> + Layer<PlainService> + Clone,
    <L as Layer<Hangs>>::Service: Service<u32, Error = BoxError> + Clone,
    <L as Layer<PlainService>>::Service: Service<u32, Response = u32, Error = BoxError> + Clone,
{
    let mut hangs = Layer::<Hangs>::layer(&l, Hangs);
    for step in 0..MANY {
        let mut service = hangs.clone();
        let Ok(service) = service.ready().await else { panic!("{layer}: not ready") };
        let mut call = tokio_test::task::spawn(service.call(step));
        // Dropped before it was polled, and after.
        if step % 2 == 0 {
            assert!(call.poll().is_pending(), "{layer}");
        }
    }
    // What was made ready and never called is given back too.
    for _ in 0..MANY {
        let mut service = hangs.clone();
        assert!(service.ready().await.is_ok(), "{layer}");
    }
    assert!(hangs.ready().await.is_ok(), "{layer}");
    drop(hangs);
    let service = Layer::<PlainService>::layer(&l, Script::new(echo as Answer<u32, u32, BoxError>));
    assert_eq!(service.oneshot(1).await.unwrap(), 1, "{layer}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_leaves_nothing_behind() {
    every_layer!(new, a_dropped_call_leaves_nothing_behind);
}

// ===== L3: what an exchange holds, it holds to the end of its body, and gives back when that is dropped =====

/// Answers with a body that never ends.
#[derive(Debug, Clone)]
struct Streams;

impl Service<Request<Full<Bytes>>> for Streams {
    type Response = Response<ScriptedBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        let (sender, body) = scripted();
        sender.send(data("half")).unwrap();
        // Kept, so that the body goes on without end.
        std::mem::forget(sender);
        ready(Ok(Response::new(body)))
    }
}

async fn a_dropped_body_leaves_nothing_behind<L, B>(layer: &str, l: L)
where
    L: Layer<Streams> + Layer<HttpService>,
    <L as Layer<Streams>>::Service: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible> + Clone,
    <L as Layer<HttpService>>::Service: Service<Request<Full<Bytes>>, Error = Infallible>,
    <<L as Layer<HttpService>>::Service as Service<Request<Full<Bytes>>>>::Response: Status,
    B: Body<Data = Bytes, Error: Debug>,
{
    let service = Layer::<Streams>::layer(&l, Streams);
    for step in 0..MANY {
        let response = service.clone().oneshot(request()).await.unwrap();
        assert_eq!(response.status(), 200, "{layer}: call {step}");
        let mut body = Box::pin(response.into_body());
        // Unread, half-way, and waiting for what never comes.
        if step % 3 > 0 {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "half", "{layer}");
        }
        if step % 3 > 1 {
            assert!(tokio_test::task::spawn(body.frame()).poll().is_pending(), "{layer}");
        }
    }
    let service = Layer::<HttpService>::layer(&l, Script::new(found as Answer<_, _, _>));
    assert_eq!(service.oneshot(request()).await.unwrap().status(), 200, "{layer}");
}

trait Status {
    fn status(&self) -> u16;
}

impl<B> Status for Response<B> {
    fn status(&self) -> u16 {
        Response::status(self).as_u16()
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_dropped_leaves_nothing_behind() {
    every_layer!(http, a_dropped_body_leaves_nothing_behind);
    every_layer!(grpc, a_dropped_body_leaves_nothing_behind);
}
