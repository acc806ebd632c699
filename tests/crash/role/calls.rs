//! The participants, as the coordinator calls them.

use buttress::{BoxError, StepLayer, TimeoutLayer};
use bytes::Bytes;
use http::{Request, uri::PathAndQuery};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Serialize;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;
use tower::{Service, ServiceBuilder, ServiceExt};

use crate::shop::{Given, STEP_TIMEOUT, Wanted};

/// The stock, over gRPC.
#[derive(Clone)]
pub(super) struct Stock {
    channel: Channel,
}

impl Stock {
    pub(super) fn at(url: String) -> Self {
        Self { channel: Endpoint::from_shared(url).unwrap().connect_lazy() }
    }

    pub(super) async fn ask(self, method: &'static str, order: String, items: i64) -> Result<(), BoxError> {
        let channel = ServiceBuilder::new()
            .layer(StepLayer::grpc())
            .layer(TimeoutLayer::grpc("stock").within(STEP_TIMEOUT))
            .service(self.channel);
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await?;
        let path = PathAndQuery::try_from(format!("/crash.Stock/{method}"))?;
        let request = tonic::Request::new(Wanted { order, items });
        client.unary(request, path, ProstCodec::<Wanted, Given>::default()).await?;
        Ok(())
    }
}

/// The money, over HTTP.
#[derive(Clone)]
pub(super) struct Money {
    url: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Money {
    pub(super) fn at(url: String) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { url, client: Client::builder(TokioExecutor::new()).build(connector) }
    }

    pub(super) async fn ask(self, path: &'static str, body: impl Serialize) -> Result<(), BoxError> {
        let client = ServiceBuilder::new()
            .layer(StepLayer::http())
            .layer(TimeoutLayer::http("money").within(STEP_TIMEOUT))
            .service(self.client);
        let request = Request::post(format!("{}{path}", self.url))
            .header("content-type", "application/json")
            .body(Full::from(serde_json::to_vec(&body)?))?;
        let mut client = client;
        let response = client.ready().await?.call(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        if status.is_success() { Ok(()) } else { Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into()) }
    }
}
