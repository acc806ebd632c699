//! The layers around every call, and the only file that names them.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use buttress::bulkhead::Bulkhead;
use buttress::fault::Faults;
use buttress::protocol::{Grpc, Http};
use buttress::saga::Coordinator;
use buttress::standard::Handles;
use buttress::{BulkheadLayer, Elapsed, FaultLayer, InvalidConfig, Rejection, StepLayer, TimeoutLayer, standard};
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tonic::transport::{Channel, Endpoint};
use tower::layer::util::Stack;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt};

use crate::call::{NoAnswer, Reason};
use crate::chaos::Chaos;

const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Everything a server does for one request.
const SERVED_WITHIN: Duration = Duration::from_secs(10);
/// How many requests a server works on.
const SERVED_AT_ONCE: usize = 64;

/// A client of a REST service, behind its layers.
pub(crate) type HttpClient = BoxCloneSyncService<Request<Full<Bytes>>, Response<Body>, NoAnswer>;

/// A client of a gRPC service, behind its layers.
pub(crate) type GrpcClient = BoxCloneSyncService<Request<tonic::body::Body>, Response<tonic::body::Body>, NoAnswer>;

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

/// The handles of a service's layers and sagas: what they can be asked.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Around its clients.
    pub(crate) stacks: Vec<Handles>,
    /// Before its routes.
    pub(crate) inbound: Vec<Bulkhead>,
    /// Of its sagas, if it has any.
    pub(crate) sagas: Option<Coordinator>,
}

/// A client of a REST service whose layers go by `name`.
pub(crate) fn http(name: &'static str, patience: Patience, watch: &mut Watch) -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_WITHIN));
    connector.set_nodelay(true);
    let client: Client<_, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);

    let layers = standard::http(name)
        .timeout(|timeout| timeout.within(patience.total()))
        .attempt_timeout(|timeout| timeout.within(patience.attempt()));
    watch.stacks.push(layers.handles());
    let told = ServiceBuilder::new().layer(StepLayer::http()).layer(layers).service(client);
    BoxCloneSyncService::new(told.map_result(|answer| judged(answer).map(|answer| answer.map(Body::new))))
}

/// A client of the gRPC service at `address` whose layers go by `name`. Connects when first called.
pub(crate) fn grpc(
    name: &'static str,
    address: SocketAddr,
    watch: &mut Watch,
) -> Result<GrpcClient, tonic::transport::Error> {
    let channel: Channel =
        Endpoint::from_shared(format!("http://{address}"))?.connect_timeout(CONNECT_WITHIN).connect_lazy();

    let layers = standard::grpc(name)
        .timeout(|timeout| timeout.within(Patience::Usual.total()))
        .attempt_timeout(|timeout| timeout.within(Patience::Usual.attempt()));
    watch.stacks.push(layers.handles());
    let told = ServiceBuilder::new().layer(StepLayer::grpc()).layer(layers).service(channel);
    Ok(BoxCloneSyncService::new(
        told.map_result(|answer| judged(answer).map(|answer| answer.map(tonic::body::Body::new))),
    ))
}

/// Protects a server from more than it can do, and from working for who has gone.
pub(crate) fn inbound(name: &'static str, router: Router, watch: &mut Watch) -> Router {
    let bulkhead = BulkheadLayer::http(name).max_concurrent(SERVED_AT_ONCE);
    watch.inbound.push(bulkhead.handle());
    router.layer(bulkhead).layer(TimeoutLayer::http(name).within(SERVED_WITHIN))
}

/// Lets requests to a server go wrong.
pub(crate) fn faulty(name: &'static str, chaos: &Chaos, router: Router) -> Result<Router, InvalidConfig> {
    Ok(router.layer(FaultLayer::from_policy(Faults::with_config(name, chaos.faults())?, Http::default())))
}

/// The same for a gRPC server.
pub(crate) fn faulty_grpc(name: &'static str, chaos: &Chaos) -> Result<FaultLayer<Grpc>, InvalidConfig> {
    Ok(FaultLayer::from_policy(Faults::with_config(name, chaos.faults())?, Grpc::default()))
}

/// The same for a gRPC server.
pub(crate) fn inbound_grpc(name: &'static str, watch: &mut Watch) -> Stack<BulkheadLayer<Grpc>, TimeoutLayer<Grpc>> {
    let bulkhead = BulkheadLayer::grpc(name).max_concurrent(SERVED_AT_ONCE);
    watch.inbound.push(bulkhead.handle());
    Stack::new(bulkhead, TimeoutLayer::grpc(name).within(SERVED_WITHIN))
}

/// The other side's answer; or, when there is none or it is one of our own layers', that there is none.
fn judged<B, E>(answer: Result<Response<B>, E>) -> Result<Response<B>, NoAnswer> {
    let answer = answer.map_err(|_| NoAnswer::because(Reason::Unreachable))?;
    if let Some(rejection) = answer.extensions().get::<Rejection>() {
        return Err(NoAnswer::rejected(rejection));
    }
    if answer.extensions().get::<Elapsed>().is_some() {
        return Err(NoAnswer::because(Reason::TimedOut));
    }
    Ok(answer)
}

/// From a client that can't even be made ready.
impl From<legacy::Error> for NoAnswer {
    fn from(_: legacy::Error) -> Self {
        Self::because(Reason::Unreachable)
    }
}

/// From a channel that can't even be made ready.
impl From<tonic::transport::Error> for NoAnswer {
    fn from(_: tonic::transport::Error) -> Self {
        Self::because(Reason::Unreachable)
    }
}
