//! The layers around every call, and the only file that names them.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Extensions, Request, Response};
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tonic::transport::{Channel, Endpoint};
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt};

use crate::call::NoAnswer;

const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// A client of a REST service, behind its layers.
pub(crate) type HttpClient = BoxCloneSyncService<Request<Full<Bytes>>, Response<Body>, legacy::Error>;

/// A client of a gRPC service, behind its layers.
pub(crate) type GrpcClient =
    BoxCloneSyncService<Request<tonic::body::Body>, Response<tonic::body::Body>, tonic::transport::Error>;

/// What a service's layers can be asked.
#[derive(Debug, Default)]
pub(crate) struct Watch {}

/// A client of a REST service whose layers go by `name`.
pub(crate) fn http(_name: &'static str, _watch: &mut Watch) -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_WITHIN));
    connector.set_nodelay(true);
    let client: Client<_, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
    BoxCloneSyncService::new(ServiceBuilder::new().service(client).map_response(|response| response.map(Body::new)))
}

/// A client of the gRPC service at `address` whose layers go by `name`. Connects when first called.
pub(crate) fn grpc(
    _name: &'static str,
    address: SocketAddr,
    _watch: &mut Watch,
) -> Result<GrpcClient, tonic::transport::Error> {
    let channel: Channel =
        Endpoint::from_shared(format!("http://{address}"))?.connect_timeout(CONNECT_WITHIN).connect_lazy();
    Ok(BoxCloneSyncService::new(
        ServiceBuilder::new()
            .service(channel)
            .map_response(|response: Response<_>| response.map(tonic::body::Body::new)),
    ))
}

/// Protects a server from more than it can do.
pub(crate) fn inbound(_name: &'static str, router: Router, _watch: &mut Watch) -> Router {
    router
}

/// Whether a response is one of our own layers' and not the other side's.
pub(crate) fn refused(_extensions: &Extensions) -> Option<NoAnswer> {
    None
}

/// The same for a gRPC status.
pub(crate) fn refused_status(_status: &tonic::Status) -> Option<NoAnswer> {
    None
}
