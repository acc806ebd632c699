//! The layers around every call, and the only file that names them.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Extensions, HeaderValue, Request, Response};
use buttress::bulkhead::Bulkhead;
use buttress::circuit_breaker::CircuitBreaker;
use buttress::protocol::Grpc;
use buttress::{BulkheadLayer, CircuitBreakerLayer, Deadline, Elapsed, Rejection, TimeoutLayer};
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tower::layer::util::Stack;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt};

use crate::call::{NoAnswer, Reason};

const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Everything a server does for one request.
const SERVED_WITHIN: Duration = Duration::from_secs(10);
/// How many requests a server works on.
const SERVED_AT_ONCE: usize = 64;

/// A client of a REST service, behind its layers.
pub(crate) type HttpClient = BoxCloneSyncService<Request<Full<Bytes>>, Response<Body>, legacy::Error>;

/// A client of a gRPC service, behind its layers.
pub(crate) type GrpcClient =
    BoxCloneSyncService<Request<tonic::body::Body>, Response<tonic::body::Body>, tonic::transport::Error>;

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// The other side looks something up or writes it down.
    Usual,
    /// The other side makes calls of its own: two for an order, and two more to undo it.
    WholeOrder,
}

impl Patience {
    /// One attempt.
    fn attempt(self) -> Duration {
        Duration::from_secs(match self {
            Self::Usual => 1,
            Self::WholeOrder => 8,
        })
    }

    /// The whole call with all its attempts.
    fn total(self) -> Duration {
        Duration::from_secs(match self {
            Self::Usual => 3,
            Self::WholeOrder => 9,
        })
    }
}

/// The handles of a service's layers: what they can be asked.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    pub(crate) breakers: Vec<CircuitBreaker>,
    pub(crate) bulkheads: Vec<Bulkhead>,
}

/// A client of a REST service whose layers go by `name`.
pub(crate) fn http(name: &'static str, patience: Patience, watch: &mut Watch) -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_WITHIN));
    connector.set_nodelay(true);
    let client: Client<_, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);

    let breaker = CircuitBreakerLayer::http(name);
    let bulkhead = BulkheadLayer::http(name);
    watch.breakers.push(breaker.handle());
    watch.bulkheads.push(bulkhead.handle());
    let guarded = ServiceBuilder::new()
        .layer(TimeoutLayer::http(name).within(patience.total()))
        .layer(breaker)
        .layer(bulkhead)
        .layer(TimeoutLayer::http(name).within(patience.attempt()))
        .service(client);
    BoxCloneSyncService::new(guarded.map_response(|response| response.map(Body::new)))
}

/// A client of the gRPC service at `address` whose layers go by `name`. Connects when first called.
pub(crate) fn grpc(
    name: &'static str,
    address: SocketAddr,
    watch: &mut Watch,
) -> Result<GrpcClient, tonic::transport::Error> {
    let channel: Channel =
        Endpoint::from_shared(format!("http://{address}"))?.connect_timeout(CONNECT_WITHIN).connect_lazy();

    let breaker = CircuitBreakerLayer::grpc(name);
    let bulkhead = BulkheadLayer::grpc(name);
    watch.breakers.push(breaker.handle());
    watch.bulkheads.push(bulkhead.handle());
    let guarded = ServiceBuilder::new()
        .map_response(|response| keep_refusal(response).map(tonic::body::Body::new))
        .layer(TimeoutLayer::grpc(name).within(Patience::Usual.total()))
        .layer(breaker)
        .layer(bulkhead)
        .layer(TimeoutLayer::grpc(name).within(Patience::Usual.attempt()))
        .service(channel);
    Ok(BoxCloneSyncService::new(guarded))
}

/// Protects a server from more than it can do, and from working for who has gone.
pub(crate) fn inbound(name: &'static str, router: Router, watch: &mut Watch) -> Router {
    let bulkhead = BulkheadLayer::http(name).max_concurrent(SERVED_AT_ONCE);
    watch.bulkheads.push(bulkhead.handle());
    router.layer(bulkhead).layer(TimeoutLayer::http(name).within(SERVED_WITHIN))
}

/// The same for a gRPC server.
pub(crate) fn inbound_grpc(name: &'static str, watch: &mut Watch) -> Stack<BulkheadLayer<Grpc>, TimeoutLayer<Grpc>> {
    let bulkhead = BulkheadLayer::grpc(name).max_concurrent(SERVED_AT_ONCE);
    watch.bulkheads.push(bulkhead.handle());
    Stack::new(bulkhead, TimeoutLayer::grpc(name).within(SERVED_WITHIN))
}

/// When the caller at hand wants its answer, for a task of its own: by itself that knows nothing of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due(Option<Deadline>);

impl Due {
    pub(crate) fn of_caller() -> Self {
        Self(Deadline::current())
    }

    /// Lets no call in `step` run longer, nor be sent later.
    pub(crate) async fn limit<F: Future>(self, step: F) -> F::Output {
        match self.0 {
            Some(deadline) => deadline.scope(step).await,
            None => step.await,
        }
    }
}

/// Whether a response is one of our own layers' and not the other side's.
pub(crate) fn refused(extensions: &Extensions) -> Option<NoAnswer> {
    if let Some(rejection) = extensions.get::<Rejection>() {
        return Some(NoAnswer::not_sent(reason(rejection), rejection.retry_after()));
    }
    extensions.get::<Elapsed>().map(|_| NoAnswer::maybe_done(Reason::TimedOut))
}

fn reason(rejection: &Rejection) -> Reason {
    match rejection.reason() {
        buttress::Reason::CircuitOpen => Reason::CircuitOpen,
        buttress::Reason::DeadlinePassed => Reason::TimedOut,
        _ => Reason::Overloaded,
    }
}

/// Where a refusal of ours goes in gRPC: tonic makes a `Status` of the response's headers, and drops its extensions.
const REFUSED: &str = "x-refused-by-us";

/// Notes a refusal where the `Status` will have it; what the other side put there is taken out.
fn keep_refusal<B>(mut response: Response<B>) -> Response<B> {
    response.headers_mut().remove(REFUSED);
    if let Some(rejection) = response.extensions().get::<Rejection>() {
        let reason = HeaderValue::from_static(reason(rejection).name());
        response.headers_mut().insert(REFUSED, reason);
    }
    response
}

/// The same as [`refused`] for a gRPC status.
pub(crate) fn refused_status(status: &Status) -> Option<NoAnswer> {
    let reason = Reason::named(status.metadata().get(REFUSED)?.to_str().ok()?)?;
    let pushback = status.metadata().get("grpc-retry-pushback-ms");
    let millis = pushback.and_then(|value| value.to_str().ok()?.parse().ok());
    Some(NoAnswer::not_sent(reason, millis.map(Duration::from_millis)))
}
