//! What the tests of every database share: how a step is sent.

use std::time::Duration;

use axum::Router;
use buttress::{
    StepLayer,
    step::{Op, SagaId, StepContext, StepKey},
};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt};

/// A client of a service on loopback.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    url: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// What came back, and what the step concluded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: String,
    pub(super) was_refused: bool,
}

pub(super) async fn serve(app: Router) -> Caller {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/charges", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    Caller { url, client: Client::builder(TokioExecutor::new()).build_http() }
}

impl Caller {
    pub(super) fn request(&self, op: Op, body: &str) -> Request<Full<Bytes>> {
        let method = if op == Op::Act { Method::POST } else { Method::DELETE };
        Request::builder().method(method).uri(&self.url).body(Full::from(body.to_owned())).unwrap()
    }

    /// Sends a step as a saga does.
    pub(super) async fn step(&self, key: &StepKey, epoch: u64, body: &str) -> Answer {
        let step = StepContext::new(key.clone(), epoch);
        let call = StepLayer::http().layer(self.client.clone()).oneshot(self.request(key.op(), body));
        let (status, text) = Self::read(step.clone().scope(call)).await;
        Answer { status, text, was_refused: step.was_refused() }
    }

    /// Sends what isn't a step.
    pub(super) async fn plain(&self, request: Request<Full<Bytes>>) -> (u16, String) {
        Self::read(self.client.request(request)).await
    }

    async fn read<B>(
        call: impl Future<Output = Result<http::Response<B>, hyper_util::client::legacy::Error>>,
    ) -> (u16, String)
    where
        B: http_body::Body<Error: std::fmt::Debug>,
    {
        let response = tokio::time::timeout(Duration::from_secs(30), call).await.expect("stuck").unwrap();
        let (head, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        if head.status != StatusCode::OK {
            assert_eq!(head.headers[http::header::CONTENT_TYPE], "application/problem+json", "{text}");
            let problem: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(problem["status"], head.status.as_u16(), "{text}");
        }
        (head.status.as_u16(), text)
    }
}

/// The step of a new saga.
pub(super) fn charge() -> StepKey {
    StepKey::new(SagaId::new(), "charge", 0, Op::Act).unwrap()
}

pub(super) fn undo(key: &StepKey) -> StepKey {
    key.with_op(Op::Undo)
}
